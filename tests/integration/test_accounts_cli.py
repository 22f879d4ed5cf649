"""The verbs on domains, accounts and aliases, as a person or a pipeline runs them, before any apply."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.index import EmbeddedIndex
from maillib.errors import AuthenticationFailed
from maillib.ports.index import INBOX, NewMessage
from orchestrator.admin import declared
from orchestrator.admin.accounts_file import read_declaration
from orchestrator.admin.declared import Order

ALICE = "alice@example.test"


class Suite:
    """A folder with a spec, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "var"
        spec = {"version": 1, "hostname": "mail.example.test", "services": {}}
        (folder / "services.yaml").write_text(json.dumps(spec))

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "postroom"), *arguments]
        return subprocess.run(
            command, cwd=self.folder, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """A verb that has to end with 0. Its stderr; a change says nothing on stdout."""
        done = self.run(*arguments, stdin=stdin)
        assert (done.returncode, done.stdout) == (0, ""), done
        return done.stderr

    def fails(self, code: int, *arguments: str, stdin: str = "") -> str:
        """A verb that has to end with `code`. The one line it says."""
        done = self.run(*arguments, stdin=stdin)
        assert (done.returncode, done.stdout) == (code, ""), done
        [line] = done.stderr.splitlines()
        return line

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert (done.returncode, done.stderr) == (0, ""), done
        answer = json.loads(done.stdout)
        assert answer.pop("schema_version") == 1
        return answer

    def logs_in(self, password: str, service: str = "pop") -> bool:
        async def log_in() -> bool:
            directory = EmbeddedDirectory(self.state_dir)
            try:
                await directory.authenticate(ALICE, password, service=service)
            except AuthenticationFailed:
                return False
            finally:
                await directory.close()
            return True

        return asyncio.run(log_in())

    def deliver(self, body: bytes) -> None:
        """To Alice's INBOX."""

        async def octets() -> AsyncIterator[bytes]:
            yield body

        async def main() -> None:
            directory = EmbeddedDirectory(self.state_dir)
            index, blobs = EmbeddedIndex(self.state_dir, directory.account), EmbeddedBlobs(self.state_dir)
            try:
                [alice] = (await directory.resolve(Address.parse(ALICE))).accounts
                message = NewMessage(
                    delivery_key=body.hex(),
                    prefix=b"",
                    body=await blobs.put(octets()),
                    internal_date=datetime(2024, 2, 29, tzinfo=UTC),
                )
                await index.append(alice.id, INBOX, [message])
            finally:
                await index.close()
                await blobs.close()
                await directory.close()

        asyncio.run(main())


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


@pytest.fixture
def with_alice(suite: Suite) -> Suite:
    suite.ok("domain", "add", "example.test")
    suite.ok("account", "add", ALICE, "--name", "Alice", "--password-stdin", stdin="first\n")
    return suite


def test_nothing_yet(suite: Suite) -> None:
    """Lists are empty before anything is made, and making a list makes nothing."""
    assert suite.json("account", "list") == {"accounts": []}
    assert suite.json("domain", "list") == {"domains": []}
    assert suite.json("alias", "list") == {"aliases": []}
    assert not suite.state_dir.exists()


def test_domains(suite: Suite) -> None:
    """Domains are added, changed and removed; names are A- or U-labels."""
    assert suite.ok("domain", "add", "Bücher.test") == "added domain xn--bcher-kva.test\n"
    assert "already" in suite.fails(1, "domain", "add", "xn--bcher-kva.test")
    assert "no host name label" in suite.fails(64, "domain", "add", "a_b")
    suite.ok("domain", "set", "bücher.test", "--disabled")
    row = {
        "domain": "xn--bcher-kva.test",
        "enabled": False,
        "postmaster": None,
        "catch_all": [],
        "accounts": 0,
        "aliases": 0,
        "lists": 0,
        "contacts": 0,
        "declared": False,
    }
    assert suite.json("domain", "show", "bücher.test") == {"domain": row}
    assert "say what to change" in suite.fails(64, "domain", "set", "bücher.test")
    suite.ok("domain", "remove", "bücher.test")
    assert "there is no domain" in suite.fails(1, "domain", "show", "bücher.test")


def test_accounts(with_alice: Suite) -> None:
    """An account has what it was added with, and changes field by field."""
    suite = with_alice
    assert suite.logs_in("first")
    row = {
        "address": ALICE,
        "name": "Alice",
        "enabled": True,
        "protocols": None,
        "quota_octets": None,
        "password": True,
        "declared": False,
    }
    assert suite.json("account", "list") == {"accounts": [row]}
    suite.ok("account", "set", "ALICE@example.test", "--quota", "2MiB", "--protocols", "smtp")
    changed = {**row, "quota_octets": 2 << 20, "protocols": ["smtp"], "messages": 0, "octets": 0}
    assert suite.json("account", "show", ALICE) == {"account": changed}
    assert not suite.logs_in("first", service="pop")
    suite.ok("account", "set", ALICE, "--quota", "none", "--protocols", "all", "--disabled")
    assert suite.json("account", "list") == {"accounts": [{**row, "enabled": False}]}
    assert not suite.logs_in("first")
    suite.ok("account", "set", ALICE, "--enabled")
    assert suite.logs_in("first")


def test_account_refusals(with_alice: Suite) -> None:
    """Each refusal is one line, with the exit code of its kind, and changes nothing."""
    suite = with_alice
    before = suite.json("account", "list")
    assert "already" in suite.fails(1, "account", "add", "Alice@Example.test")
    assert "no domain of ours" in suite.fails(1, "account", "add", "bob@nowhere.test")
    assert "not of the form" in suite.fails(64, "account", "add", "bob")
    assert "no size" in suite.fails(64, "account", "add", "bob@example.test", "--quota", "1GB")
    assert "no protocol" in suite.fails(64, "account", "add", "bob@example.test", "--protocols", "spool")
    assert "out of range" in suite.fails(1, "account", "add", "bob@example.test", "--quota", "0")
    assert "control character" in suite.fails(1, "account", "add", "bob@example.test", "--name", "a\nb")
    assert "say what to change" in suite.fails(64, "account", "set", ALICE)
    assert "there is no account" in suite.fails(1, "account", "set", "bob@example.test", "--enabled")
    assert "there is no account" in suite.fails(1, "account", "remove", "bob@example.test")
    assert suite.json("account", "list") == before


def test_passwords(with_alice: Suite) -> None:
    """Passwords come from stdin or a file, one line end dropped and all else counted."""
    suite = with_alice
    suite.ok("account", "password", ALICE, "--password-stdin", stdin=" second  \r\n")
    assert suite.logs_in(" second  ")
    (suite.folder / "pw").write_text("third")
    suite.ok("account", "password", ALICE, "--password-file", "pw")
    assert suite.logs_in("third")
    for bad in ("", "\n", "a\n\n", "a\tb", "x" * 1025, "x" * 100_000):
        line = suite.fails(1, "account", "password", ALICE, "--password-stdin", stdin=bad)
        assert "the password" in line and "x" * 10 not in line
    assert "--password-stdin" in suite.fails(64, "account", "password", ALICE)
    both = ("--password-stdin", "--password-file", "pw")
    assert "not both" in suite.fails(64, "account", "password", ALICE, *both)
    assert "cannot be read" in suite.fails(1, "account", "password", ALICE, "--password-file", "none")
    assert suite.logs_in("third")


def test_without_password(with_alice: Suite) -> None:
    """An account without a password is made, and said to have none."""
    suite = with_alice
    assert "no password yet" in suite.ok("account", "add", "bob@example.test")
    assert [row["password"] for row in suite.json("account", "list")["accounts"]] == [True, False]


def test_aliases(with_alice: Suite) -> None:
    """Aliases lead to names of their domain and to addresses; what leads nowhere or in a circle is refused."""
    suite = with_alice
    suite.ok("alias", "add", "sales@example.test", "alice", "Alice@example.test", "partner@elsewhere.test")
    row = {
        "address": "sales@example.test",
        "enabled": True,
        "targets": [ALICE, "partner@elsewhere.test"],
        "declared": False,
    }
    assert suite.json("alias", "list") == {"aliases": [row]}
    assert "no account, alias or list nobody@example.test" in suite.fails(1, "alias", "add", "a@example.test", "nobody")
    assert "already" in suite.fails(1, "alias", "add", "sales@example.test", "alice")
    assert "is an account and an alias" in suite.fails(1, "alias", "add", ALICE, "x@elsewhere.test")
    assert "circle" in suite.fails(1, "alias", "set", "sales@example.test", "sales")
    suite.ok("alias", "add", "all@example.test", "sales")
    assert "circle" in suite.fails(1, "alias", "set", "sales@example.test", "all")
    suite.ok("alias", "set", "sales@example.test", "alice")
    suite.ok("alias", "set", "sales@example.test", "--disabled")
    shown = suite.json("alias", "show", "sales@example.test")["alias"]
    assert (shown["targets"], shown["enabled"]) == ([ALICE], False)
    suite.ok("alias", "remove", "sales@example.test")
    assert "there is no alias" in suite.fails(1, "alias", "show", "sales@example.test")


def test_postmaster(with_alice: Suite) -> None:
    """Who gets mail for postmaster has to be there."""
    suite = with_alice
    assert "there is no account, alias or list bob@example.test" in suite.fails(
        1, "domain", "set", "example.test", "--postmaster", "bob"
    )
    suite.ok("domain", "set", "example.test", "--postmaster", "alice")
    assert suite.json("domain", "show", "example.test")["domain"]["postmaster"] == "alice"
    assert "still has accounts" in suite.fails(1, "domain", "remove", "example.test")


def test_removal_keeps_mail(with_alice: Suite) -> None:
    """A removed account's mail is kept for whoever gets the address back."""
    suite = with_alice
    suite.deliver(b"Subject: kept\r\n\r\n")
    assert "its mail is kept" in suite.ok("account", "remove", ALICE)
    assert suite.json("account", "list") == {"accounts": []}
    assert [row["address"] for row in suite.json("account", "list", "--removed")["accounts"]] == [ALICE]
    assert "1 messages, 17 octets" in suite.ok("account", "add", ALICE)
    assert suite.json("account", "show", ALICE)["account"]["messages"] == 1
    assert suite.json("account", "list", "--removed") == {"accounts": []}


@pytest.mark.parametrize("removed_before", [False, True])
def test_purge(with_alice: Suite, removed_before: bool) -> None:
    """Purging removes mail for good, of an account that is there or was removed; who comes next begins anew."""
    suite = with_alice
    suite.deliver(b"Subject: gone\r\n\r\n")
    if removed_before:
        suite.ok("account", "remove", ALICE)
    assert "1 messages, 17 octets" in suite.ok("account", "remove", ALICE, "--purge")
    assert [path.name for path in (suite.state_dir / "mail").iterdir() if path.name != "loose"] == []
    assert "and no mail of one" in suite.fails(1, "account", "remove", ALICE, "--purge")
    suite.ok("account", "add", ALICE)
    assert suite.json("account", "show", ALICE)["account"]["messages"] == 0


def test_declared(suite: Suite) -> None:
    """What is declared is listed as such; whoever removes it by hand is told that the next apply makes it again."""
    path = suite.folder / "accounts.yaml"
    path.write_text("version: 1\ndomains: {example.test: {users: {alice: {}}, aliases: {sales: [alice]}}}\n")
    declared.apply(suite.state_dir, Order(declaration=read_declaration(path)))
    suite.ok("account", "add", "bob@example.test")
    assert [row["declared"] for row in suite.json("account", "list")["accounts"]] == [True, False]
    assert suite.json("domain", "show", "example.test")["domain"]["declared"]
    assert "the next apply makes it again" in suite.ok("alias", "remove", "sales@example.test")
    assert "the next apply" not in suite.ok("account", "remove", "bob@example.test")


def test_for_people(with_alice: Suite) -> None:
    """Without --json a list is a table, and one object is a line a field."""
    suite = with_alice
    heading, line = suite.run("account", "list").stdout.splitlines()
    assert heading.split() == ["address", "enabled", "protocols", "quota_octets", "name"]
    assert line.split() == [ALICE, "yes", "-", "-", "Alice"]
    assert suite.run("domain", "show", "example.test").stdout.splitlines()[:2] == [
        "domain      example.test",
        "enabled     yes",
    ]


def test_mistakes_of_both_files(suite: Suite) -> None:
    """validate tells what is wrong with the spec and with the accounts it names, in one go."""
    spec = {"version": 1, "hostnam": "mail.example.test", "accounts": "accounts.yaml", "services": {}}
    (suite.folder / "services.yaml").write_text(json.dumps(spec))
    (suite.folder / "accounts.yaml").write_text("version: 1\ndomain: {}\n")
    for verb in ("validate", "plan", "apply", "check"):
        done = suite.run(verb)
        assert done.returncode == 65
        files = [line.split(":")[0] for line in done.stderr.splitlines()]
        assert [Path(name).name for name in files] == ["accounts.yaml", "services.yaml", "services.yaml"]
