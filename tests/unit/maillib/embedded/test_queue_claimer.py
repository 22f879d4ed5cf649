"""Finding, claiming and ending messages: who is told what, clocks that are set, and work that holds up no other."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from maillib.embedded import queue_claimer, queue_recovery
from maillib.embedded.queue import EmbeddedQueue
from maillib.embedded.queue_claims import Claims
from maillib.embedded.queue_files import Folder
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_wake import Bell
from maillib.errors import Conflict, LocalError, Transient
from maillib.ports.queue import Claim, QueueId, QueueState
from tests.support.spool_on_disk import START, Queue, put, with_queue


async def claimed(queue: EmbeddedQueue, limit: int = 10) -> list[QueueId]:
    return [claim.id for claim in await queue.claim(limit)]


def counted(monkeypatch: pytest.MonkeyPatch, method: str) -> list[object]:
    """Grows with each call of that method of the folders."""
    calls: list[object] = []
    original = getattr(SpoolFolders, method)

    def spy(folders: SpoolFolders) -> object:
        calls.append(folders)
        return original(folders)

    monkeypatch.setattr(SpoolFolders, method, spy)
    return calls


def test_new_mail_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting spool is told which message has come and looks through no folder for it."""

    async def promise(queue: Queue) -> None:
        assert await claimed(queue) == []
        looks = counted(monkeypatch, "incoming_ids")
        for _ in range(3):
            ids = [await put(queue), await put(queue)]
            await queue.wait(60)
            assert await claimed(queue) == ids
        assert looks == []

    with_queue(tmp_path, promise)


def test_each_reader_gets_its_share(tmp_path: Path) -> None:
    """A spool takes no more names than it asked messages for: the others are there for other processes."""

    async def promise(first: Queue) -> None:
        second = Queue(tmp_path)
        assert await claimed(first) == await claimed(second) == []
        ids = [await put(first) for _ in range(5)]
        assert await claimed(first, 2) == ids[:2]
        assert await claimed(second, 2) == ids[2:4]
        assert await claimed(first, 2) == ids[4:]
        await second.close()

    with_queue(tmp_path, promise)


def test_more_than_can_be_named(tmp_path: Path) -> None:
    """When more has come than the FIFO can name, or names were lost, everything is found all the same."""

    async def promise(queue: Queue) -> None:
        assert await claimed(queue) == []
        ids = [await put(queue) for _ in range(5)]
        folders = SpoolFolders(tmp_path)
        bell = Bell(folders.root)
        for number in range(3000):
            bell.ring([QueueId(f"GONE{number}")])
        folders.close()
        assert await claimed(queue) == sorted(ids)

    with_queue(tmp_path, promise)


@pytest.mark.parametrize(
    "octets", [b"\n", b".", b"x" * 40 + b"\n", b"../../etc/passwd".ljust(32) + b"\n", b"\xff" * 33]
)
def test_anything_else_in_the_fifo(tmp_path: Path, octets: bytes) -> None:
    """`echo > wake`, or whatever else is written there, means: look at the folder."""

    async def promise(queue: Queue) -> None:
        queue_id = await put(queue)
        spool = tmp_path / "spool"
        envelope = spool / "incoming" / f"{queue_id}.json"
        envelope.rename(spool / "hold" / envelope.name)
        assert await claimed(queue) == []
        (spool / "hold" / envelope.name).rename(envelope)
        (spool / "wake").write_bytes(octets)
        await queue.wait(60)
        assert await claimed(queue) == [queue_id]
        again = await put(queue)
        await queue.wait(60)
        assert await claimed(queue) == [again]

    with_queue(tmp_path, promise)


async def deferred(queue: Queue, wait: timedelta) -> QueueId:
    queue_id = await put(queue)
    (claim,) = await queue.claim(1)
    await queue.retry(claim, claim.envelope, queue.now + wait)
    return queue_id


def test_a_clock_that_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message deferred by a clock that was years ahead waits no longer than the longest wait, in this process too."""

    async def promise(queue: Queue) -> None:
        queue.now += timedelta(days=3000)
        far, near = await deferred(queue, timedelta(hours=4)), await deferred(queue, timedelta(minutes=5))
        queue.now = START
        monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + queue_claimer.LOOK_S)
        found: list[QueueId] = []
        while len(found) < 2:  # it looks around beside its work
            found += await claimed(queue)
            await queue.wait(60)
        assert set(found) == {far, near}

    with_queue(tmp_path, promise)


def test_a_start_after_a_clock_was_set_back(tmp_path: Path) -> None:
    """A new process does not wait years for a message either; what may be true is believed."""

    async def before(queue: Queue) -> None:
        queue.now += timedelta(days=3000)
        await deferred(queue, timedelta(hours=4))
        queue.now = START
        await deferred(queue, timedelta(hours=4))

    async def after(queue: Queue) -> None:
        assert len(await claimed(queue)) == 1
        queue.now += timedelta(hours=4)
        assert len(await claimed(queue)) == 1

    with_queue(tmp_path, before)
    with_queue(tmp_path, after)


def test_a_clock_that_was_set_forward(tmp_path: Path) -> None:
    """What was deferred is tried at once then, and IDs made before and after are different and all valid."""

    async def promise(queue: Queue) -> None:
        first = await deferred(queue, timedelta(hours=4))
        queue.now += timedelta(days=3000)
        later = await put(queue)
        queue.now = START
        assert sorted(await claimed(queue)) == sorted([later])
        queue.now += timedelta(days=3000)
        assert await claimed(queue) == [first]

    with_queue(tmp_path, promise)


def test_housekeeping_holds_up_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a claimer looks for what has been left behind, messages are claimed and end."""
    go_on, looks = threading.Event(), threading.Event()
    original = queue_recovery.recover

    def slow(folders: SpoolFolders, now_s: float) -> int:
        looks.set()
        assert go_on.wait(60)
        return original(folders, now_s)

    async def promise(queue: Queue) -> None:
        assert await claimed(queue) == []
        monkeypatch.setattr(queue_recovery, "recover", slow)
        monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + queue_claimer.LOOK_S)
        queue_id = await put(queue)
        (claim,) = await queue.claim(1)
        assert await asyncio.to_thread(looks.wait, 60)
        assert claim.id == queue_id
        await queue.done(claim)
        other = await put(queue)
        assert await claimed(queue) == [other]
        go_on.set()

    with_queue(tmp_path, promise)


