"""The Directory's contract: what `maillib.ports.directory` says, held against every engine."""

from pathlib import Path

import pytest
from argon2 import PasswordHasher

from maillib.address import Address
from maillib.errors import AuthenticationFailed, Conflict, NotFound, PermanentError
from maillib.ports.directory import (
    Account,
    AccountId,
    Alias,
    DirectoryEditor,
    Domain,
    Edit,
    Forget,
    PutAccount,
    RemoveAccount,
    RemoveAlias,
    RemoveDomain,
    SetPassword,
)
from tests.support.directory_world import ENGINES, Keeps, at, keeper, refused, targets, with_accounts

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""For hashes that a test declares."""


@pytest.fixture(params=ENGINES)
def keeps(request: pytest.FixtureRequest, tmp_path: Path) -> Keeps:
    """Runs a promise against a fresh directory of each engine."""
    return keeper(request.param, tmp_path)


# Domains


def test_domains(keeps: Keeps) -> None:
    """A domain is ours from the moment it is made until it is disabled or removed; the first one is the default."""

    async def promise(directory: DirectoryEditor) -> None:
        assert await directory.default_domain() is None
        assert not await directory.is_local("example.test")
        await directory.add_domain("Example.TEST.")
        await directory.add_domain("münchen.test")
        assert await directory.is_local("example.test")
        assert await directory.is_local("xn--mnchen-3ya.test")
        assert await directory.default_domain() == "example.test"
        await directory.edit([Domain(name="example.test", enabled=False)])
        assert not await directory.is_local("example.test")
        assert await directory.default_domain() == "xn--mnchen-3ya.test"
        await directory.edit([RemoveDomain("xn--mnchen-3ya.test"), RemoveDomain("never.test")])
        assert [domain.name for domain in (await directory.entries()).domains] == ["example.test"]

    keeps(promise)


def test_disabled_domain(keeps: Keeps) -> None:
    """Nobody has an address in a disabled domain, nobody logs in there, and what leads there is passed over."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        await directory.edit([Domain(name="off.test")])
        bob = await directory.add_account(at("bob@off.test"), "secret")
        await directory.add_alias(at("both"), [at("bob@off.test"), at("alice")])
        await directory.edit([Domain(name="off.test", enabled=False, catch_all=(at("alice"),))])
        for address in ("bob", "anything", "postmaster"):
            with pytest.raises(NotFound):
                await directory.resolve(at(f"{address}@off.test"))
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate("bob@off.test", "secret", service="pop")
        assert not await directory.may_send_as(bob.id, at("bob@off.test"))
        assert await targets(directory, "both") == ["alice@example.test"]
        await directory.edit([Domain(name="off.test")])
        assert await targets(directory, "both") == ["bob@off.test", "alice@example.test"]

    keeps(promise)


def test_domain_in_use(keeps: Keeps) -> None:
    """A domain with accounts or aliases is not removed; removed accounts whose mail is kept do not hold it."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        await directory.add_alias(at("sales"), [at("alice")])
        assert "still has" in await refused(directory, Conflict, [RemoveDomain("example.test")])
        await directory.edit([RemoveAccount(at("alice"))])
        await refused(directory, Conflict, [RemoveDomain("example.test")])
        await directory.edit([RemoveAlias(at("sales")), RemoveDomain("example.test")])
        assert (await directory.entries()).domains == ()

    keeps(promise)


def test_unknown_domain(keeps: Keeps) -> None:
    """Nothing is made in a domain that is not ours."""

    async def promise(directory: DirectoryEditor) -> None:
        await refused(directory, NotFound, [PutAccount(address=at("alice"))])
        await refused(directory, NotFound, [Alias(address=at("sales"), targets=(at("x@elsewhere.test"),))])

    keeps(promise)


# Where mail goes


@pytest.mark.parametrize("written", ["alice@example.test", "ALICE@example.test", "Alice@EXAMPLE.test"])
def test_case(keeps: Keeps, written: str) -> None:
    """Local parts are compared without case."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "Alice")
        assert await targets(directory, written) == ["Alice@example.test"]

    keeps(promise)


