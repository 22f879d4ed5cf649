"""Declared accounts on a real directory: plan and apply, again and again."""

from pathlib import Path

import pytest
from argon2 import PasswordHasher

from maillib.address import Address
from maillib.embedded import passwords
from maillib.embedded.directory import database_path
from maillib.ports.directory import PutAccount, RemoveAccount, SetPassword
from orchestrator.errors import PreflightFailed
from tests.support.declared_world import FILE, World

ALICE = Address.parse("alice@example.test")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_first_apply(world: World) -> None:
    """The first apply makes everything; a plan before makes nothing, not even the directory."""
    assert len(world.plan()) == 4
    assert not world.state_dir.exists()
    assert world.apply() == [
        "add domain example.test (new in the declaration)",
        "add account alice@example.test (new in the declaration)",
        "add account bob@example.test (new in the declaration)",
        "add alias sales@example.test (new in the declaration)",
    ]
    [alice, bob] = world.entries().accounts
    assert (alice.name, alice.quota_octets, alice.protocols) == ("Alice Liddell", 1 << 30, None)
    assert (bob.name, bob.quota_octets, bob.protocols) == ("Bob", None, frozenset({"smtp"}))
    assert [str(target) for target in world.entries().aliases[0].targets] == [
        "alice@example.test",
        "bob@example.test",
        "partner@elsewhere.test",
    ]
    assert world.logs_in("alice", "first")
    assert world.logs_in("bob", "bobs")
    assert not world.logs_in("bob", "bobs", service="pop")


