"""`postroom mailbox …` beside running services: an index that is lost or damaged costs nobody mail."""

import os
import poplib
import shutil
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.mail_suite import ALICE, BOB, PASSWORD, MailSuite
from tests.support.real_suite import LIMIT_S, RealSuite, eventually

SALES = "sales@example.test"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailSuite]:
    """Running; Alice has mail of several senders, some of it by way of an alias."""
    suite = MailSuite(tmp_path_factory.mktemp("mailbox"))
    suite.start()
    suite.ok("alias", "add", SALES, ALICE, BOB)
    with smtplib.SMTP("127.0.0.1", suite.mx, timeout=LIMIT_S) as client:
        for number, (sender, to) in enumerate(
            [("carol@elsewhere.test", ALICE), ("", ALICE), ("jürgen@elsewhere.test", SALES), ('"a)b(c"@x.test', SALES)]
        ):
            options = ["SMTPUTF8"] if not sender.isascii() else []
            client.sendmail(sender, [to], f"Subject: {number}\r\n\r\nbody\r\n", options)
    suite.wait_for("0", "1", "2", "3")
    yield suite
    suite.take_down()


def state_of(suite: MailSuite) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """All that Alice's client sees: UIDLs, sizes, octets."""
    client = suite.login()
    uidl, sizes = client.uidl()[1], client.list()[1]
    client.quit()
    return uidl, sizes, suite.messages()


def alice_index(suite: MailSuite) -> Path:
    return suite.place.state_dir / "mail" / "1" / "index.sqlite3"


def overwrite(file: Path) -> None:
    """All pages but the first."""
    size = file.stat().st_size
    fd = os.open(file, os.O_WRONLY)
    os.pwrite(fd, b"\xaa" * (size - 4096), 4096)
    os.close(fd)


def waiting(suite: MailSuite) -> list[str]:
    """What the queue says about mail for Alice."""
    rows = [one for message in suite.ok("queue", "list", "--json").json["messages"] for one in message["recipients"]]
    return [row["last_reply"] or "" for row in rows if row["address"] == ALICE]


def assert_no_maildrop(suite: MailSuite) -> None:
    """Alice is told to come back later. RFC 3206 §4."""
    client = poplib.POP3("127.0.0.1", suite.pop, timeout=LIMIT_S)
    client.user(ALICE)
    with pytest.raises(poplib.error_proto, match=r"-ERR \[SYS/"):
        client.pass_(PASSWORD)
    client.close()


@pytest.mark.parametrize(
    ("damage", "is_open"),
    [(Path.unlink, True), (lambda file: os.truncate(file, 0), True), (overwrite, False)],
    ids=["removed", "truncated", "overwritten"],
)
def test_rebuild(suite: MailSuite, damage: Callable[[Path], None], is_open: bool) -> None:
    """Mail for the account waits, and the verb is named; others get theirs; after a rebuild all is as it was, and what
    waited comes once.
    """
    before = state_of(suite)
    count_of_bob = suite.count(BOB)
    if not is_open:
        suite.ok("stop", "spool", "pop", "--wait")
    damage(alice_index(suite))
    if not is_open:
        suite.ok("start", "spool", "pop", "--wait")
    for to in (ALICE, BOB):
        suite.send("later", to)
    eventually(lambda: suite.count(BOB) == count_of_bob + 1, "mail for Bob")
    remedy = f"postroom mailbox rebuild {ALICE}"
    eventually(lambda: [remedy in reply for reply in waiting(suite)] == [True], "mail for Alice waits")
    assert remedy in (suite.place.logs / "spool.log").read_text()
    assert_no_maildrop(suite)
    checked = suite.run("mailbox", "check", "--all")
    assert checked.code == 1
    assert remedy in checked.out

    made = suite.ok("mailbox", "rebuild", ALICE, "--json").json["accounts"]
    assert [(row["address"], row["messages"], row["error"]) for row in made] == [(ALICE, len(before[0]), None)]
    assert state_of(suite) == before
    suite.ok("queue", "retry", "--all")
    eventually(lambda: suite.count() == len(before[0]) + 1, "the mail that waited")
    assert waiting(suite) == []
    assert state_of(suite)[0][:-1] == before[0]
    assert suite.ok("mailbox", "check", "--all").out == ""


