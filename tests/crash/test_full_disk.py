"""Disks without room or inodes, under the real workers."""

import asyncio
import os
import signal
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.queue import EmbeddedQueue
from maillib.ports.directory import RemoveAlias
from maillib.ports.queue import QueueItem, QueueState
from maillib.settings.service import Listener
from maillib.settings.smtp import SmtpSettings
from maillib.settings.spool import SpoolSettings
from tests.support.program import Program, until
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.stored_mail import stored_mail

pytestmark = pytest.mark.real

WORKERS = Path(__file__).resolve().parents[2] / "workers"
ALICE, BOB = "alice@example.test", "bob@example.test"
GONE = "gone@example.test"
FLOWS_AGAIN_S = 5.0
"""After there is room again. DESIGN §7."""


@dataclass(frozen=True)
class Full:
    """SMTP and spool on a small disk."""

    disk: SmallDisk
    smtp: Program
    spool: Program

    @property
    def state_dir(self) -> Path:
        return self.spool.state_dir

    def send(self, subject: str, to: str = ALICE, *, sender: str = "x@elsewhere.test", size: int = 100) -> int:
        """The reply to the whole message, or the one that ended it before."""
        with smtplib.SMTP("127.0.0.1", self.smtp.port, timeout=20) as client:
            client.ehlo()
            code, _ = client.mail(sender)
            if code == 250:
                code, _ = client.rcpt(to)
            if code == 250:
                code, _ = client.data(f"Subject: {subject}\r\n\r\n".encode() + b"0123456789abcd\r\n" * (size // 16))
            return code

    def pause_spool(self) -> None:
        for pid in self.spool.workers():
            os.kill(pid, signal.SIGSTOP)

    def wake_spool(self) -> None:
        for record in self.spool.records():
            os.kill(record.pid, signal.SIGCONT)

    def subjects(self, user: str) -> list[str]:
        mail = asyncio.run(stored_mail(self.state_dir, [user]))
        assert mail.damage == ()
        heads = [octets.partition(b"\r\n\r\n")[0].decode().splitlines() for octets in mail.of(user)]
        return sorted(line.partition(": ")[2] for head in heads for line in head if line.startswith("Subject: "))

    def queued(self) -> list[QueueItem]:
        async def browse() -> list[QueueItem]:
            queue = EmbeddedQueue(self.state_dir)
            try:
                return [item async for item in queue.browse()]
            finally:
                await queue.close()

        return asyncio.run(browse())

    def states(self) -> list[QueueState]:
        return [item.state for item in self.queued()]

    def bodies(self) -> list[str]:
        return sorted(path.name for path in (self.state_dir / "spool" / "messages").iterdir())


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Full]:
    """With one message delivered, so that all there is to make has been made."""
    with small_disk(tmp_path / "disk", size="12m", inodes=1000) as disk:
        made = Full(
            disk,
            Program(disk.folder, WORKERS / "smtp.py", name="smtp"),
            Program(disk.folder, WORKERS / "spool.py", name="spool"),
        )
        asyncio.run(_furnish(made.state_dir))
        try:
            listener = Listener(host="127.0.0.1", port=made.smtp.port, tls="none", role="mx")
            made.smtp.start(protocol="smtp", settings=SmtpSettings(), processes=1, listen=(listener,))
            made.spool.start(protocol="spool", settings=SpoolSettings(), processes=1, listen=())
            for user in (ALICE, BOB):
                assert made.send("first", user) == 250
            until(lambda: not made.bodies(), "delivery")
            yield made
        finally:
            for program in (made.smtp, made.spool):
                program.clear()


async def _furnish(state_dir: Path) -> None:
    directory = EmbeddedDirectory(state_dir)
    await directory.add_domain("example.test")
    for user in (ALICE, BOB):
        await directory.add_account(Address.parse(user))
    await directory.add_alias(Address.parse(GONE), [Address.parse(ALICE)])
    await directory.close()


def flows_again(full: Full, subject: str) -> None:
    """A message comes in and arrives in time."""
    deadline = time.monotonic() + FLOWS_AGAIN_S
    while (code := full.send(subject)) != 250:
        assert code == 452
        assert time.monotonic() < deadline, "accepts nothing yet"
        time.sleep(0.1)
    while subject not in full.subjects(ALICE):
        assert time.monotonic() < deadline, "delivers nothing yet"
        time.sleep(0.1)


def has_no_bug(*programs: Program) -> bool:
    return all("bug" not in {line.split()[3] for line in program.log.splitlines()} for program in programs)


def test_nothing_comes_in_when_there_is_no_room(full: Full) -> None:
    """452, nothing is left of what did not fit; in the middle of a long message, too; then mail flows again."""
    full.disk.fill(leaving=3 * 1024 * 1024)
    assert full.send("too long", size=4 * 1024 * 1024) == 452
    assert full.bodies() == []
    full.disk.fill(leaving=64 * 1024)
    assert full.send("no room") == 452
    assert full.bodies() == []
    assert full.queued() == []
    full.disk.free()
    flows_again(full, "room again")
    assert full.subjects(ALICE) == ["first", "room again"]
    assert has_no_bug(full.smtp, full.spool)


def test_nothing_comes_in_when_there_are_no_inodes(full: Full) -> None:
    """The same when files cannot be made any more."""
    full.disk.fill_inodes()
    assert full.send("no inodes") == 452
    assert full.bodies() == []
    full.disk.free()
    flows_again(full, "inodes again")
    assert full.subjects(ALICE) == ["first", "inodes again"]


def test_what_is_here_waits_for_room(full: Full) -> None:
    """A delivery that finds the disk full is no attempt and no failure: the message waits, and arrives once."""
    full.pause_spool()
    for number in range(3):
        assert full.send(f"waits {number}") == 250
    full.disk.fill()
    full.wake_spool()
    until(lambda: full.states() == [QueueState.DEFERRED] * 3, "an attempt")
    for item in full.queued():
        assert item.envelope is not None
        assert {one.attempts for one in item.envelope.recipients} == {0}
    full.disk.free()
    flows_again(full, "room again")
    until(lambda: not full.bodies(), "an empty queue")
    assert full.subjects(ALICE) == ["first", "room again", "waits 0", "waits 1", "waits 2"]
    assert has_no_bug(full.smtp, full.spool)


def test_a_notification_waits_for_room(full: Full) -> None:
    """Who cannot be told now, since there is no room for the notification, is told later, once."""
    full.pause_spool()
    assert full.send("returned", GONE, sender=BOB) == 250
    asyncio.run(_forget(full.state_dir))
    full.disk.fill()
    full.wake_spool()
    until(lambda: full.states() == [QueueState.DEFERRED], "an attempt")
    full.disk.free()
    flows_again(full, "room again")
    until(lambda: not full.bodies(), "an empty queue")
    assert len(full.subjects(BOB)) == 2
    assert full.subjects(ALICE) == ["first", "room again"]


async def _forget(state_dir: Path) -> None:
    directory = EmbeddedDirectory(state_dir)
    await directory.edit([RemoveAlias(address=Address.parse(GONE))])
    await directory.close()


def test_a_session_goes_on_without_a_log(full: Full) -> None:
    """When not even a line of the log fits, commands are answered as ever."""
    with smtplib.SMTP("127.0.0.1", full.smtp.port, timeout=20) as client:
        full.disk.fill()
        assert client.ehlo()[0] == 250
        assert client.rcpt(ALICE)[0] == 503
        assert client.noop()[0] == 250
        full.disk.free()
        assert client.sendmail("x@elsewhere.test", ALICE, "Subject: after\r\n\r\n") == {}
    until(lambda: "after" in full.subjects(ALICE), "delivery")
