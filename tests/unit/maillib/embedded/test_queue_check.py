"""What is wrong in a spool is named; what is nobody's goes, and nothing else."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from maillib.embedded.queue_check import GRACE_S
from maillib.ports.queue import QueueId, list_mail_id, notification_id
from tests.support.spool_on_disk import START, Queue, files, put, states, with_queue


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    """Files that are no messages, and a message that is in two folders, are named; a message that moves is not."""

    async def promise(queue: Queue) -> None:
        spool = tmp_path / "spool"
        twice, whole = await put(queue), await put(queue)
        assert len(await queue.claim(2)) == 2
        (active,) = (spool / "active").glob(f"*/{twice}.json")
        (spool / "deferred" / active.name).write_bytes(active.read_bytes())
        (spool / "incoming" / f"{whole}.json~").touch()
        (spool / "notes.txt").touch()
        (spool / "messages" / "core").touch()
        (spool / "active" / "x.json").touch()
        damaged = (await queue.check()).damaged
        assert sorted(damaged) == sorted(
            [
                f"{twice} is in {active.parent.relative_to(spool)} and in deferred: remove one of the two",
                f"incoming/{whole}.json~ is no file of the spool",
                "notes.txt is no file of the spool",
                "messages/core is no file of the spool",
                "active/x.json is no file of the spool",
            ]
        )

    with_queue(tmp_path, promise)


def test_leftovers_are_removed_after_their_grace(tmp_path: Path) -> None:
    """What crashes left is removed once it is old and nobody's; queued messages and drafts are never touched."""

    async def promise(queue: Queue) -> None:
        spool = tmp_path / "spool"
        kept = [await put(queue), await put(queue)]
        (claim, _) = await queue.claim(2)
        await queue.retry(claim, claim.envelope, START + timedelta(hours=20))
        draft = queue.draft()
        await draft.write(b"x" * 100_000)
        orphans = ["messages/A1.eml", "messages/A2.eml.tmp", "incoming/A1.json.tmp", "active/1-00.lock.tmp"]
        for name in orphans:
            (spool / name).write_bytes(b"x")
        everything = files(tmp_path)
        assert (await queue.check()).removed == ()
        for path in (spool / "messages").iterdir():
            os.utime(path, (0, 0))
        for name in orphans:
            os.utime(spool / name, (0, 0))
        assert sorted((await queue.check()).removed) == sorted(orphans)
        assert set(everything) - set(files(tmp_path)) == set(orphans)
        assert set(await states(queue)) == set(kept)
        await draft.abort()

    with_queue(tmp_path, promise)
    assert GRACE_S == 3600


@pytest.mark.parametrize("derived", [notification_id, list_mail_id])
def test_sweep_spares_what_is_being_made_again(tmp_path: Path, derived: Callable[[QueueId, int], QueueId]) -> None:
    """What a message that is still queued has led to is left alone: it may be in the making just now."""

    async def promise(queue: Queue) -> None:
        queue_id = await put(queue)
        orphan = tmp_path / "spool" / "messages" / f"{derived(queue_id, 1)}.eml"
        orphan.touch()
        os.utime(orphan, (0, 0))
        assert (await queue.check()).removed == ()
        await queue.remove(queue_id)
        assert (await queue.check()).removed == (f"messages/{orphan.name}",)

    with_queue(tmp_path, promise)


def test_sweep_follows_no_link(tmp_path: Path) -> None:
    """Old links and folders under the names of bodies are neither followed nor a reason to stop."""
    target = tmp_path / "target"
    target.touch()
    os.utime(target, (0, 0))

    async def promise(queue: Queue) -> None:
        messages = tmp_path / "spool" / "messages"
        (messages / "A1.eml").symlink_to(target)
        (messages / "A2.eml").mkdir()
        (messages / "A3.eml").touch()
        for name in ("A1.eml", "A2.eml", "A3.eml"):
            os.utime(messages / name, (0, 0), follow_symlinks=False)
        assert (await queue.check()).removed == ("messages/A3.eml",)
        assert target.exists()

    with_queue(tmp_path, promise)
