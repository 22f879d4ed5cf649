"""Lists, catch-alls, contacts, retrieval entries: what `maillib.ports` says of them, held against every engine."""

from dataclasses import replace
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.errors import AuthenticationFailed, Conflict, NotFound, PermanentError
from maillib.ports.contacts import Contact
from maillib.ports.directory import (
    Alias,
    DirectoryEditor,
    Domain,
    Edit,
    PutAccount,
    RemoveAccount,
    RemoveAlias,
    RemoveContact,
    RemoveDomain,
    RemoveList,
    RemoveRetrieval,
    SetPassword,
)
from maillib.ports.lists import MailingList, Post
from maillib.ports.retrieval import Apop, Retrieval, Server, Tls
from maillib.secret import SecretRef
from tests.support.directory_world import ENGINES, Keeps, at, keeper, refused, targets, with_accounts


@pytest.fixture(params=ENGINES)
def keeps(request: pytest.FixtureRequest, tmp_path: Path) -> Keeps:
    """Runs a promise against a fresh directory of each engine."""
    return keeper(request.param, tmp_path)


def team(*members: str, **values: object) -> MailingList:
    return replace(MailingList(address=at("team"), members=tuple(map(at, members))), **values)  # type: ignore[arg-type]


async def members(directory: DirectoryEditor, address: str) -> list[str]:
    found = await directory.members(at(address))
    assert found.lists == ()
    return [str(account.address) for account in found.accounts] + [str(remote) for remote in found.remote]


# Lists

OWNERS = "the owner's address of the list team@example.test"


def test_a_list_is_not_expanded(keeps: Keeps) -> None:
    """Whoever resolves a list, or an alias that leads to it, gets the list, with all of its values."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob")
        made = team("alice", "x@elsewhere.test", name="The team", post=Post.OWNER, owners=(at("bob"),))
        await directory.edit([made, Alias(address=at("all"), targets=(at("TEAM"), at("bob")))])
        assert (await directory.resolve(at("Team"))).lists == (made,)
        found = await directory.resolve(at("all"))
        assert (found.lists, [str(one.address) for one in found.accounts]) == ((made,), ["bob@example.test"])
        assert (await directory.entries()).lists == (made,)
        await directory.edit([replace(made, members=(), owners=(), post=Post.ANYONE)])
        assert (await directory.entries()).lists == (team(name="The team", post=Post.ANYONE),)

    keeps(promise)


def test_members(keeps: Keeps) -> None:
    """The members of a list are accounts and addresses elsewhere, by way of aliases and other lists, each once."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob", "carol")
        inner = MailingList(address=at("inner"), members=(at("carol"), at("p@elsewhere.test"), at("ALICE")))
        await directory.edit([inner, Alias(address=at("both"), targets=(at("bob"), at("inner")))])
        await directory.edit([team("both", "gone", "alice", "P@elsewhere.test")])
        found = ["bob@example.test", "carol@example.test", "alice@example.test", "p@elsewhere.test"]
        assert await members(directory, "team") == found
        await directory.edit([PutAccount(address=at("bob"), enabled=False), replace(inner, enabled=False)])
        assert await members(directory, "team") == ["alice@example.test", "P@elsewhere.test"]
        await directory.edit([team()])
        assert await members(directory, "team") == []

    keeps(promise)


def test_no_list(keeps: Keeps) -> None:
    """A list that is disabled, removed or in a disabled domain has no members and gets no mail, its owner neither."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        gone: list[Edit] = [
            team("alice", enabled=False),
            RemoveList(at("TEAM")),
            Domain(name="example.test", enabled=False),
        ]
        for edit in gone:
            await directory.edit([Domain(name="example.test"), team("alice")])
            assert await members(directory, "team") == ["alice@example.test"]
            await directory.edit([edit])
            with pytest.raises(NotFound):
                await directory.members(at("team"))
            if not isinstance(edit, Domain):
                for address in ("team", "team-owner"):
                    with pytest.raises(NotFound):
                        await directory.resolve(at(address))
        with pytest.raises(NotFound):
            await directory.members(at("alice"))

    keeps(promise)


def test_owners(keeps: Keeps) -> None:
    """Mail for the owner's address goes to the owners, without any to the postmaster, and always to somebody."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob", "carol")
        await directory.edit([Domain(name="example.test", postmaster="bob"), team("alice")])
        assert await targets(directory, "team-owner") == ["bob@example.test"]
        await directory.edit([team("alice", owners=(at("carol"), at("x@elsewhere.test")))])
        assert await targets(directory, "Team-Owner") == ["carol@example.test", "x@elsewhere.test"]
        await directory.edit([team("alice", owners=(at("carol"),)), RemoveAccount(at("carol"))])
        assert await targets(directory, "team-owner") == ["bob@example.test"]
        await directory.edit([PutAccount(address=at("bob"), enabled=False)])
        assert await targets(directory, "team-owner") == ["alice@example.test"]

    keeps(promise)