def test_a_claim_that_fails_keeps_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the midst of a batch gives what was claimed before it; the others, and that one, come later."""
    original = Claims.claim

    async def promise(queue: Queue) -> None:
        ids = sorted([await put(queue) for _ in range(3)])

        def fails(claims: Claims, queue_id: QueueId, state: QueueState) -> object:
            if queue_id == ids[1]:
                raise Transient("too many open files")
            return original(claims, queue_id, state)

        with monkeypatch.context() as patched:
            patched.setattr(Claims, "claim", fails)
            assert await claimed(queue) == ids[:1]
            assert await claimed(queue) == ids[2:]
            with pytest.raises(Transient):
                await queue.claim(1)
        assert await claimed(queue) == ids[1:2]

    with_queue(tmp_path, promise)


def test_ends_come_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that end together share one sync, which comes after their envelopes and before all else."""
    calls: list[str] = []

    def spied(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **more: object) -> object:
            calls.append(name if name == "fsync" else f"{name} {str(arguments[0]).rpartition('.')[2]}")
            return original(*arguments, **more)

        return call

    async def promise(queue: Queue) -> None:
        await asyncio.gather(*(put(queue) for _ in range(20)))
        claims = await queue.claim(20)
        monkeypatch.setattr(os, "fsync", spied("fsync", os.fsync))
        for name in ("rename", "unlink"):
            monkeypatch.setattr(os, name, spied(name, getattr(os, name)))
        await asyncio.gather(*(queue.done(claim) for claim in claims))
        assert calls == ["rename json"] * 20 + ["fsync"] + ["rename done", "unlink eml"] * 20

    with_queue(tmp_path, promise)


def test_an_end_of_what_was_taken_away(tmp_path: Path) -> None:
    """Where somebody has moved the envelope out of the claims by hand, the end fails and the body stays."""

    async def promise(queue: Queue) -> None:
        ids = sorted([await put(queue), await put(queue)])
        claims: list[Claim] = list(await queue.claim(2))
        (envelope,) = (tmp_path / "spool" / "active").glob(f"*/{ids[0]}.json")
        envelope.rename(tmp_path / "spool" / "hold" / envelope.name)
        results = await asyncio.gather(*(queue.done(claim) for claim in claims), return_exceptions=True)
        assert [type(result) for result in results] == [Transient, type(None)]
        assert (tmp_path / "spool" / "messages" / f"{ids[0]}.eml").exists()
        assert (await queue.check()).damaged == ()

    with_queue(tmp_path, promise)


def test_an_end_without_a_claim(tmp_path: Path) -> None:
    """A queue that never claimed anything cannot end a message: that is a bug of the caller."""

    async def promise(queue: Queue) -> None:
        claims = await queue.claim(1)
        assert claims == []
        await put(queue)
        (claim,) = await queue.claim(1)
        other = Queue(tmp_path)
        with pytest.raises(LocalError):
            await other.done(claim)
        await other.close()

    with_queue(tmp_path, promise)


def test_start_reads_no_envelope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start with many deferred messages opens none of them, and a new message is claimed at once."""
    deferred = tmp_path / "spool" / "deferred"

    async def promise(queue: Queue) -> None:
        later = (START + timedelta(hours=1)).timestamp()
        for number in range(2000):
            path = deferred / f"{number:016d}.json"
            path.touch()
            os.utime(path, (later, later))
        read: list[str] = []
        whole = Folder.read

        def spy(folder: Folder, name: str) -> bytes:
            read.append(name)
            return whole(folder, name)

        monkeypatch.setattr(Folder, "read", spy)
        assert await queue.claim(10) == []
        queue_id = await put(queue)
        await queue.wait(60)
        assert [claim.id for claim in await queue.claim(10)] == [queue_id]
        assert len(read) == 1

    with_queue(tmp_path, promise)


def test_several_queues_share_the_work(tmp_path: Path) -> None:
    """Two claimers never get the same message, and between them they get all."""

    async def promise(first: Queue) -> None:
        second = Queue(tmp_path)
        ids = [await put(first) for _ in range(30)]
        batches = [await asyncio.gather(first.claim(5), second.claim(5)) for _ in range(8)]
        claims = [claim.id for pair in batches for batch in pair for claim in batch]
        assert sorted(claims) == sorted(ids)
        with pytest.raises(Conflict):
            await second.remove(ids[0])
        await second.close()

    with_queue(tmp_path, promise)
