"""Calls that come together are served together."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from maillib.embedded.batches import Batches
from maillib.embedded.threads import Threads

T = TypeVar("T")
R = TypeVar("R")


def in_thread(
    threads: Threads, serve: Callable[[Sequence[T]], Sequence[R | Exception]]
) -> Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]:
    async def served(items: Sequence[T]) -> Sequence[R | Exception]:
        return await threads.run(serve, items)

    return served


def test_what_comes_while_one_is_served_is_served_together() -> None:
    """One batch serves all that waited for it, and each caller gets its own result."""
    sizes: list[int] = []
    go_on = threading.Event()

    def serve(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        go_on.wait(10)
        return [item * 2 for item in items]

    async def scenario() -> list[int]:
        threads = Threads("test", 2)
        batches = Batches(in_thread(threads, serve), most=4)
        first = asyncio.create_task(batches.call(0))
        while not sizes:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batches.call(item)) for item in range(1, 7)]
        await asyncio.sleep(0)
        go_on.set()
        results = [await task for task in (first, *others)]
        await threads.close()
        return results

    assert asyncio.run(scenario()) == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [1, 4, 2]


def test_a_failure_is_its_own_callers() -> None:
    """An item's error is raised to its caller only; what `serve` raises is raised to all of the batch."""

    def serve(items: Sequence[str]) -> Sequence[str | Exception]:
        if "all" in items:
            raise ValueError("all")
        return [KeyError(item) if item == "bad" else item for item in items]

    async def scenario() -> None:
        threads = Threads("test", 1)
        batches = Batches(in_thread(threads, serve), most=10)
        good, bad = await asyncio.gather(batches.call("good"), batches.call("bad"), return_exceptions=True)
        assert good == "good"
        assert isinstance(bad, KeyError)
        with pytest.raises(ValueError, match="all"):
            await batches.call("all")
        assert await batches.call("again") == "again"
        await threads.close()

    asyncio.run(scenario())


def test_a_cancelled_caller_waits_for_the_end_of_its_call() -> None:
    """Nobody cleans up what a thread still works on."""
    go_on = threading.Event()
    ended: list[bool] = []

    def serve(items: Sequence[int]) -> Sequence[int]:
        go_on.wait(10)
        ended.append(True)
        return items

    async def scenario() -> None:
        threads = Threads("test", 1)
        task = asyncio.create_task(Batches(in_thread(threads, serve), most=1).call(1))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended
        await threads.close()

    asyncio.run(scenario())
