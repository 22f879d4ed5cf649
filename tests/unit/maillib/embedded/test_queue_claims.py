"""A message between its claim and its end, when the disk or a person gets in the way."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.errors import StoreFull, Transient
from maillib.ports.queue import Envelope, QueueState, Recipient
from tests.support.spool_on_disk import START, Queue, put, states, with_queue


def test_no_room_for_progress_keeps_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When an envelope cannot be rewritten, the message waits all the same, as it was."""

    async def promise(queue: Queue) -> None:
        await put(queue)
        (claim,) = await queue.claim(1)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        tried = Recipient(address=Address.parse("bob@example.test"), attempts=1)
        changed = Envelope(sender=None, recipients=(tried,), queued=START, account=None, peer="local")
        with pytest.raises(StoreFull):
            await queue.update(claim, changed)
        await queue.retry(claim, changed, START + timedelta(minutes=5))
        monkeypatch.undo()
        queue.now += timedelta(minutes=5)
        assert await queue.claim(1) == [claim]

    with_queue(tmp_path, promise)


def test_lost_owner_folder_is_no_silence(tmp_path: Path) -> None:
    """When somebody removes the folder of claims, the claimer says so instead of finding nothing for ever."""

    async def promise(queue: Queue) -> None:
        assert await queue.claim(1) == []
        for path in (tmp_path / "spool" / "active").glob("*-*"):
            if path.is_dir():
                path.rmdir()
        await put(queue)
        await queue.wait(60)
        with pytest.raises(Transient):
            await queue.claim(1)
        assert list((await states(queue)).values()) == [QueueState.INCOMING]
        for lock in (tmp_path / "spool" / "active").glob("*.lock"):
            lock.with_suffix("").mkdir()

    with_queue(tmp_path, promise)
