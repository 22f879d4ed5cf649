"""Declared accounts on a real directory: every kind of object, what leaves and is pruned, the ways back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.index import EmbeddedIndex
from maillib.ports.contacts import Contact
from maillib.ports.directory import PutAccount, RemoveAccount, RemoveRetrieval, SetPassword
from maillib.ports.index import INBOX, NewMessage
from orchestrator.admin import declared, export
from orchestrator.cli.accounts import DeclaredAccounts
from orchestrator.errors import PreflightFailed
from tests.support.declared_world import FILE, World

ALICE = Address.parse("alice@example.test")
BOB = Address.parse("bob@example.test")

WHOLE = f"""\
{FILE.rstrip()}
    lists: {{team: {{name: The team, members: [alice, bob], post: anyone}}}}
    catch_all: alice
    contacts: [{{name: Carol, email: carol@elsewhere.test, phone: "+1 555 0100"}}]
retrieval:
  - {{name: al-old, account: alice@example.test, server: "127.0.0.1:1110", tls: none, user: al, password: {{file: al}}}}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.write(WHOLE)
    return world


def deliver(world: World, address: Address) -> None:
    """A message of 17 octets."""

    async def octets() -> AsyncIterator[bytes]:
        yield b"Subject: kept\r\n\r\n"

    async def main() -> None:
        directory = EmbeddedDirectory(world.state_dir)
        index, blobs = EmbeddedIndex(world.state_dir, directory.account), EmbeddedBlobs(world.state_dir)
        try:
            [account] = (await directory.resolve(address)).accounts
            message = NewMessage(
                delivery_key="1",
                prefix=b"",
                body=await blobs.put(octets()),
                internal_date=datetime(2024, 2, 29, tzinfo=UTC),
            )
            await index.append(account.id, INBOX, [message])
        finally:
            await index.close()
            await blobs.close()
            await directory.close()

    asyncio.run(main())


def test_every_kind(world: World) -> None:
    """Each kind is made as declared, changed where its declaration changed, and left as a person has made it else."""
    assert world.apply()[-3:] == [
        "add list team@example.test (new in the declaration)",
        "add contact carol@example.test (new in the declaration)",
        "add retrieval al-old (new in the declaration)",
    ]
    found = world.entries()
    assert [str(member) for member in found.lists[0].members] == ["alice@example.test", "bob@example.test"]
    assert found.domains[0].catch_all == (ALICE,)
    [carol] = found.contacts
    assert (carol.name, str(carol.email), carol.phone) == ("Carol", "carol@elsewhere.test", "+1 555 0100")
    assert str(found.retrievals[0].secret) == f"file {world.folder}/al"
    world.by_hand(Contact(domain="example.test", name="carol", phone="by hand"))
    assert world.apply() == []
    world.write(WHOLE.replace("keep: false", "keep: 14d").replace("user: al,", "user: al, keep: 14d,"))
    assert world.apply() == ["set retrieval al-old: keep no -> 14d (its declaration changed)"]
    world.write(WHOLE.replace("members: [alice, bob]", "members: [bob]").replace("catch_all: alice", "catch_all: null"))
    assert world.apply() == [
        "set domain example.test: catch_all [alice@example.test] -> [] (its declaration changed)",
        "set list team@example.test: members [alice@example.test, bob@example.test] -> [bob@example.test]"
        " (its declaration changed)",
        "set retrieval al-old: keep 14d -> no (its declaration changed)",
    ]
    assert world.entries().contacts[0].phone == "by hand"


def test_mail_at_stake(world: World) -> None:
    """The plan names the mail of each account and domain that leaves; it is kept, and comes back with its owner."""
    world.apply()
    deliver(world, ALICE)
    world.write("version: 1\n")
    told = {
        str(action.object): action.as_json()["at_stake"] for action in declared.plan(world.state_dir, world.order())
    }
    one, none = ({"messages": number, "octets": 17 * number, "uncounted": 0} for number in (1, 0))
    assert told == {
        "retrieval al-old": None,
        "contact carol@example.test": None,
        "list team@example.test": None,
        "alias sales@example.test": None,
        "account alice@example.test": one,
        "account bob@example.test": none,
        "domain example.test": one,
    }
    assert all(line.startswith("disable ") for line in world.apply())
    assert "1 message, 17 octets" in "".join(world.plan(prune=True))
    assert all(line.startswith("remove ") for line in world.apply(prune=True))
    assert world.entries().domains == ()
    world.write(WHOLE)
    assert {line.partition(" ")[0] for line in world.apply()} == {"add"}
    assert world.entries().accounts[0].id == 1
    assert (world.state_dir / "mail" / "1").is_dir()