def test_unicode(keeps: Keeps) -> None:
    """UTF-8 local parts are compared in NFC, domains in A-labels."""

    async def promise(directory: DirectoryEditor) -> None:
        await directory.add_domain("münchen.test")
        await directory.add_account(Address.parse("jürgen@münchen.test"))
        assert await targets(directory, "JU\u0308RGEN@xn--mnchen-3ya.test") == ["jürgen@xn--mnchen-3ya.test"]

    keeps(promise)


def test_nobody(keeps: Keeps) -> None:
    """An address that nobody here has, has no account and no alias."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        with pytest.raises(NotFound):
            await directory.resolve(at("bob"))

    keeps(promise)


def test_elsewhere(keeps: Keeps) -> None:
    """An address in a domain that is not ours leads to itself."""

    async def promise(directory: DirectoryEditor) -> None:
        assert await targets(directory, "x@elsewhere.test") == ["x@elsewhere.test"]

    keeps(promise)


def test_aliases(keeps: Keeps) -> None:
    """Aliases are followed through aliases, in the order of their targets, each address once."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob", "carol")
        await directory.add_alias(at("inner"), [at("carol"), at("p@elsewhere.test"), at("ALICE")])
        await directory.add_alias(at("all"), [at("bob"), at("inner"), at("alice"), at("P@elsewhere.test")])
        found = ["bob@example.test", "carol@example.test", "alice@example.test", "p@elsewhere.test"]
        assert await targets(directory, "ALL") == found

    keeps(promise)


def test_dead_targets(keeps: Keeps) -> None:
    """Targets that nobody has any more are passed over; an alias without any other is as if it were not there."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob")
        await directory.add_alias(at("sales"), [at("alice"), at("gone"), at("bob")])
        await directory.edit([PutAccount(address=at("alice"), enabled=False)])
        assert await targets(directory, "sales") == ["bob@example.test"]
        await directory.edit([RemoveAccount(at("bob"))])
        with pytest.raises(NotFound):
            await directory.resolve(at("sales"))

    keeps(promise)


def test_target_becomes_ours(keeps: Keeps) -> None:
    """A target is elsewhere only as long as its domain is not ours."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory)
        await directory.add_alias(at("old"), [at("alice@new.test")])
        assert (await directory.resolve(at("old"))).accounts == ()
        await directory.add_domain("new.test")
        await directory.add_account(at("alice@new.test"))
        assert (await directory.resolve(at("old"))).remote == ()

    keeps(promise)


def test_circles(keeps: Keeps) -> None:
    """An alias that leads back to itself is refused, and the way is named."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        await directory.add_alias(at("a"), [at("b"), at("alice")])
        way = await refused(directory, Conflict, [Alias(address=at("b"), targets=(at("A"),))])
        assert "a@example.test -> b@example.test -> a@example.test" in way
        await refused(directory, Conflict, [Alias(address=at("self"), targets=(at("self"),))])

    keeps(promise)


def test_disabled_alias(keeps: Keeps) -> None:
    """A disabled alias is as if it were not there, until it is enabled again."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        await directory.edit([Alias(address=at("sales"), targets=(at("alice"),), enabled=False)])
        with pytest.raises(NotFound):
            await directory.resolve(at("sales"))
        await directory.edit([Alias(address=at("sales"), targets=(at("alice"),))])
        assert await targets(directory, "sales") == ["alice@example.test"]

    keeps(promise)