def test_lists_that_must_be_read(keeps: Keeps) -> None:
    """A list to which mail for postmaster, abuse or an owner's address leads stands for its members."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob")
        await directory.edit([Domain(name="example.test", postmaster="team"), team("bob", owners=(at("alice"),))])
        other = MailingList(address=at("other"), members=(at("alice"),), owners=(at("team"),))
        await directory.edit([other])
        for address in ("postmaster", "abuse", "other-owner"):
            assert await targets(directory, address) == ["bob@example.test"]
            assert (await directory.resolve(at(address))).lists == ()

    keeps(promise)


def test_list_circles(keeps: Keeps) -> None:
    """Members and owners that lead back to the list are refused, and the way is named."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        await directory.edit([team("alice"), Alias(address=at("a"), targets=(at("team"),))])
        assert "a@example.test -> team@example.test" in await refused(directory, Conflict, [team("a")])
        assert "in a circle" in await refused(directory, Conflict, [team("Team")])
        assert "in a circle" in await refused(directory, Conflict, [team("alice", owners=(at("a"),))])

    keeps(promise)


@pytest.mark.parametrize(
    ("other", "removal", "what"),
    [
        (PutAccount(address=at("Team")), RemoveAccount(at("team")), "an account and a list"),
        (Alias(address=at("team"), targets=(at("x@y.test"),)), RemoveAlias(at("team")), "a list and an alias"),
        (PutAccount(address=at("team-owner")), RemoveAccount(at("team-owner")), f"an account and {OWNERS}"),
        (
            Alias(address=at("Team-Owner"), targets=(at("x@y.test"),)),
            RemoveAlias(at("team-owner")),
            f"an alias and {OWNERS}",
        ),
        (MailingList(address=at("team-owner")), RemoveList(at("team-owner")), f"a list and {OWNERS}"),
    ],
)
def test_a_list_has_its_addresses_alone(keeps: Keeps, other: Edit, removal: Edit, what: str) -> None:
    """What has the address of a list, or of its owner, keeps the list from being made, and the other way round."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory)
        await directory.edit([other])
        assert what in await refused(directory, Conflict, [team()])
        await directory.edit([removal, team()])
        assert what in await refused(directory, Conflict, [other])
        await directory.edit([team(enabled=False), other])

    keeps(promise)


@pytest.mark.parametrize("local", ['"the team"', "x" * 59])
def test_addresses_that_no_list_has(keeps: Keeps, local: str) -> None:
    """A list's address has room for that of its owner, and needs no quotes."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory)
        await refused(directory, PermanentError, [MailingList(address=Address.parse(f"{local}@example.test"))])

    keeps(promise)


def test_senders(keeps: Keeps) -> None:
    """Nobody sends as a list he is a member of, nor as what a catch-all takes; an owner sends as the list's owner."""

    async def promise(directory: DirectoryEditor) -> None:
        alice, bob = await with_accounts(directory, "alice", "bob")
        await directory.edit(
            [
                Domain(name="example.test", catch_all=(at("alice"),)),
                team("alice", owners=(at("bob"),)),
                Alias(address=at("all"), targets=(at("team"),)),
            ]
        )
        for address in ("team", "all", "team-owner", "anything"):
            assert not await directory.may_send_as(alice.id, at(address))
        assert await directory.may_send_as(bob.id, at("team-owner"))

    keeps(promise)


# Catch-alls


def test_catch_all(keeps: Keeps) -> None:
    """Mail for what nobody has goes where the domain says: to accounts, aliases, lists or elsewhere."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob")
        await directory.edit([team("bob"), Alias(address=at("a"), targets=(at("alice"),))])
        caught = Domain(name="example.test", catch_all=(at("a"), at("team"), at("x@elsewhere.test")))
        await directory.edit([caught])
        assert (await directory.entries()).domains == (caught,)
        found = await directory.resolve(at("anything"))
        assert found.is_caught
        assert [one.address for one in found.lists] == [at("team")]
        assert await targets(directory, "anything") == ["alice@example.test", "x@elsewhere.test"]
        assert not (await directory.resolve(at("alice"))).is_caught
        await directory.edit([Domain(name="example.test")])
        with pytest.raises(NotFound):
            await directory.resolve(at("anything"))

    keeps(promise)


def test_what_a_catch_all_leaves_alone(keeps: Keeps) -> None:
    """It takes no mail for what is there but disabled or leads nowhere, for roles, owners, or dead targets."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice", "bob")
        await directory.edit([Domain(name="example.test", postmaster="alice", catch_all=(at("bob"),))])
        await directory.edit(
            [
                PutAccount(address=at("off"), enabled=False),
                Alias(address=at("dead"), targets=(at("gone"),)),
                Alias(address=at("off-alias"), targets=(at("alice"),), enabled=False),
                team("alice", enabled=False),
            ]
        )
        for address in ("off", "dead", "off-alias", "team", "team-owner"):
            with pytest.raises(NotFound):
                await directory.resolve(at(address))
        for role in ("postmaster", "abuse", "ABUSE"):
            assert await targets(directory, role) == ["alice@example.test"]
        await directory.edit([RemoveAccount(at("off"))])
        assert await targets(directory, "off") == ["bob@example.test"]
        await directory.edit([RemoveAccount(at("bob"))])
        with pytest.raises(NotFound):
            await directory.resolve(at("anything"))

    keeps(promise)


