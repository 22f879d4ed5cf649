"""Damaged files under a running suite: set aside and named, nobody else's mail is held up, no process dies of them."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.mail_suite import ALICE, BOB, MailSuite
from tests.support.real_suite import eventually

pytestmark = pytest.mark.real


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[MailSuite]:
    made = MailSuite(tmp_path)
    made.start()
    yield made
    made.take_down()


def spool(suite: MailSuite) -> Path:
    return suite.place.state_dir / "spool"


def logs(suite: MailSuite) -> list[list[str]]:
    """All lines of all services, in words."""
    texts = [path.read_text(errors="replace") for path in suite.place.logs.glob("*.log")]
    return [line.split() for text in texts for line in text.splitlines()]


def no_process_has_died(suite: MailSuite) -> bool:
    return {"worker-died", "bug", "master-gone"}.isdisjoint(words[3] for words in logs(suite) if len(words) > 3)


def queued(suite: MailSuite, subject: str) -> str:
    """Send while the spool is stopped; the queue ID."""
    before = {path.stem for path in (spool(suite) / "incoming").glob("*.json")}
    suite.send(subject)
    (queue_id,) = {path.stem for path in (spool(suite) / "incoming").glob("*.json")} - before
    return queue_id


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_of_envelopes() -> dict[str, Callable[[Path, Path, str], None]]:
    """What may be wrong with a spool pair: envelope, body, another ID."""
    return {
        "truncated envelope": lambda envelope, body, other: cut(envelope),
        "empty envelope": lambda envelope, body, other: envelope.write_bytes(b""),
        "envelope of another message": lambda envelope, body, other: envelope.write_text(
            envelope.read_text().replace(envelope.stem, other)
        ),
        "garbage for an envelope": lambda envelope, body, other: envelope.write_bytes(os.urandom(500)),
        "missing body": lambda envelope, body, other: body.unlink(),
        "short body": lambda envelope, body, other: cut(body),
        "folder for a body": lambda envelope, body, other: (body.unlink(), body.mkdir())[1],
    }


def test_damaged_spool_files(suite: MailSuite) -> None:
    """Each is set aside, named in the log and by `queue check`; what is whole beside them is delivered."""
    suite.ok("stop", "spool")
    damages = damage_of_envelopes()
    whole = queued(suite, "whole")
    ids = {subject: queued(suite, subject.replace(" ", "-")) for subject in damages}
    for subject, damage in damages.items():
        queue_id = ids[subject]
        damage(spool(suite) / "incoming" / f"{queue_id}.json", spool(suite) / "messages" / f"{queue_id}.eml", whole)
    (spool(suite) / "incoming" / "no message.txt").write_text("by hand")
    (spool(suite) / "active" / "1-dead.lock").write_bytes(os.urandom(10))
    suite.ok("start", "spool", "--wait")
    suite.wait_for("whole")
    eventually(lambda: len(list((spool(suite) / "corrupt").iterdir())) == len(damages), "setting aside")
    aside = {
        word.partition("=")[2] for words in logs(suite) if "set-aside" in words for word in words if "queue_id=" in word
    }
    assert aside == set(ids.values())
    done = suite.run("queue", "check")
    assert done.code == 1
    assert all(queue_id in done.out + done.err for queue_id in ids.values())
    assert no_process_has_died(suite)
    suite.ok("status")


def garble(database: Path) -> None:
    """Overwrite its pages, the first one too, as a broken disk would."""
    with database.open("r+b") as file:
        file.write(os.urandom(database.stat().st_size))
    for name in ("-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)


def test_a_damaged_index(suite: MailSuite) -> None:
    """Mail for that account waits and `mailbox check` names it; others get theirs; rebuilt, all of it is there."""
    for user in (ALICE, BOB):
        suite.send("before", user)
        suite.wait_for("before", user=user)
    suite.ok("down", "--drain", "0s")
    indexes = sorted((suite.place.state_dir / "mail").glob("[0-9]*/index.sqlite3"))
    garble(indexes[0])
    suite.ok("apply")
    for user in (ALICE, BOB):
        suite.send("after", user)
    suite.wait_for("before", "after", user=BOB)
    checked = suite.run("mailbox", "check", "--all")
    assert checked.code == 1
    assert ALICE in checked.out + checked.err
    assert no_process_has_died(suite)
    suite.ok("mailbox", "rebuild", ALICE)
    suite.run("queue", "retry", "--all")
    suite.wait_for("before", "after", user=ALICE)
    suite.ok("mailbox", "check", "--all")
    suite.ok("status")


def test_a_damaged_directory(suite: MailSuite) -> None:
    """`apply` says which file it is; whole again, everything goes on."""
    suite.send("before")
    suite.wait_for("before")
    suite.ok("down", "--drain", "0s")
    (database,) = (suite.place.state_dir / "directory").glob("*.sqlite3")
    kept = database.read_bytes()
    garble(database)
    done = suite.run("apply", "--wait", "5s")
    assert done.code != 0
    assert str(database) in done.err
    assert "Traceback" not in done.err
    database.write_bytes(kept)
    suite.ok("apply")
    suite.send("after")
    suite.wait_for("before", "after")


def test_garbage_among_the_records_of_processes(suite: MailSuite) -> None:
    """Files that nobody understands in run/ hinder neither `status` nor a restart nor the end of a dead worker."""
    services = suite.place.run / "services"
    for folder in [services, *services.iterdir()]:
        (folder / "garbage").write_bytes(os.urandom(100))
    for workers in services.glob("*/workers"):
        for name in ("1.json", "99999999.json", "x.json", "5.sock", "7.ended"):
            (workers / name).write_bytes(os.urandom(100))
    suite.ok("status")
    suite.ok("restart", "smtp", "--wait")
    for file in (services / "spool" / "workers").glob("[0-9]*.json"):
        if len(file.stem) > 1 and file.stem != "99999999":
            os.kill(int(file.stem), signal.SIGKILL)
    suite.send("still here")
    suite.wait_for("still here")
    eventually(lambda: suite.run("status").code == 0, "all as wanted")
