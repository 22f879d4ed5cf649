"""Calls that block, away from the event loop."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from maillib.embedded.threads import Threads


def test_threads_run_off_the_loop() -> None:
    """A call runs in another thread with the caller's context; its result and its exception come back."""
    connection = ContextVar[str]("connection")

    async def main() -> None:
        threads = Threads("test", 2)
        connection.set("c7")
        assert await threads.run(connection.get) == "c7"
        assert await threads.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        await threads.close()
        await threads.close()

    asyncio.run(main())


def test_a_cancelled_wait_ends_after_its_call() -> None:
    """Cancelling the caller never leaves a call running behind its back, however often it is repeated."""

    async def main() -> None:
        threads = Threads("test", 1)
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def call() -> None:
            begun.set()
            go_on.wait()
            ended.set()

        task = asyncio.create_task(threads.run(call))
        await asyncio.to_thread(begun.wait)
        for _ in range(2):
            task.cancel()
            await asyncio.wait([task], timeout=0)
            assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()
        await threads.close()

    asyncio.run(main())
