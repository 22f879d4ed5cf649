"""SIGKILL before every single system call of a message's way through the spool, and of real programs in traffic."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.index import EmbeddedIndex
from maillib.embedded.queue import EmbeddedQueue
from maillib.embedded.queue_accept import NewMessage, begin_body
from maillib.embedded.queue_check import check
from maillib.embedded.queue_claims import Claims
from maillib.embedded.queue_envelope import StoredEnvelope
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_recovery import recover
from maillib.ports.index import INBOX
from maillib.ports.lists import MailingList
from maillib.ports.queue import Envelope, QueueId, QueueState, Recipient
from maillib.settings.spool import SpoolSettings
from tests.support import accepting
from tests.support.kills import dies_at
from tests.support.program import PATIENCE_S, Program, until
from tests.support.stored_mail import wrong_with

ID = QueueId("0123ABCD")
BODY = b"Subject: x\r\n\r\nbody\r\n"
WHEN = datetime(2026, 3, 1, tzinfo=UTC)
LONG_AFTER = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
ENVELOPE = Envelope(
    sender=None,
    recipients=(Recipient(address=Address.parse("bob@example.test")),),
    queued=WHEN,
    account=None,
    peer="local",
)
STORED = StoredEnvelope(id=ID, envelope=ENVELOPE, size_octets=len(BODY))


def accept(state_dir: Path, *, again: bool = False, long: bool = False) -> None:
    """`long`: as a message that did not stay in memory."""
    folders = SpoolFolders(state_dir)
    fd = begin_body(folders, ID, again=again) if long else None
    message = NewMessage(stored=STORED, octets=BODY, fd=fd, again=again)
    assert accepting.accept(folders, message) == [None]
    folders.close()


def claim(folders: SpoolFolders, state: QueueState = QueueState.INCOMING) -> Claims:
    claims = Claims(folders)
    assert claims.claim(ID, state) == STORED
    return claims


def queued(state_dir: Path) -> list[QueueState]:
    """States of all messages after a new spool has started; whatever is queued is whole, and nothing else is there."""
    folders = SpoolFolders(state_dir)
    recover(folders, 0)
    found = check(folders, LONG_AFTER)
    assert found.damaged == ()
    entries = list(folders.entries())
    assert sorted(folders.messages.names()) == [f"{entry.id}.eml" for entry in entries]
    assert folders.active.names() == []
    folders.close()
    return [entry.state for entry in entries]


def every_step(
    tmp_path: Path, prepare: Callable[[Path], None], work: Callable[[Path], None]
) -> Iterator[tuple[Path, bool]]:
    """State directories in which `work` was killed one step later each time; last the one in which it got through."""
    for step in itertools.count(1):
        state_dir = tmp_path / str(step)
        state_dir.mkdir()
        SpoolFolders(state_dir).close()
        prepare(state_dir)

        def run(state_dir: Path = state_dir) -> None:
            work(state_dir)

        killed = dies_at(step, run)
        yield state_dir, not killed
        if not killed:
            assert step > 4
            break


def nothing(_: Path) -> None:
    pass


def put(state_dir: Path) -> None:
    accept(state_dir)


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_accepting(tmp_path: Path, long: bool) -> None:
    """A commit killed anywhere leaves the message whole or not at all; acknowledged, it is there; no litter remains."""

    def work(state_dir: Path) -> None:
        accept(state_dir, long=long)
        (state_dir / "acknowledged").touch()

    for state_dir, finished in every_step(tmp_path, nothing, work):
        states = queued(state_dir)
        assert states in ([], [QueueState.INCOMING])
        if finished or (state_dir / "acknowledged").exists():
            assert states == [QueueState.INCOMING]


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_accepting_again_under_a_given_id(tmp_path: Path, long: bool) -> None:
    """A commit under a given ID, killed anywhere and repeated, has queued the message exactly once."""

    def work(state_dir: Path) -> None:
        accept(state_dir, again=True, long=long)

    for state_dir, _ in every_step(tmp_path, nothing, work):
        work(state_dir)
        assert queued(state_dir) == [QueueState.INCOMING]


def test_working_on_a_message(tmp_path: Path) -> None:
    """Claimed, updated, deferred, claimed, released: killed anywhere, the message is there once and can be claimed."""

    def work(state_dir: Path) -> None:
        folders = SpoolFolders(state_dir)
        claims = claim(folders)
        claims.update(replace(STORED, envelope=replace(ENVELOPE, peer="updated")))
        claims.defer(replace(STORED, envelope=replace(ENVELOPE, peer="deferred")), 0)
        assert claims.claim(ID, QueueState.DEFERRED) is not None
        claims.release(ID)
        claims.leave()

    for state_dir, _ in every_step(tmp_path, put, work):
        (state,) = queued(state_dir)
        folders = SpoolFolders(state_dir)
        claims = Claims(folders)
        assert claims.claim(ID, state) is not None
        assert claims.finish([ID]) == [None]
        claims.leave()
        assert queued(state_dir) == []


def test_finishing(tmp_path: Path) -> None:
    """An end that was killed anywhere leaves the message whole, to be delivered again, or nothing of it."""

    def work(state_dir: Path) -> None:
        claim(SpoolFolders(state_dir)).finish([ID])
        (state_dir / "done").touch()

    for state_dir, _ in every_step(tmp_path, put, work):
        states = queued(state_dir)
        assert states in ([], [QueueState.INCOMING])
        if (state_dir / "done").exists():
            assert states == []


def test_removing(tmp_path: Path) -> None:
    """An administrator's removal that was killed anywhere removed all or nothing."""

    def work(state_dir: Path) -> None:
        SpoolFolders(state_dir).remove(ID)

    def prepare(state_dir: Path) -> None:
        put(state_dir)
        claims = claim(SpoolFolders(state_dir))
        claims.defer(STORED, 0)
        claims.leave()

    for state_dir, finished in every_step(tmp_path, prepare, work):
        states = queued(state_dir)
        assert states in ([], [QueueState.DEFERRED])
        assert not (finished and states)