def test_declared_out_of_use(world: World) -> None:
    """What is declared as disabled is so, with its mail named; and in use again when the declaration says so."""
    world.apply()
    deliver(world, ALICE)
    world.write(WHOLE.replace("quota: 1GiB", "quota: 1GiB, enabled: false"))
    assert world.apply() == [
        "set account alice@example.test: enabled yes -> no (its declaration changed; its mail is kept: 1 message, 17"
        " octets)"
    ]
    assert not world.logs_in("alice", "first")
    world.write(WHOLE)
    world.apply()
    assert world.logs_in("alice", "first")


def test_an_index_that_cannot_tell(world: World) -> None:
    """A damaged index keeps nobody from planning: the plan says that it could not count."""
    world.apply()
    deliver(world, ALICE)
    for path in (world.state_dir / "mail" / "1").glob("index.sqlite3*"):
        path.write_bytes(b"no database" * 1000)
    world.write("version: 1\n")
    assert any("what 1 damaged index cannot count" in line for line in world.plan())


def test_prune_after_a_while(world: World) -> None:
    """What left in an earlier apply is pruned later; not what a person has enabled again meanwhile."""
    world.apply()
    world.write("version: 1\ndomains: {example.test: {}}\n")
    world.apply()
    world.by_hand(PutAccount(address=BOB, enabled=True), PutAccount(address=Address.parse("carol@example.test")))
    assert world.apply() == []
    assert [line.partition(" (")[0] for line in world.apply(prune=True)] == [
        "remove retrieval al-old",
        "remove contact carol@example.test",
        "remove list team@example.test",
        "remove alias sales@example.test",
        "remove account alice@example.test",
    ]
    assert [str(account.address) for account in world.entries().accounts] == [str(BOB), "carol@example.test"]


def test_comes_back_as_it_was(world: World) -> None:
    """Who left and comes back has the password that was theirs, unless the declared one changed meanwhile."""
    world.apply()
    world.by_hand(SetPassword(address=ALICE, password="mine"))
    for secret, expected in (("first", "mine"), ("second", "second")):
        world.write("version: 1\ndomains: {example.test: {}}\n")
        world.apply()
        world.secret("alice", secret)
        world.write(WHOLE)
        world.apply()
        assert world.logs_in("alice", expected)


def test_rollback(world: World) -> None:
    """A rollback sets no password because its secret reads differently now; who is made anew gets what it reads now."""
    world.apply()
    world.by_hand(SetPassword(address=ALICE, password="mine"), RemoveAccount(BOB))
    world.secret("alice", "rotated")
    world.secret("bob", "rotated")
    world.write(WHOLE.replace("Liddell", "L."))
    assert [line.partition(" (")[0] for line in world.apply(is_rollback=True)] == [
        "set account alice@example.test: name Alice Liddell -> Alice L.",
        "add account bob@example.test",
    ]
    assert world.logs_in("alice", "mine")
    assert world.logs_in("bob", "rotated")
    assert world.plan() == ["set account alice@example.test: password (its declaration changed)"]


def test_rollback_of_another_reference(world: World) -> None:
    """Where the reference itself was another one, a rollback is a change of the declaration."""
    world.secret("other", "other")
    world.write(WHOLE.replace("alice.pw", "other.pw"))
    world.apply()
    world.write(WHOLE)
    assert world.apply(is_rollback=True) == ["set account alice@example.test: password (its declaration changed)"]
    assert world.logs_in("alice", "first")


