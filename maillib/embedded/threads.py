"""The threads in which the engine makes the calls that block: disk, locks, hashing.

Guarantees: a call keeps its caller's context, and has ended when its caller goes on, cancelled or not.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A bounded pool of threads for the blocking calls of one engine object."""

    def __init__(self, name: str, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `function`, run in a thread with the caller's context (its log lines keep their `conn`).

        A cancellation is passed on only when the call has ended: whoever cleans up then does not close descriptors
        that a thread still writes to.
        """
        loop = asyncio.get_running_loop()
        call = self._executor.submit(functools.partial(copy_context().run, function, *args, **kwargs))
        cancelled: asyncio.CancelledError | None = None
        while not call.done():
            ended: asyncio.Future[None] = loop.create_future()  # half of what `run_in_executor` and `wait` would cost
            call.add_done_callback(functools.partial(_wake, loop, ended))
            try:
                await ended
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled from call.exception()
        return call.result()

    def begin(self, ended: Callable[[], None], function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run `function`, which raises nothing, in a thread as `run` does; then call `ended` in the event loop."""
        loop = asyncio.get_running_loop()
        call = self._executor.submit(functools.partial(copy_context().run, function, *args, **kwargs))
        call.add_done_callback(lambda _: loop.call_soon_threadsafe(ended))

    async def close(self) -> None:
        """Return when every call has ended. Idempotent."""
        await asyncio.to_thread(self._executor.shutdown)


def _wake(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None], _: Future[T]) -> None:
    """Tell, from a thread of the pool, who waits for `ended`."""
    loop.call_soon_threadsafe(_set, ended)


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():  # cancelled meanwhile
        ended.set_result(None)