# Contacts


def test_contacts(keeps: Keeps) -> None:
    """A contact has the values that were put last; names are compared without case and by words."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory)
        carol = Contact(
            domain="example.test",
            name="Carol Cé",
            email=at("carol@elsewhere.test"),
            phone="+1 555 0100",
            mobile="+1 555 0101",
            organization="Elsewhere",
            title="Dr.",
            note="since 1998",
            enabled=False,
        )
        dave = Contact(domain="example.test", name="Dave")
        await directory.edit([carol, dave])
        assert (await directory.entries()).contacts == (carol, dave)
        again = Contact(domain="example.test", name="CAROL  CE\u0301", phone="1")
        await directory.edit([again, RemoveContact("example.test", "dave"), RemoveContact("example.test", "never")])
        assert (await directory.entries()).contacts == (again,)
        await refused(directory, NotFound, [replace(dave, domain="nowhere.test")])
        assert "still has" in await refused(directory, Conflict, [RemoveDomain("example.test")])
        await directory.edit([RemoveContact("example.test", again.name), RemoveDomain("example.test")])

    keeps(promise)


# Retrieval entries


def test_retrievals(keeps: Keeps) -> None:
    """A retrieval entry has the values that were put last; of its password only the reference is there."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        old = Retrieval(
            name="al-old",
            account=at("alice"),
            server=Server("pop.elsewhere.test", 110),
            tls=Tls.STARTTLS,
            ca="/etc/ca.pem",
            user="al",
            secret=SecretRef("file", "/run/secrets/al"),
            folder="Old/Mail",
            keep_days=14,
            apop=Apop.NEVER,
            interval_s=600,
            max_message_size=1_000_000,
            enabled=False,
        )
        new = Retrieval(
            name="new", account=at("alice"), server=Server("::1", 995), user="a b", secret=SecretRef("env", "AL")
        )
        await directory.edit([old, new])
        assert (await directory.entries()).retrievals == (old, new)
        again = replace(new, name="AL-Old", keep_days=None)
        await directory.edit([again, RemoveRetrieval("NEW"), RemoveRetrieval("never")])
        assert (await directory.entries()).retrievals == (again,)

    keeps(promise)


def test_accounts_of_retrievals(keeps: Keeps) -> None:
    """An enabled entry is made for an account that is there; one whose account goes later stays."""

    async def promise(directory: DirectoryEditor) -> None:
        await with_accounts(directory, "alice")
        entry = Retrieval(
            name="x", account=at("bob"), server=Server("a.test", 110), user="b", secret=SecretRef("env", "B")
        )
        assert "bob" in await refused(directory, NotFound, [entry])
        await refused(directory, PermanentError, [replace(entry, name="two words", account=at("alice"))])
        await directory.edit([replace(entry, enabled=False), replace(entry, name="y", account=at("alice"))])
        await directory.edit([RemoveAccount(at("alice"))])
        assert len((await directory.entries()).retrievals) == 2

    keeps(promise)


# Passwords, to put them back


def test_stored_passwords(keeps: Keeps) -> None:
    """A password that was replaced is put back as it was kept."""

    async def promise(directory: DirectoryEditor) -> None:
        alice, bob = await with_accounts(directory, "alice", "bob")
        await directory.edit([SetPassword(address=at("alice"), password="first")])
        kept = await directory.passwords()
        assert kept.keys() == {alice.id}
        await directory.edit([SetPassword(address=at("alice"), password="second")])
        await directory.edit([SetPassword(address=at("alice"), stored=kept[alice.id])])
        assert await directory.passwords() == kept
        await directory.authenticate("alice@example.test", "first", service="pop")
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate("alice@example.test", "second", service="pop")
        assert bob.id not in kept

    keeps(promise)