def test_one_meaning(keeps: Keeps) -> None:
    """One address is not an account and an alias at once; a disabled account may become an alias."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob")
        takeover = Alias(address=at("BOB"), targets=(at("alice"),))
        await refused(directory, Conflict, [takeover])
        await directory.edit([takeover, PutAccount(address=at("bob"), enabled=False)])
        assert await targets(directory, "bob") == ["alice@example.test"]
        await refused(directory, Conflict, [PutAccount(address=at("bob"))])
        await directory.edit([RemoveAlias(at("bob")), PutAccount(address=at("bob"))])
        assert await targets(directory, "bob") == ["bob@example.test"]

    keeps(promise)


# Postmaster


def test_postmaster(keeps: Keeps) -> None:
    """Mail for postmaster goes to the first account, or to whom the domain names, or to what has that name."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob", "carol")
        assert await targets(directory, "PostMaster") == ["alice@example.test"]
        await directory.edit([Domain(name="example.test", postmaster="bob")])
        assert await targets(directory, "postmaster") == ["bob@example.test"]
        await directory.add_alias(at("postmaster"), [at("carol"), at("bob")])
        assert await targets(directory, "postmaster") == ["carol@example.test", "bob@example.test"]

    keeps(promise)


def test_postmaster_always(keeps: Keeps) -> None:
    """Mail for postmaster is accepted whoever is disabled, and in a domain without accounts."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob")
        await directory.add_domain("empty.test")
        await directory.edit([Domain(name="example.test", postmaster="alice")])
        await directory.edit([PutAccount(address=at("alice"), enabled=False)])
        assert await targets(directory, "postmaster") == ["bob@example.test"]
        assert await targets(directory, "postmaster@empty.test") == ["bob@example.test"]
        await directory.add_alias(at("postmaster"), [at("alice")])
        assert await targets(directory, "postmaster") == ["bob@example.test"]

    keeps(promise)


def test_postmaster_as_target(keeps: Keeps) -> None:
    """An alias may lead to postmaster, whoever that is."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        await directory.add_alias(at("abuse"), [at("postmaster")])
        assert await targets(directory, "abuse") == ["alice@example.test"]

    keeps(promise)


def test_postmaster_of_nobody(keeps: Keeps) -> None:
    """Only a directory without accounts has nobody for postmaster; elsewhere it is nobody of ours."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory)
        with pytest.raises(NotFound):
            await directory.resolve(at("postmaster"))
        assert await targets(directory, "postmaster@elsewhere.test") == ["postmaster@elsewhere.test"]

    keeps(promise)


# Accounts


def test_account_values(keeps: Keeps) -> None:
    """An account has exactly the values that were put last; its ID and spelling stay."""

    async def promise(directory: DirectoryEditor) -> None:
        [alice] = await with_accounts(directory, "Alice")
        await directory.edit(
            [PutAccount(address=at("alice"), name="A.", protocols=frozenset({"pop"}), quota_octets=5, enabled=False)]
        )
        expected = Account(alice.id, at("Alice"), "A.", False, frozenset({"pop"}), 5)
        assert await directory.account(alice.id) == expected
        await directory.edit([PutAccount(address=at("alice"), protocols=frozenset())])
        assert await directory.account(alice.id) == Account(alice.id, at("Alice"), "", True, frozenset(), None)

    keeps(promise)


def test_disabled_account(keeps: Keeps) -> None:
    """A disabled account gets no mail and cannot log in; a session that is open still finds it."""

    async def promise(directory: DirectoryEditor) -> None:
        await directory.add_domain("example.test")
        alice = await directory.add_account(at("alice"), "secret")
        await directory.edit([PutAccount(address=at("alice"), enabled=False)])
        with pytest.raises(NotFound):
            await directory.resolve(at("alice"))
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate("alice@example.test", "secret", service="pop")
        assert not (await directory.account(alice.id)).enabled
        await directory.edit([PutAccount(address=at("alice"))])
        assert (await directory.authenticate("alice@example.test", "secret", service="pop")).id == alice.id

    keeps(promise)


def test_removed_account(keeps: Keeps) -> None:
    """A removed account is gone for everybody, until its address is given again: then ID and mail are back."""

    async def promise(directory: DirectoryEditor) -> None:
        await directory.add_domain("example.test")
        alice = await directory.add_account(at("alice"), "secret")
        await directory.edit([RemoveAccount(at("alice"))])
        with pytest.raises(NotFound):
            await directory.account(alice.id)
        entries = await directory.entries()
        assert (entries.accounts, [removed.id for removed in entries.removed]) == ((), [alice.id])
        again = await directory.add_account(at("ALICE"))
        assert again.id == alice.id
        assert (await directory.entries()).removed == ()
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate("alice@example.test", "secret", service="pop")

    keeps(promise)


def test_ids_are_never_used_again(keeps: Keeps) -> None:
    """A forgotten account's address gets another ID, and so does every other one."""

    async def promise(directory: DirectoryEditor) -> None:
        [alice] = await with_accounts(directory, "alice")
        await directory.edit([Forget(alice.id)])
        assert [found.id for found in (await directory.entries()).accounts] == [alice.id]
        await directory.edit([RemoveAccount(at("alice")), Forget(alice.id)])
        again, bob = await directory.add_account(at("alice")), await directory.add_account(at("bob"))
        assert len({alice.id, again.id, bob.id}) == 3
        assert (await directory.entries()).removed == ()

    keeps(promise)


