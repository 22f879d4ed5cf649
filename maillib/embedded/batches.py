"""Calls into threads that are served together.

What comes while the disk is busy with others waits for its turn and is then served with whatever else came meanwhile:
one call into a thread, one sync, one wake-up of the event loop, for however many. A single call is served at once.

Leaves to others: what serving means, and that one item's failure stays that item's.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from maillib.embedded.threads import Threads

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """One kind of call. For one event loop."""

    def __init__(
        self, threads: Threads, serve: Callable[[Sequence[T]], Sequence[R | Exception]], *, most: int, lanes: int = 1
    ) -> None:
        """`serve` runs in a thread: for each item, in order, its result or what to raise to its caller. What it raises
        itself is raised to all callers of that batch. `most`: items in one batch; `lanes`: batches at the same time.
        """
        self._threads = threads
        self._serve = serve
        self._most = most
        self._free_lanes = lanes
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._serving: set[asyncio.Task[None]] = set()

    async def call(self, item: T) -> R:
        """The result for `item`. A cancellation is passed on only when the call has ended, see `Threads.run`."""
        ended: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, ended))
        if self._free_lanes:
            self._begin()
        cancelled: asyncio.CancelledError | None = None
        while not ended.done():
            try:
                await asyncio.wait((ended,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled from ended.exception()
        return ended.result()

    def _begin(self) -> None:
        self._free_lanes -= 1
        task = asyncio.create_task(self._serve_waiting())
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve_waiting(self) -> None:
        """Serve batch after batch until nobody waits."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            items = [item for item, _ in batch]
            results: Sequence[R | Exception]
            try:
                results = await self._threads.run(self._serve, items)
            except Exception as error:  # noqa: BLE001 - it is raised to each caller
                results = [error] * len(batch)
            for (_, ended), result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    ended.set_exception(result)
                else:
                    ended.set_result(result)
        self._free_lanes += 1