def test_rebuild_all_while_mail_comes(suite: MailSuite) -> None:
    """Workers that have the old indexes open go on with the new ones; nothing is lost or doubled."""
    before = len(suite.messages())
    for number in range(3):
        suite.send(f"a{number}")
        suite.ok("mailbox", "rebuild", "--all")
        suite.send(f"b{number}")
        suite.ok("queue", "retry", "--all")
    eventually(lambda: suite.ok("queue", "retry", "--all") and not waiting(suite), "nothing waits")
    subjects = suite.subjects()[before:]
    assert sorted(subjects) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert suite.ok("mailbox", "check", "--all").out == ""


def test_repair(suite: MailSuite) -> None:
    """What was mended is said, and what could not be; exit 1 as long as something is wrong."""
    folder = alice_index(suite).parent / "1"
    first = sorted(folder.glob("*.eml"))[0]
    octets = first.read_bytes()
    first.unlink()
    (folder / "note.txt").touch()
    done = suite.run("mailbox", "repair", ALICE)
    assert done.code == 1
    assert done.out.splitlines() == [
        f"{ALICE}: mended: message {int(first.stem)} of mailbox 1 has no body",
        f"{ALICE}: {folder}/note.txt belongs to no message",
    ]
    (folder / "note.txt").unlink()
    found = suite.ok("mailbox", "check", "--all", "--json").json
    assert found["strays"] == []
    assert {row["address"]: row["findings"] for row in found["accounts"]} == {ALICE: [], BOB: []}
    assert octets


def test_usage(tmp_path: Path) -> None:
    """Accounts are named or all are meant; an unknown one is told; one without mail has no index to make anew."""
    suite = RealSuite(tmp_path)
    suite.write({"services": {}})
    suite.ok("domain", "add", "example.test")
    suite.ok("account", "add", ALICE)
    shutil.rmtree(suite.place.state_dir / "mail" / "1")  # of an account that could get no mailboxes when it was made
    assert suite.run("mailbox", "check").code == 64
    assert suite.run("mailbox", "check", ALICE, "--all").code == 64
    assert suite.run("mailbox", "rebuild", "x@example.test").err == "postroom: there is no account x@example.test\n"
    assert suite.ok("mailbox", "check", ALICE).out == ""
    assert suite.ok("mailbox", "rebuild", "--all").out == ""
    assert suite.run("mailbox", "rebuild", ALICE).code == 1
    assert not (suite.place.state_dir / "mail" / "1").exists()


def test_an_account_whose_index_is_lost_can_be_removed(tmp_path: Path) -> None:
    """Nobody has to make an index anew only to throw it away."""
    suite = RealSuite(tmp_path)
    suite.write({"services": {}})
    suite.ok("domain", "add", "example.test")
    suite.ok("account", "add", ALICE)
    folder = suite.place.state_dir / "mail" / "1"
    (folder / "1" / "0000000001.eml").touch()
    (folder / "index.sqlite3").unlink()
    assert "mailbox rebuild" in suite.run("account", "show", ALICE).err
    assert suite.ok("account", "remove", "--purge", ALICE).err.endswith("and its mail: its index was damaged\n")
    assert not folder.exists()


def test_new_accounts_have_their_mailboxes(tmp_path: Path) -> None:
    """The first message to an account does not have to wait until its index is made."""
    suite = RealSuite(tmp_path)
    suite.write({"services": {}})
    suite.ok("domain", "add", "example.test")
    suite.ok("account", "add", ALICE)
    assert (suite.place.state_dir / "mail" / "1" / "index.sqlite3").stat().st_size > 0
