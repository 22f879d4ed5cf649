"""Messages on their way in: nothing stays of what was not accepted."""

import mmap
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded import queue_accept, queue_room
from maillib.embedded.queue_envelope import StoredEnvelope, encode
from maillib.errors import StoreFull, Transient
from maillib.ports.queue import Claim, Envelope, QueueId, Recipient
from tests.support.spool_on_disk import BODY, START, Queue, files, put, with_queue


def test_a_draft_leaves_nothing(tmp_path: Path) -> None:
    """An aborted draft leaves no file, large or small."""

    async def promise(queue: Queue) -> None:
        for octets in (10, 1_000_000):
            draft = queue.draft()
            await draft.write(b"x" * octets)
            await draft.abort()
            assert files(tmp_path) == []

    with_queue(tmp_path, promise)


def test_full_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the reserve a message is refused as StoreFull, nothing is left of it, and mail flows again with space."""

    async def promise(queue: Queue) -> None:
        monkeypatch.setattr(queue_room, "RESERVE_OCTETS", 2**70)
        with pytest.raises(StoreFull):
            await put(queue)
        assert files(tmp_path) == []
        monkeypatch.undo()
        await put(queue)
        assert files(tmp_path) == ["incoming/ID.json", "messages/ID.eml"]

    with_queue(tmp_path, promise)


def test_an_unforeseen_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor a descriptor stays of a commit that a bug has ended, and the next one goes through."""

    def broken(_: object) -> bytes:
        raise ZeroDivisionError

    async def promise(queue: Queue) -> None:
        for body in (b"short", b"x" * 100_000):
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
                patched.setattr(queue_accept, "encode", broken)
                await put(queue, body)
            assert files(tmp_path) == []
            assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
        await put(queue)
        assert files(tmp_path) == ["incoming/ID.json", "messages/ID.eml"]

    with_queue(tmp_path, promise)


def test_long_envelopes_are_written_by_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop is not held up by a message to thousands; it is accepted like any other."""
    threads: list[bool] = []

    def noted(stored: StoredEnvelope) -> bytes:
        threads.append(threading.current_thread() is threading.main_thread())
        return encode(stored)

    async def promise(queue: Queue) -> None:
        for count in (1, 5000):
            draft = queue.draft()
            await draft.write(BODY)
            recipients = tuple(Recipient(address=Address(f"user{n}", "example.test")) for n in range(count))
            await draft.commit(Envelope(sender=None, recipients=recipients, queued=START, account=None, peer="local"))
        assert sorted(len(claim.envelope.recipients) for claim in await queue.claim(2)) == [1, 5000]

    monkeypatch.setattr(queue_accept, "encode", noted)
    with_queue(tmp_path, promise)
    assert threads == [True, False]


@pytest.mark.parametrize("call", ["fsync", "write", "rename"])
def test_failing_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Whichever call about the spool fails in a commit, in whichever process, the client is told so, and nothing of
    the message is left or delivered.
    """
    original = getattr(os, call)
    failing = 0
    calls = mmap.mmap(-1, 1)  # shared with the process that waits for the disk
    envelope = Envelope(
        sender=None,
        recipients=(Recipient(address=Address.parse("bob@example.test")),),
        queued=START,
        account=None,
        peer="local",
    )

    def fail(*arguments: object, **more: object) -> object:
        if call != "write" or Path(f"/proc/self/fd/{arguments[0]}").readlink().is_relative_to(tmp_path):
            calls[0] += 1
            if calls[0] == failing:
                raise OSError(28, "No space left on device")
        return original(*arguments, **more)

    async def promise(queue: Queue) -> None:
        draft = queue.draft()
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            calls[0] = 0
            try:
                await draft.write(b"x" * 100_000)
                await draft.commit(envelope)
            except StoreFull:
                await draft.abort()
                assert calls[0] >= failing
                assert files(tmp_path) == []
                return
            assert calls[0] < failing
        await queue.remove(draft.id)

    for number in range(1, 7):
        failing = number
        with_queue(tmp_path, promise)


@pytest.mark.parametrize("at", ["messages", "M1.json", "incoming"])
def test_a_commit_whose_process_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Killed before a sync or the rename that makes the message ours: it is refused, nothing is left of it, and the
    next commit goes through.
    """
    killed = tmp_path / "killed"
    original: dict[str, Callable[..., None]] = {"fsync": os.fsync, "rename": os.rename}

    def dying(name: str) -> Callable[..., None]:
        def call(*arguments: object, **more: object) -> None:
            about = arguments[1] if name == "rename" else Path(f"/proc/self/fd/{arguments[0]}").readlink().name
            if about == at and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            original[name](*arguments, **more)

        return call

    async def promise(queue: Queue) -> None:
        ids = iter(["M1", "M2"])
        monkeypatch.setattr("maillib.embedded.queue.new_id", lambda now_s: QueueId(next(ids)))
        for name in original:
            monkeypatch.setattr(os, name, dying(name))
        with pytest.raises(Transient):
            await put(queue)
        assert killed.exists()
        assert files(tmp_path) == []
        await put(queue)
        assert files(tmp_path) == ["incoming/M2.json", "messages/M2.eml"]

    with_queue(tmp_path, promise)


def test_taken_ids_are_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should an ID come up twice, the second message is refused and the first one unharmed."""
    monkeypatch.setattr("maillib.embedded.queue.new_id", lambda now_s: QueueId("SAME"))

    async def promise(queue: Queue) -> None:
        await put(queue)
        with pytest.raises(Transient):
            await put(queue, b"other")
        assert (tmp_path / "spool" / "messages" / "SAME.eml").read_bytes() == BODY
        draft = queue.draft()
        with pytest.raises(Transient):
            await draft.write(b"x" * 100_000)
        await draft.abort()
        claims: list[Claim] = list(await queue.claim(2))
        assert [claim.size_octets for claim in claims] == [len(BODY)]

    with_queue(tmp_path, promise)