def test_rollback_of_another_hash(world: World) -> None:
    """Another hash is a change of the declaration, in a rollback too; from a reference to a hash and back as well."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    for password in ("one", "two"):
        world.write(WHOLE.replace("password: {file: alice.pw}", f"password_hash: '{hasher.hash(password)}'"))
        assert world.apply(is_rollback=password == "two")[0] in (
            "add domain example.test (new in the declaration)",
            "set account alice@example.test: password (its declaration changed)",
        )
        assert world.logs_in("alice", password)
    world.write(WHOLE)
    world.apply(is_rollback=True)
    assert world.logs_in("alice", "first")


def test_way_back(world: World) -> None:
    """The way back leaves everything as it was before the apply: fields, passwords, entries, the record of it."""
    world.apply()
    world.by_hand(SetPassword(address=ALICE, password="mine"))
    before, stored = world.entries(), world.ask(EmbeddedDirectory.passwords)
    world.secret("alice", "second")
    changed = WHOLE.replace("      bob: {", "      carol: {").replace("bob", "carol").replace("Liddell", "L.")
    world.secret("carol", "hers")
    world.write(changed)
    world.apply(prune=True)
    assert world.logs_in("alice", "second")
    world.way_back.go()
    after = world.entries()
    assert (after.domains, set(after.accounts)) == (before.domains, set(before.accounts))
    assert (after.aliases, after.lists, after.contacts) == (before.aliases, before.lists, before.contacts)
    assert (after.retrievals, after.declared) == (before.retrievals, before.declared)
    assert world.ask(EmbeddedDirectory.passwords) == stored
    assert world.logs_in("alice", "mine")
    assert world.logs_in("bob", "bobs")
    assert [str(account.address) for account in after.removed] == ["carol@example.test"]


def test_way_back_to_nothing(world: World) -> None:
    """After the way back from a first apply nobody has an address, and the next apply begins anew."""
    world.apply()
    world.way_back.go()
    found = world.entries()
    assert (found.domains, found.accounts, found.aliases, found.lists) == ((), (), (), ())
    assert (found.contacts, found.retrievals) == ((), ())
    assert len(world.apply()) == 7


def test_way_back_keeps_what_people_did(world: World) -> None:
    """What a person has changed since the apply stays: a field, a password, an entry in a domain that was made."""
    world.apply()
    world.write(WHOLE.replace("Liddell", "L.").replace("1GiB", "2GiB"))
    world.secret("alice", "second")
    world.apply()
    world.by_hand(PutAccount(address=ALICE, name="by hand", quota_octets=2 << 30))
    world.by_hand(SetPassword(address=ALICE, password="mine"))
    world.way_back.go()
    alice = world.entries().accounts[0]
    assert (alice.name, alice.quota_octets) == ("by hand", 1 << 30)
    assert world.logs_in("alice", "mine")


def test_way_back_beside_others(world: World) -> None:
    """A domain that the apply made stays when a person has made something in it since."""
    world.apply()
    world.by_hand(PutAccount(address=Address.parse("carol@example.test")))
    world.way_back.go()
    assert [str(account.address) for account in world.entries().accounts] == ["carol@example.test"]
    assert [domain.name for domain in world.entries().domains] == ["example.test"]


def test_way_back_to_no_password(world: World) -> None:
    """An account that had no password before has none afterwards, and the same ID and mail."""
    world.write(WHOLE.replace("password: {file: alice.pw}, ", ""))
    world.apply()
    deliver(world, ALICE)
    before = world.entries()
    world.write(WHOLE)
    world.apply()
    assert world.logs_in("alice", "first")
    world.way_back.go()
    assert not world.logs_in("alice", "first")
    after = world.entries()
    assert (after.accounts, after.with_password, after.removed) == (before.accounts, before.with_password, ())


def test_retrieval_needs_its_account(world: World) -> None:
    """A retrieval entry for an account that is neither declared nor there is refused; one made by hand will do."""
    world.write(WHOLE.replace("account: alice@", "account: alcie@"))
    for call in (world.plan, world.apply):
        with pytest.raises(PreflightFailed) as error:
            call()
        assert str(error.value) == (
            f"{world.folder}/accounts.yaml:13:6: retrieval[0].name:"
            " there is no account alcie@example.test; allowed: one that is declared, or there already;"
            " did you mean alice@example.test?"
        )
    world.write(WHOLE)
    world.apply()
    world.by_hand(PutAccount(address=Address.parse("alcie@example.test")))
    world.write(WHOLE.replace("account: alice@", "account: alcie@"))
    assert len(world.apply()) == 1
    world.by_hand(RemoveAccount(Address.parse("alcie@example.test")))
    assert world.apply() == []  # it stays, and fetches nothing
    world.write(WHOLE.replace(WHOLE[WHOLE.index("retrieval:") :], ""))
    assert world.apply() == ["disable retrieval al-old: enabled yes -> no (it left the declaration)"]


def test_clashes(world: World) -> None:
    """Lists clash with what was made by hand as aliases do, by their owners' address too; `check` tells in advance."""
    world.apply()
    world.by_hand(PutAccount(address=Address.parse("News-Owner@example.test")))
    world.write(WHOLE.replace("lists: {", "lists: {news: {members: [alice]}, "))
    with pytest.raises(PreflightFailed, match=r"would both have the address news-owner@example\.test; the account was"):
        world.plan()
    (world.folder / "al").write_text("secret")
    found = [*DeclaredAccounts(world.state_dir, world.order().declaration).find()]
    assert [finding.kind.id for finding in found if finding.is_error] == ["accounts-clash"]
    assert "accounts.yaml:9:19: domains.example.test.lists.news: " in str(found[-1])


def test_export(world: World) -> None:
    """What is exported plans to no change, also in place of the declaration that it came from; it holds no secret."""
    world.apply()
    world.by_hand(SetPassword(address=ALICE, password="mine"), PutAccount(address=Address.parse("dora@example.test")))
    world.by_hand(RemoveRetrieval("al-old"))
    text = export.accounts(world.state_dir)
    assert text == export.accounts(world.state_dir)
    assert "mine" not in text
    assert "first" not in text
    world.write(text)
    assert all(line.startswith("keep ") for line in world.apply())
    world.write("version: 1\n")
    world.apply(prune=True)
    assert world.entries().domains == ()
    world.write(text)
    world.apply()
    assert export.accounts(world.state_dir) == text
    assert world.logs_in("alice", "mine")
    assert world.logs_in("bob", "bobs")