def test_recovering(tmp_path: Path) -> None:
    """A recovery of a dead process's claims, itself killed anywhere, is finished by the next one."""

    def prepare(state_dir: Path) -> None:
        put(state_dir)

        def claim_and_die() -> None:
            claim(SpoolFolders(state_dir))
            os.kill(os.getpid(), signal.SIGKILL)

        assert dies_at(10_000, claim_and_die)

    def work(state_dir: Path) -> None:
        assert recover(SpoolFolders(state_dir), 0) == 1

    for state_dir, _ in every_step(tmp_path, prepare, work):
        assert queued(state_dir) == [QueueState.INCOMING]


# Real programs

SCRIPT = Path(__file__).resolve().parents[2] / "workers" / "spool.py"
USERS = ("alice@example.test", "bob@example.test")
LEFT_BY_KILLS = "is one more name of a message"
"""Of a body that was linked and whose row was not committed; no message, and no harm."""

SUBMITTER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from maillib.address import Address
from maillib.embedded.queue import EmbeddedQueue
from maillib.ports.queue import Envelope, Recipient

async def main():
    queue = EmbeddedQueue(Path(sys.argv[1]))
    recipients = tuple(Recipient(address=Address.parse(one)) for one in sys.argv[3:])

    async def submit(number):
        draft = queue.draft()
        await draft.write(b"Subject: %s-%d\\r\\n\\r\\n" % (sys.argv[2].encode(), number) + b"x" * (number % 7 * 20_000))
        await draft.commit(Envelope(
            sender=Address.parse("sender@elsewhere.test"), recipients=recipients, queued=datetime.now(UTC),
            account=None, peer="local",
        ))
        print(f"{sys.argv[2]}-{number}", flush=True)

    for batch in range(1000):
        await asyncio.gather(*(submit(4 * batch + number) for number in range(4)))