def test_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing changed: nothing is hashed, and nothing is written."""
    world.apply()
    before = database_path(world.state_dir).read_bytes()
    generation = world.entries().generation
    monkeypatch.setattr(passwords, "_HASHER", None)
    world.write(f"# a comment\n{FILE}")
    assert world.apply() == []
    assert database_path(world.state_dir).read_bytes() == before
    assert world.entries().generation == generation


def test_changed_secret(world: World) -> None:
    """A declared secret that changed is set, and so is one that became a hash."""
    world.apply()
    world.secret("alice", "second\n")
    assert world.apply() == ["set account alice@example.test: password (its declaration changed)"]
    assert world.logs_in("alice", "second")
    assert not world.logs_in("alice", "first")
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("third")
    world.write(FILE.replace("password: {file: alice.pw}", f"password_hash: '{hashed}'"))
    assert world.apply() == ["set account alice@example.test: password (its declaration changed)"]
    assert world.logs_in("alice", "third")
    assert world.apply() == []


def test_password_by_hand(world: World) -> None:
    """A password that a person has set stays, also when other fields change, until its declaration changes."""
    world.apply()
    world.by_hand(SetPassword(address=ALICE, password="mine"))
    assert world.apply() == []
    world.write(FILE.replace("Liddell", "L."))
    assert world.apply() == ["set account alice@example.test: name Alice Liddell -> Alice L. (its declaration changed)"]
    assert world.logs_in("alice", "mine")
    world.secret("alice", "declared")
    world.apply()
    assert world.logs_in("alice", "declared")


def test_removed_by_hand(world: World) -> None:
    """A declared account that was removed by hand is made again: with its ID, and as declared."""
    world.apply()
    [alice, _] = world.entries().accounts
    world.by_hand(SetPassword(address=ALICE, password="mine"), RemoveAccount(ALICE))
    assert world.apply() == ["add account alice@example.test (it is declared and was removed by hand)"]
    assert world.entries().accounts[0] == alice
    assert world.logs_in("alice", "first")


def test_made_by_hand(world: World) -> None:
    """What was made by hand is left alone until it is declared; then the declaration takes it over."""
    world.apply()
    carol = Address.parse("Carol@example.test")
    world.by_hand(PutAccount(address=carol, name="C", quota_octets=7), SetPassword(address=carol, password="mine"))
    assert world.apply() == []
    world.write(FILE.replace("    users:\n", "    users:\n      carol: {name: Carol}\n"))
    assert world.apply() == ["set account carol@example.test: name C -> Carol (the declaration takes it over)"]
    found = world.entries().accounts[-1]
    assert (str(found.address), found.name, found.quota_octets) == ("Carol@example.test", "Carol", 7)
    assert world.logs_in("carol", "mine")


def test_left(world: World) -> None:
    """Who left the file is disabled and kept; who comes back is enabled again."""
    world.apply()
    world.write(FILE.replace("      bob: {", "      # bob: {").replace("bob, ", ""))
    assert world.apply() == [
        "set alias sales@example.test: targets [alice@example.test, bob@example.test, partner@elsewhere.test] ->"
        " [alice@example.test, partner@elsewhere.test] (its declaration changed)",
        "disable account bob@example.test: enabled yes -> no (it left the declaration; its mail is kept: 0 messages, 0"
        " octets)",
    ]
    assert not world.logs_in("bob", "bobs")
    assert [account.enabled for account in world.entries().accounts] == [True, False]
    world.write(FILE)
    world.apply()
    assert world.logs_in("bob", "bobs")


def test_user_becomes_alias(world: World) -> None:
    """A user who left may become an alias in the same apply, and come back."""
    world.apply()
    as_alias = FILE.replace("      bob: {", "      # bob: {").replace("{sales:", "{bob: [alice], sales:")
    world.write(as_alias)
    world.apply()
    found = world.ask(lambda directory: directory.resolve(Address.parse("bob@example.test")))
    assert [account.address for account in found.accounts] == [ALICE]
    world.write(FILE)
    world.apply()
    assert world.logs_in("bob", "bobs")


def test_everything_left(world: World) -> None:
    """An empty declaration disables all it had declared, and removes nothing."""
    world.apply()
    world.write("version: 1\n")
    assert [line.split(":")[0] for line in world.apply()] == [
        "disable alias sales@example.test",
        "disable account alice@example.test",
        "disable account bob@example.test",
        "disable domain example.test",
    ]
    assert not world.ask(lambda directory: directory.is_local("example.test"))
    assert len(world.entries().accounts) == 2


def test_secrets_that_cannot_be_used(world: World) -> None:
    """Every secret that cannot be read or used is named, before anything is changed."""
    world.secret("alice", "two\nlines\n")
    world.write(FILE.replace("bob.pw", "nobody.pw"))
    for call in (world.plan, world.apply):
        with pytest.raises(PreflightFailed) as error:
            call()
        alice, bob = str(error.value).splitlines()
        users = f"{world.folder}/accounts.yaml:6:36: domains.example.test.users.alice.password: file"
        assert alice.startswith(users) and "control character" in alice
        assert "accounts.yaml:7:24: domains.example.test.users.bob.password: file " in bob and "No such file" in bob
    assert not world.state_dir.exists()


def test_conflict(world: World) -> None:
    """A declared alias at the address of an account made by hand is refused, by plan and by apply, as a whole."""
    world.apply()
    before = world.entries()
    world.by_hand(PutAccount(address=Address.parse("info@example.test")))
    world.write(FILE.replace("{sales:", "{info: [alice], sales:").replace("Bob", "Bobby"))
    for call in (world.plan, world.apply):
        with pytest.raises(PreflightFailed) as error:
            call()
        assert str(error.value) == (
            f"{world.folder}/accounts.yaml:8:15: domains.example.test.aliases.info:"
            " account info@example.test and alias info@example.test would both have the address info@example.test; the"
            " account was made by hand: disable or remove it, or take the alias out of the declaration"
        )
    assert world.entries().accounts[:2] == before.accounts


def test_no_secret_is_kept(world: World) -> None:
    """The record of what was declared holds fingerprints, no secrets."""
    world.apply()
    record = world.entries().declared
    assert record is not None
    assert "alice@example.test" in record
    assert "first" not in record
    assert "bobs" not in record
