"""Messages on their way in: nothing stays of what was not accepted."""

import os
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded import queue_room
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


@pytest.mark.parametrize("call", ["fsync", "write", "rename"])
def test_failing_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Whichever call fails in a commit, the client is told so and no half of the message is left or delivered."""
    original = getattr(os, call)
    calls = 0

    async def promise(queue: Queue) -> None:
        nonlocal calls
        for failing in range(1, 5):
            calls = 0

            def fail(*arguments: object, failing: int = failing, **more: object) -> object:
                nonlocal calls
                calls += 1
                if calls == failing:
                    raise OSError(28, "No space left on device")
                return original(*arguments, **more)

            monkeypatch.setattr(os, call, fail)
            draft = queue.draft()
            try:
                await draft.write(b"x" * 100_000)
                await draft.commit(
                    Envelope(
                        sender=None,
                        recipients=(Recipient(address=Address.parse("bob@example.test")),),
                        queued=START,
                        account=None,
                        peer="local",
                    )
                )
            except StoreFull:
                await draft.abort()
                assert files(tmp_path) == []
            else:
                assert calls < failing
                monkeypatch.undo()
                await queue.remove(draft.id)
            monkeypatch.undo()

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
