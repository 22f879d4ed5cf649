"""Coroutines that begin at once: when they become a task, and that nothing is lost on the way into it."""

import asyncio

import pytest

from maillib.runtime import eager


def test_what_never_waits_is_done_at_once() -> None:
    """A coroutine that has nothing to wait for has ended when `start` returns, and there is no task."""
    done = []

    async def work() -> None:
        done.append(1)

    async def main() -> None:
        assert eager.start(work()) is None
        assert done == [1]

    asyncio.run(main())


def test_what_waits_goes_on_in_a_task() -> None:
    """Up to the first wait it runs at once; results and errors of all that is awaited come back to it, in order."""
    seen: list[object] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def work(future: "asyncio.Future[str]") -> None:
        seen.append("begun")
        seen.append(await future)
        await asyncio.sleep(0)
        try:
            await asyncio.gather(fail())
        except ValueError as error:
            seen.append(str(error))
        async with asyncio.timeout(10):  # there is a task now
            seen.append(await asyncio.sleep(0, "ended"))

    async def main() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = eager.start(work(future))
        assert task is not None
        assert seen == ["begun"]
        future.set_result("result")
        await task

    asyncio.run(main())
    assert seen == ["begun", "result", "no", "ended"]


def test_a_cancellation_reaches_it() -> None:
    """It may clean up, and wait in doing so, as in any other task."""
    seen = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise

    async def main() -> None:
        task = eager.start(work())
        assert task is not None
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["cleaned up"]


def test_a_cancellation_may_be_survived() -> None:
    """Who ends in order though it was cancelled has a task that ends in order."""

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async def main() -> None:
        task = eager.start(work())
        assert task is not None
        await asyncio.sleep(0)
        task.cancel()
        await task
        assert not task.cancelled()

    asyncio.run(main())