asyncio.run(main())
"""


def submit_and_kill(state_dir: Path, name: str, count: int) -> list[str]:
    """Submit until `count` messages are acknowledged, then kill; the subjects of all that were acknowledged."""
    recipients = ("team@example.test", "alice@example.test", "list@example.test")
    command = [sys.executable, "-c", SUBMITTER, str(state_dir), name, *recipients]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(count)]
        process.kill()
        acknowledged += process.stdout.read().split()
    assert all(acknowledged)
    return acknowledged


async def furnish(state_dir: Path) -> None:
    directory = EmbeddedDirectory(state_dir)
    await directory.add_domain("example.test")
    for user in USERS:
        await directory.add_account(Address.parse(user))
    members = tuple(map(Address.parse, USERS))
    await directory.add_alias(Address.parse("team@example.test"), members)
    await directory.edit([MailingList(address=Address.parse("list@example.test"), members=members)])
    await directory.close()


async def mailboxes(state_dir: Path) -> dict[str, Counter[str]]:
    """How often each subject is in each mailbox; with `list ` before it, as mail of the list."""
    directory, blobs = EmbeddedDirectory(state_dir), EmbeddedBlobs(state_dir)
    index = EmbeddedIndex(state_dir, directory.account)
    found: dict[str, Counter[str]] = {}
    for user in USERS:
        (account,) = (await directory.resolve(Address.parse(user))).accounts
        wrong = wrong_with(state_dir, account.id)
        assert [line for line in wrong if not line.endswith(LEFT_BY_KILLS)] == []
        found[user] = Counter()
        for row in await index.rows(account.id, INBOX):
            stored = (await index.messages(account.id, INBOX, [row.uid]))[row.uid]
            fields = message_from_bytes(await blobs.get(stored.body, 0, 2000))
            found[user][("list " if "List-Id" in fields else "") + str(fields["Subject"])] += 1
    for engine in (index, blobs, directory):
        await engine.close()
    return found


async def left(state_dir: Path) -> list[str]:
    queue = EmbeddedQueue(state_dir)
    found = [f"{item.id} {item.state}" async for item in queue.browse()]
    assert not (await queue.check()).damaged
    await queue.close()
    return found


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path, SCRIPT)
    asyncio.run(furnish(program.state_dir))
    yield program
    program.clear()


def test_traffic_under_kills(spool: Program) -> None:
    """With clients and delivering processes killed again and again: what was acknowledged is in each mailbox once."""
    chance = random.Random(5)
    spool.start(protocol="spool", listen=(), settings=SpoolSettings(retry=(1.0,)), processes=2)
    acknowledged: list[str] = []
    for number in range(6):
        acknowledged += submit_and_kill(spool.state_dir, f"n{number}", chance.randrange(8, 60))
        for pid in spool.workers():
            os.kill(pid, signal.SIGKILL)
    assert len(acknowledged) > 50
    until(lambda: not asyncio.run(left(spool.state_dir)), "an empty queue")
    for found in asyncio.run(mailboxes(spool.state_dir)).values():
        assert {*acknowledged, *(f"list {subject}" for subject in acknowledged)} <= set(found)
        assert set(found.values()) == {1}
    assert "bug" not in {line.split()[3] for line in spool.log.splitlines()}


def test_stop_finishes_what_was_begun(spool: Program) -> None:
    """A stop in the middle of a backlog ends quickly, leaves the rest queued and loses or doubles nothing."""
    acknowledged = submit_and_kill(spool.state_dir, "n", 150)
    master = spool.start(protocol="spool", listen=(), settings=SpoolSettings(), processes=1)
    master.send_signal(signal.SIGTERM)
    assert master.wait(PATIENCE_S) == 0
    until(lambda: not spool.records(), "the end of the workers")
    states = {line.split()[1] for line in asyncio.run(left(spool.state_dir))}
    assert states <= {"incoming"}
    spool.start()
    until(lambda: not asyncio.run(left(spool.state_dir)), "an empty queue")
    for found in asyncio.run(mailboxes(spool.state_dir)).values():
        assert {*acknowledged, *(f"list {subject}" for subject in acknowledged)} <= set(found)
        assert set(found.values()) == {1}