def test_unknown_account(keeps: Keeps) -> None:
    """There is no account without an entry; removing what is not there is done already."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory)
        with pytest.raises(NotFound):
            await directory.account(AccountId(1))
        await refused(directory, NotFound, [SetPassword(address=at("alice"), password="secret")])
        await directory.edit([RemoveAccount(at("alice")), RemoveAlias(at("alice")), Forget(AccountId(1))])

    keeps(promise)


# Log-in


def test_log_in(keeps: Keeps) -> None:
    """The full address and the password log in, whatever the address's case."""

    async def promise(directory: DirectoryEditor) -> None:
        await directory.add_domain("example.test")
        alice = await directory.add_account(at("alice"), "pässwörd")
        for login in ("alice@example.test", "ALICE@Example.Test", '"alice"@example.test'):
            assert await directory.authenticate(login, "pässwörd", service="smtp") == alice

    keeps(promise)


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("alice@example.test", "Secret"),
        ("alice@example.test", ""),
        ("alice@example.test", "secret\0"),
        ("alice@example.test", "x" * 100_000),
        ("alice@example.test", "\udcff"),
        ("alice", "secret"),
        ("bob@example.test", "secret"),
        ("nobody@example.test", "secret"),
        ("sales@example.test", "secret"),
        ("alice@elsewhere.test", "secret"),
        ("alice@example.test\0", "secret"),
        ("", ""),
    ],
)
def test_log_in_fails(keeps: Keeps, login: str, password: str) -> None:
    """Wrong passwords and users that are not there, have no password or are no accounts fail alike."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "bob")
        await directory.add_account(at("alice"), "secret")
        await directory.add_alias(at("sales"), [at("alice")])
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate(login, password, service="pop")

    keeps(promise)


def test_protocols(keeps: Keeps) -> None:
    """An account logs in with its protocols alone."""

    async def promise(directory: DirectoryEditor) -> None:
        await directory.add_domain("example.test")
        await directory.edit(
            [
                PutAccount(address=at("alice"), protocols=frozenset({"smtp"})),
                SetPassword(address=at("alice"), password="secret"),
            ]
        )
        await directory.authenticate("alice@example.test", "secret", service="smtp")
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate("alice@example.test", "secret", service="pop")

    keeps(promise)


def test_new_password(keeps: Keeps) -> None:
    """From the moment it is set a new password holds, and the old one does not."""

    async def promise(directory: DirectoryEditor) -> None:
        await directory.add_domain("example.test")
        await directory.add_account(at("alice"), "old")
        await directory.edit([SetPassword(address=at("alice"), password="new")])
        await directory.authenticate("alice@example.test", "new", service="pop")
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate("alice@example.test", "old", service="pop")

    keeps(promise)


def test_hash(keeps: Keeps) -> None:
    """A password of which only the hash is known logs in, again and again."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        await directory.edit([SetPassword(address=at("alice"), password_hash=CHEAP.hash("secret"))])
        for _ in range(2):
            await directory.authenticate("alice@example.test", "secret", service="pop")
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate("alice@example.test", "other", service="pop")

    keeps(promise)


