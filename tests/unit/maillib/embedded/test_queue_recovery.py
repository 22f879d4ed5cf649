"""Claims of processes that live are left alone, those of the dead are found."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from maillib.embedded import queue_recovery
from maillib.embedded.queue_recovery import FREE_RECOVERIES
from maillib.ports.queue import QueueItem, QueueState
from tests.support.spool_on_disk import START, Queue, files, put, states, with_queue

CLAIMER = """
import asyncio, sys
from pathlib import Path
from maillib.embedded.queue import EmbeddedQueue

async def main():
    queue = EmbeddedQueue(Path(sys.argv[1]))
    claims = await queue.claim(10)
    print(*(claim.id for claim in claims), flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


def claim_and_die(state_dir: Path) -> list[str]:
    """What a process claimed that was then killed."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIMER, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        claimed = process.stdout.readline().split()
        process.kill()
    return claimed


def test_claims_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    """A second spool takes nothing of what the first one still holds; once the first has let go, it does."""

    async def promise(first: Queue) -> None:
        await put(first)
        (claim,) = await first.claim(1)
        second = Queue(tmp_path)
        assert await second.claim(1) == []
        await first.release(claim)
        await second.wait(60)
        assert await second.claim(1) == [claim]
        await second.close()

    with_queue(tmp_path, promise)


def test_claims_die_with_their_process(tmp_path: Path) -> None:
    """What a killed process had is claimed by the next one, and nothing is left of the dead."""

    async def fill(queue: Queue) -> None:
        await put(queue)
        await put(queue)

    with_queue(tmp_path, fill)
    claimed = claim_and_die(tmp_path)
    assert len(claimed) == 2

    async def promise(queue: Queue) -> None:
        assert [claim.id for claim in await queue.claim(10)] == claimed
        assert files(tmp_path).count("active/OWNER.lock") == 1

    with_queue(tmp_path, promise)


def test_claims_whose_lock_was_removed(tmp_path: Path) -> None:
    """Claims of a dead process are found though somebody has removed its lock, and odd files in them stop no other."""

    async def fill(queue: Queue) -> None:
        await put(queue)

    with_queue(tmp_path, fill)
    claimed = claim_and_die(tmp_path)
    (lock,) = (tmp_path / "spool" / "active").glob("*.lock")
    lock.unlink()
    (tmp_path / "spool" / "active" / "0-000000000000" / "x").mkdir(parents=True)

    async def promise(queue: Queue) -> None:
        assert [claim.id for claim in await queue.claim(10)] == claimed

    with_queue(tmp_path, promise)


def test_message_that_kills_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some deaths a message waits, longer each time, and in the end it is set aside; others are not held up."""
    last = FREE_RECOVERIES + 2
    monkeypatch.setattr(queue_recovery, "LAST_RECOVERY", last)

    async def fill(queue: Queue) -> None:
        await put(queue)

    with_queue(tmp_path, fill)
    now, waits = START, []
    for death in range(1, last + 1):
        assert len(claim_and_die(tmp_path)) == 1

        async def look(queue: Queue) -> QueueItem:
            await queue.claim(0)
            (item,) = [item async for item in queue.browse()]
            await queue.close()
            return item

        item = asyncio.run(look(Queue(tmp_path, now)))
        if death <= FREE_RECOVERIES:
            assert item.state is QueueState.INCOMING
            continue
        assert item.next_attempt is not None
        waits.append(item.next_attempt - now)
        os.utime(tmp_path / "spool" / "deferred" / f"{item.id}.json", (0, 0))  # the wait is over
    assert waits == [timedelta(minutes=1), timedelta(minutes=2)]
    assert len(claim_and_die(tmp_path)) == 1

    async def promise(queue: Queue) -> None:
        assert await queue.claim(1) == []
        assert list((await states(queue)).values()) == [QueueState.CORRUPT]
        other = await put(queue)
        assert [claim.id for claim in await queue.claim(2)] == [other]

    with_queue(tmp_path, promise)


def test_progress_forgives_deaths(tmp_path: Path) -> None:
    """A message that was tried to the end is no suspect any more."""

    async def promise(queue: Queue) -> None:
        await put(queue)

    with_queue(tmp_path, promise)
    claim_and_die(tmp_path)

    async def again(queue: Queue) -> None:
        (claim,) = await queue.claim(1)
        (path,) = (tmp_path / "spool" / "active").glob("*/*.json")
        assert '"recoveries": 1' in path.read_text()
        await queue.update(claim, claim.envelope)
        assert '"recoveries": 0' in path.read_text()

    with_queue(tmp_path, again)
