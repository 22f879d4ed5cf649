"""The wall clock is set back and forward by a day while mail is on its way."""

import asyncio
import re
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded import queue_claimer
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.queue import EmbeddedQueue
from maillib.ports.queue import Claim, Envelope, Recipient
from maillib.settings.service import Listener
from maillib.settings.smtp import SmtpSettings
from maillib.settings.spool import SpoolSettings
from tests.support.program import PATIENCE_S, Program, until
from tests.support.stored_mail import stored_mail

WORKERS = Path(__file__).resolve().parents[2] / "workers"
ALICE, ABROAD = "alice@example.test", "abroad@example.test"
DAY_S = 24 * 3600.0
RETRY_S = 2.0


@dataclass(frozen=True)
class Clock:
    """libfaketime's: what the file says is added to the time; the monotonic clock is left alone."""

    file: Path

    def set(self, offset: str) -> None:
        aside = self.file.with_suffix(".new")
        aside.write_text(offset + "\n")
        aside.replace(self.file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of every program that is started while the test runs."""
    library = next(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    made = Clock(tmp_path / "clock")
    made.set("+0")
    for name, value in {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(made.file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",  # times of files are what the programs have set
    }.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def smtp_and_spool(tmp_path: Path, clock: Clock) -> Iterator[tuple[Program, Program]]:
    smtp = Program(tmp_path, WORKERS / "smtp.py", name="smtp")
    spool = Program(tmp_path, WORKERS / "spool.py", name="spool")
    asyncio.run(_furnish(smtp.state_dir))
    try:
        listener = Listener(host="127.0.0.1", port=smtp.port, tls="none", role="mx")
        smtp.start(protocol="smtp", settings=SmtpSettings(), processes=1, listen=(listener,))
        spool.start(protocol="spool", settings=SpoolSettings(retry=(RETRY_S,)), processes=1, listen=())
        yield smtp, spool
    finally:
        for program in (smtp, spool):
            program.clear()


async def _furnish(state_dir: Path) -> None:
    directory = EmbeddedDirectory(state_dir)
    await directory.add_domain("example.test")
    await directory.add_account(Address.parse(ALICE))
    await directory.add_alias(Address.parse(ABROAD), [Address.parse("partner@elsewhere.test")])
    await directory.close()


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def send(smtp: Program, to: str) -> str:
    """The queue ID."""
    with smtplib.SMTP("127.0.0.1", smtp.port, timeout=PATIENCE_S) as client:
        client.ehlo()
        client.mail("x@elsewhere.test")
        client.rcpt(to)
        code, reply = client.data("Subject: x\r\n\r\nbody\r\n")
        assert code == 250
        return reply.decode().rpartition(" ")[2]


@pytest.mark.real
def test_real_workers(clock: Clock, smtp_and_spool: tuple[Program, Program]) -> None:
    """Mail comes in and arrives at once whatever the clock says, and a deferred message is tried again in time."""
    smtp, spool = smtp_and_spool
    waiting = send(smtp, ABROAD)

    def has_tried(times: int) -> bool:
        return len(re.findall(rf"deferred queue_id={waiting} ", spool.log)) >= times

    def has_arrived(count: int) -> bool:
        return len(asyncio.run(stored_mail(smtp.state_dir, [ALICE])).copies) == count

    until(lambda: has_tried(1), "the first attempt")
    clock.set("+1d")
    until(lambda: has_tried(2), "the next attempt")
    ids = [waiting, send(smtp, ALICE)]
    until(lambda: has_arrived(1), "delivery on the next day")
    clock.set("-1d")
    ids.append(send(smtp, ALICE))
    until(lambda: has_arrived(2), "delivery on the day before")
    clock.set("+0")
    ids.append(send(smtp, ALICE))
    until(lambda: has_arrived(3), "delivery today")
    assert len(set(ids)) == len(ids)
    assert asyncio.run(stored_mail(smtp.state_dir, [ALICE])).damage == ()
    for program in (smtp, spool):
        assert {"worker-died", "bug"}.isdisjoint(line.split()[3] for line in program.log.splitlines())


def test_a_clock_set_back_keeps_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be tried again soon, and seems to be a day away, is tried at the next look into the folders."""
    monkeypatch.setattr(queue_claimer, "LOOK_S", 0.1)
    now = 1_800_000_000.0

    async def claimed(queue: EmbeddedQueue) -> Claim:
        async with asyncio.timeout(PATIENCE_S):
            while not (claims := await queue.claim(10)):
                await queue.wait(PATIENCE_S)
        (claim,) = claims
        return claim

    async def run() -> None:
        nonlocal now
        queue = EmbeddedQueue(tmp_path, clock=lambda: now, longest_wait_s=3600.0)
        draft = queue.draft()
        await draft.write(b"Subject: x\r\n\r\n")
        recipient = Recipient(address=Address.parse(ALICE))
        await draft.commit(Envelope(sender=None, recipients=(recipient,), queued=_utc(now), account=None, peer="local"))
        for step_s in (-DAY_S, DAY_S, -DAY_S):
            claim = await claimed(queue)
            await queue.retry(claim, claim.envelope, _utc(now + 300.0))
            assert await queue.claim(10) == []
            now += step_s
        await queue.done(await claimed(queue))
        await queue.close()

    asyncio.run(run())