@pytest.mark.parametrize("password", ["", "a\nb", "a\0b", "x" * 1025, "\udcff"])
def test_bad_password(keeps: Keeps, password: str) -> None:
    """Empty, long and unprintable passwords are refused, and the error does not repeat them."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        text = await refused(directory, PermanentError, [SetPassword(address=at("alice"), password=password)])
        assert not password or password not in text

    keeps(promise)


def test_bad_hash(keeps: Keeps) -> None:
    """What is no argon2id hash is refused."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        for text in ("", "secret", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"):
            await refused(directory, PermanentError, [SetPassword(address=at("alice"), password_hash=text)])

    keeps(promise)


# Senders


def test_senders(keeps: Keeps) -> None:
    """An account sends as itself and as the aliases that lead to it, as nobody else."""

    async def promise(directory: DirectoryEditor) -> None:
        alice, bob = await with_accounts(directory, "alice", "bob")
        await directory.add_alias(at("inner"), [at("alice")])
        await directory.add_alias(at("sales"), [at("inner"), at("x@elsewhere.test")])
        for address in ("alice", "ALICE", "inner", "sales", "postmaster"):
            assert await directory.may_send_as(alice.id, at(address))
        for address in ("bob", "nobody", "x@elsewhere.test", "alice@elsewhere.test"):
            assert not await directory.may_send_as(alice.id, at(address))
        assert not await directory.may_send_as(bob.id, at("sales"))

    keeps(promise)


# Changes


def test_all_or_none(keeps: Keeps) -> None:
    """Of several changes, none is made when one cannot be."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        edits: list[Edit] = [PutAccount(address=at("bob")), RemoveAccount(at("alice"))]
        await refused(directory, NotFound, [*edits, PutAccount(address=at("x@nowhere.test"))])

    keeps(promise)


def test_expected(keeps: Keeps) -> None:
    """Changes that were thought out for another state of the directory are refused."""

    async def promise(directory: DirectoryEditor) -> None:
        await directory.add_domain("example.test")
        seen = await directory.generation()
        await directory.edit([PutAccount(address=at("alice"))], expected=seen)
        assert await directory.generation() > seen
        with pytest.raises(Conflict):
            await directory.edit([PutAccount(address=at("bob"))], expected=seen)
        assert [str(found.address) for found in (await directory.entries()).accounts] == ["alice@example.test"]

    keeps(promise)


def test_entries(keeps: Keeps) -> None:
    """What is listed is all there is, in the order it was made, and says who has a password."""

    async def promise(directory: DirectoryEditor) -> None:
        zoe, alice = await with_accounts(directory, "zoe", "alice")
        await directory.add_alias(at("b"), [at("zoe"), at("x@elsewhere.test")])
        await directory.add_alias(at("a"), [at("alice")])
        await directory.edit([SetPassword(address=at("alice"), password="secret")], declared="note")
        await directory.edit([Domain(name="other.test")])
        entries = await directory.entries()
        assert entries.generation == await directory.generation()
        assert entries.domains == (Domain(name="example.test"), Domain(name="other.test"))
        assert entries.accounts == (zoe, alice)
        assert entries.with_password == {alice.id}
        assert entries.aliases == (
            Alias(address=at("b"), targets=(at("zoe"), at("x@elsewhere.test"))),
            Alias(address=at("a"), targets=(at("alice"),)),
        )
        assert entries.declared == "note"

    keeps(promise)


def test_fingerprints(keeps: Keeps) -> None:
    """Equal secrets have equal fingerprints, others do not, and none holds its secret."""

    async def promise(directory: DirectoryEditor) -> None:
        first, again, other = [await directory.fingerprint(text) for text in ("secret", "secret", "Secret")]
        assert first == again != other
        assert "secret" not in first

    keeps(promise)
