"""The verbs on lists, contacts, retrieval entries and catch-alls, before any apply."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import audit, cli

TEAM = "team@example.test"
AL_OLD = ("retrieval", "add", "al-old", "--account", "alice@example.test", "--server", "127.0.0.1:1110", "--user", "al")


class Verbs:
    """The command line in a folder with a spec, a domain, and the accounts alice and bob."""

    def __init__(self, run: Callable[..., tuple[int, str, str]], folder: Path) -> None:
        self._run = run
        self.state_dir = folder / "var"
        self.ok("domain", "add", "example.test")
        for user in ("alice", "bob"):
            self.ok("account", "add", f"{user}@example.test")

    def ok(self, *arguments: str) -> str:
        """A change that has to be made. What it says."""
        code, out, err = self._run(*arguments)
        assert (code, out) == (0, ""), err
        return err

    def fails(self, code: int, *arguments: str) -> str:
        """A change that has to be refused with `code`. The one line it says."""
        done, out, err = self._run(*arguments)
        assert (done, out, err.count("\n")) == (code, "", 1), err
        return err

    def json(self, *arguments: str) -> Any:
        code, out, err = self._run(*arguments, "--json")
        assert (code, err) == (0, "")
        answer = json.loads(out)
        assert answer.pop("schema_version") == 1
        [found] = answer.values()
        return found

    def text(self, *arguments: str) -> str:
        return self._run(*arguments)[1]


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verbs:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "services.yaml").write_text(json.dumps({"version": 1, "hostname": "mail.test", "services": {}}))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["postroom", *arguments])
        code = cli.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return Verbs(run, tmp_path)


def test_lists(verbs: Verbs) -> None:
    """A list has what it was made with, and changes field by field and member by member."""
    verbs.ok("list", "add", TEAM, "--member", "alice", "--member", "Alice@example.test", "--member", "x@elsewhere.test")
    row = {
        "address": TEAM,
        "name": "",
        "enabled": True,
        "members": ["alice@example.test", "x@elsewhere.test"],
        "post": "members",
        "owners": [],
        "declared": False,
    }
    assert verbs.json("list", "list") == [row]
    verbs.ok("list", "set", TEAM, "--name", "The team", "--post", "owner", "--owner", "bob", "--disabled")
    verbs.ok("list", "set", TEAM, "--add-member", "bob", "--remove-member", "X@elsewhere.test")
    changed = {"name": "The team", "post": "owner", "owners": ["bob@example.test"], "enabled": False}
    both = ["alice@example.test", "bob@example.test"]
    assert verbs.json("list", "show", "Team@Example.test") == {**row, **changed, "members": both}
    verbs.ok("list", "set", TEAM, "--member", "bob")
    assert verbs.json("list", "show", TEAM)["members"] == ["bob@example.test"]
    assert verbs.json("domain", "show", "example.test")["lists"] == 1
    verbs.ok("list", "remove", TEAM)
    assert "there is no list team@example.test" in verbs.fails(1, "list", "remove", TEAM)


def test_list_refusals(verbs: Verbs) -> None:
    """What cannot be is refused by name, and changes nothing."""
    verbs.ok("list", "add", TEAM, "--member", "alice")
    before = verbs.json("list", "list")
    assert "is a list team@example.test already" in verbs.fails(1, "list", "add", TEAM)
    assert "an account and a list" in verbs.fails(1, "list", "add", "alice@example.test")
    assert "the owner's address of the list team" in verbs.fails(1, "account", "add", "team-owner@example.test")
    assert "no account, alias or list nobody@" in verbs.fails(1, "list", "set", TEAM, "--member", "nobody")
    assert "team@example.test -> team@example.test" in verbs.fails(1, "list", "set", TEAM, "--owner", "team")
    assert "no domain of ours" in verbs.fails(1, "list", "add", "a@nowhere.test")
    assert "without quotes" in verbs.fails(1, "list", "add", '"a b"@example.test')
    assert "control character" in verbs.fails(1, "list", "set", TEAM, "--name", "a\nb")
    assert "bob@example.test: no member" in verbs.fails(64, "list", "set", TEAM, "--remove-member", "bob")
    both = ("--member", "bob", "--add-member", "alice")
    assert "not both" in verbs.fails(64, "list", "set", TEAM, *both)
    assert "'members', 'anyone', 'owner'" in verbs.fails(64, "list", "set", TEAM, "--post", "all")
    assert "say what to change" in verbs.fails(64, "list", "set", TEAM)
    assert verbs.json("list", "list") == before


def test_catch_alls(verbs: Verbs) -> None:
    """A domain gets and loses a catch-all; whom it names has to be there."""
    verbs.ok("domain", "set", "example.test", "--catch-all", "alice", "--catch-all", "x@elsewhere.test")
    caught = ["alice@example.test", "x@elsewhere.test"]
    assert verbs.json("domain", "show", "example.test")["catch_all"] == caught
    assert "nobody@example.test" in verbs.fails(1, "domain", "set", "example.test", "--catch-all", "nobody")
    both = ("--catch-all", "bob", "--no-catch-all")
    assert "not both" in verbs.fails(64, "domain", "set", "example.test", *both)
    verbs.ok("domain", "set", "example.test", "--no-catch-all")
    assert verbs.json("domain", "list")[0]["catch_all"] == []


def test_contacts(verbs: Verbs) -> None:
    """A contact is found by its name, whatever the case; what is named empty goes."""
    verbs.ok("contact", "add", "example.test", "Carol Cé", "--email", "carol@elsewhere.test", "--phone", "+1 555 0100")
    row = {
        "domain": "example.test",
        "name": "Carol Cé",
        "enabled": True,
        "email": "carol@elsewhere.test",
        "phone": "+1 555 0100",
        "mobile": "",
        "organization": "",
        "title": "",
        "note": "",
        "declared": False,
    }
    assert verbs.json("contact", "list") == [row]
    verbs.ok("contact", "set", "example.test", "CAROL  cé", "--email", "", "--title", "Dr.", "--disabled")
    changed = {**row, "email": None, "title": "Dr.", "enabled": False}
    assert verbs.json("contact", "show", "example.test", "carol cé") == changed
    assert "already" in verbs.fails(1, "contact", "add", "example.test", "carol cé")
    assert "the name is empty" in verbs.fails(1, "contact", "add", "example.test", " ")
    assert "not of the form" in verbs.fails(64, "contact", "add", "example.test", "Dave", "--email", "dave")
    assert "no domain of ours" in verbs.fails(1, "contact", "add", "nowhere.test", "Dave")
    verbs.ok("contact", "remove", "example.test", "Carol Cé")
    assert verbs.json("contact", "list") == []


def test_retrievals(verbs: Verbs, tmp_path: Path) -> None:
    """A retrieval entry keeps where its password is, never what it is; numbers are shown in seconds and octets."""
    (tmp_path / "pw").write_text("sesame\n")
    verbs.ok(*AL_OLD, "--tls", "none", "--password-file", "pw")
    row = {
        "name": "al-old",
        "enabled": True,
        "account": "alice@example.test",
        "server": "127.0.0.1:1110",
        "tls": "none",
        "ca": None,
        "user": "al",
        "password": {"file": str(tmp_path / "pw")},
        "folder": "INBOX",
        "keep": False,
        "apop": "auto",
        "interval_s": None,
        "max_message_size_octets": None,
        "declared": False,
    }
    assert verbs.json("retrieval", "list") == [row]
    numbers = ("--keep", "14d", "--interval", "10m", "--max-message-size", "10MiB", "--ca", "ca.pem")
    verbs.ok("retrieval", "set", "AL-OLD", *numbers, "--password-env", "AL_OLD")
    changed = {
        **row,
        "keep": "14d",
        "interval_s": 600,
        "max_message_size_octets": 10 << 20,
        "ca": str(tmp_path / "ca.pem"),
        "password": {"env": "AL_OLD"},
    }
    assert verbs.json("retrieval", "show", "al-old") == changed
    assert "password                 env AL_OLD\n" in verbs.text("retrieval", "show", "al-old")
    none = ("--keep", "true", "--interval", "none", "--max-message-size", "none", "--ca", "none")
    verbs.ok("retrieval", "set", "al-old", *none, "--password-file", "pw")
    assert verbs.json("retrieval", "show", "al-old") == {**row, "keep": True}
    everything = [path.read_bytes() for path in verbs.state_dir.rglob("*") if path.is_file()]
    assert not any(b"sesame" in octets for octets in everything)
    verbs.ok("retrieval", "remove", "al-old")
    assert verbs.json("retrieval", "list") == []


@pytest.mark.parametrize(
    ("code", "arguments", "what"),
    [
        (64, AL_OLD, "say --password-file"),
        (64, ("retrieval", "add", "x", "--password-env", "X"), "say --account, --server, --user"),
        (64, (*AL_OLD[:2], "two words", *AL_OLD[3:], "--password-env", "X"), "no name"),
        (1, (*AL_OLD[:4], "zed@example.test", *AL_OLD[5:], "--password-env", "X"), "there is no account zed"),
        (64, (*AL_OLD[:6], "a.test", *AL_OLD[7:], "--password-env", "X"), "has no port"),
        (1, (*AL_OLD, "--password-file", "none"), "cannot be read"),
        (1, (*AL_OLD, "--password-file", "services.yaml", "--folder", "a//b"), "is no mailbox"),
        (64, (*AL_OLD, "--password-env", "X", "--password-credential", "Y"), "say one of"),
        (64, (*AL_OLD, "--password-env", "X", "--keep", "1h"), "false, true"),
        (1, (*AL_OLD, "--password-env", "X", "--interval", "1s"), "out of range"),
        (1, ("retrieval", "set", "al-old", "--disabled"), "there is no retrieval al-old"),
    ],
)
def test_retrieval_refusals(verbs: Verbs, code: int, arguments: tuple[str, ...], what: str) -> None:
    """Each refusal is one line with the exit code of its kind, and nothing is made."""
    assert what in verbs.fails(code, *arguments)
    assert verbs.json("retrieval", "list") == []


def test_what_is_left(verbs: Verbs) -> None:
    """Whoever removes an address is told what still leads there."""
    verbs.ok("alias", "add", "sales@example.test", "alice", "bob")
    verbs.ok("list", "add", TEAM, "--owner", "bob")
    verbs.ok("domain", "set", "example.test", "--postmaster", "bob")
    verbs.ok("retrieval", "add", "old", "--account", "bob@example.test", *AL_OLD[5:], "--password-env", "X")
    assert "leading" not in verbs.ok("contact", "add", "example.test", "Dave", "--email", "bob@example.test")
    leading = "domain example.test, alias sales@example.test, list team@example.test, retrieval old"
    assert f"still leading there, to nobody: {leading}\n" in verbs.ok("account", "remove", "bob@example.test")
    assert "leading" not in verbs.ok("list", "remove", TEAM)


def test_protocols(verbs: Verbs) -> None:
    """Protocols to log in with are repeated or listed, in any order."""
    verbs.ok("account", "add", "carol@example.test", "--protocol", "smtp", "--protocol", "imap")
    assert verbs.json("account", "show", "carol@example.test")["protocols"] == ["imap", "smtp"]
    verbs.ok("account", "set", "carol@example.test", "--protocols", "pop,smtp", "--protocol", "ldap")
    assert verbs.json("account", "show", "carol@example.test")["protocols"] == ["ldap", "pop", "smtp"]
    verbs.ok("account", "set", "carol@example.test", "--protocol", "all")
    assert verbs.json("account", "show", "carol@example.test")["protocols"] is None


def test_audit(verbs: Verbs) -> None:
    """Each change is in the audit trail with what was before and after; so is one that was refused."""
    verbs.ok("list", "add", TEAM, "--member", "alice")
    verbs.ok("list", "set", TEAM, "--member", "bob")
    verbs.fails(1, "list", "set", TEAM, "--member", "nobody")
    verbs.ok("list", "remove", TEAM)
    made, changed, refused, removed = audit.since(verbs.state_dir, 0.0, names=[TEAM])
    assert [one.verb for one in (made, changed, refused, removed)] == [
        "list add",
        "list set",
        "list set",
        "list remove",
    ]
    assert changed.before == made.after == {**_team("alice@example.test")}
    assert changed.after == removed.before == {**_team("bob@example.test")}
    assert (refused.before, "nobody" in refused.result) == (None, True)


def _team(member: str) -> dict[str, object]:
    return {"enabled": True, "name": "", "members": [member], "post": "members", "owners": []}
