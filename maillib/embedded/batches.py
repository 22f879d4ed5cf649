"""Calls that are served together.

What comes while the disk is busy with others waits for its turn and is then served with whatever else came meanwhile:
one way to a thread or process and back, one sync, for however many. A single call is served at once.

Leaves to others: what serving means, and that one item's failure stays that item's.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from maillib.embedded.calls import Call, settle

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """One kind of call, one batch at a time. For one event loop."""

    def __init__(self, serve: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], *, most: int) -> None:
        """`serve` returns for each item, in order, its result or what to raise to its caller. What it raises itself is
        raised to all callers of that batch. `most`: items in one batch.
        """
        self._serve = serve
        self._most = most
        self._waiting: deque[Call[T, R]] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def call(self, item: T) -> R:
        """The result for `item`. A cancellation is passed on only when the call has ended: whoever cleans up then does
        not close what is still worked on.
        """
        call: Call[T, R] = Call(item)  # `Call[T, R](item)` takes five times as long
        self._waiting.append(call)
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve_waiting())
        return await call.result()

    async def close(self) -> None:
        """Return when every call has ended. Idempotent."""
        if self._serving is not None:
            await asyncio.wait((self._serving,))

    async def _serve_waiting(self) -> None:
        """Serve batch after batch until nobody waits."""
        while self._waiting:
            calls = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            outcomes: Sequence[R | Exception]
            try:
                outcomes = await self._serve([call.item for call in calls])
            except Exception as error:  # noqa: BLE001 - it is raised to each caller
                outcomes = [error] * len(calls)
            settle(calls, outcomes)
            for call in calls:
                call.wake()
        self._serving = None
