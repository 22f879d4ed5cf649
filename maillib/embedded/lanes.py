"""Calls about many things (accounts), served in threads: those about one thing together, others side by side.

What comes about a thing while it is being served waits for its turn and is then served as one, with one commit and one
sync. When calls about more things wait than there are lanes, a lane takes several things in one go: one wake-up of the
thread and one of the event loop, for however many. A single call is served at once.

Leaves to others: what serving means, and that one item's failure stays that item's. `batches` is the same for calls
that are all about one thing.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from maillib.embedded.calls import Call, settle
from maillib.embedded.threads import Threads

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
R = TypeVar("R")

_MOST_THINGS = 8
"""In one go: who waits for the first of them waits for the last."""


class Lanes(Generic[K, T, R]):
    """For one event loop."""

    def __init__(
        self, threads: Threads, serve: Callable[[K, Sequence[T]], Sequence[R | Exception]], *, most: int, lanes: int
    ) -> None:
        """`serve` runs in a thread: for each item, in order, its result or what to raise to its caller. What it raises
        itself is raised to all callers of that batch. `most`: items in one batch.
        """
        self._threads = threads
        self._serve = serve
        self._most = most
        self._lanes = self._free_lanes = lanes
        self._waiting: dict[K, deque[Call[T, R]]] = {}
        """Of things that wait or are being served."""
        self._ready: deque[K] = deque()
        """Things with calls that wait, and that no lane serves."""
        self._closing: asyncio.Future[None] | None = None

    async def close(self) -> None:
        """Return when every call has ended. Idempotent."""
        while self._waiting:
            self._closing = asyncio.get_running_loop().create_future()
            await self._closing

    async def call(self, key: K, item: T) -> R:
        """The result for `item`. A cancellation is passed on only when the call has ended, see `Threads.run`."""
        call: Call[T, R] = Call(item)  # `Call[T, R](item)` takes five times as long
        if key not in self._waiting:
            self._waiting[key] = deque()
            self._ready.append(key)
        self._waiting[key].append(call)
        self._begin()
        return await call.result()

    def _begin(self) -> None:
        while self._ready and self._free_lanes:
            self._free_lanes -= 1
            batches: list[tuple[K, list[Call[T, R]]]] = []
            for _ in range(min(-(-len(self._ready) // self._lanes), _MOST_THINGS)):
                key = self._ready.popleft()
                waiting = self._waiting[key]
                batches.append((key, [waiting.popleft() for _ in range(min(self._most, len(waiting)))]))
            self._threads.begin(functools.partial(self._end, batches), self._serve_all, batches)

    def _serve_all(self, batches: Sequence[tuple[K, Sequence[Call[T, R]]]]) -> None:
        for key, calls in batches:
            outcomes: Sequence[R | Exception]
            try:
                outcomes = self._serve(key, [call.item for call in calls])
            except Exception as error:  # noqa: BLE001 - it is raised to each caller
                outcomes = [error] * len(calls)
            settle(calls, outcomes)

    def _end(self, batches: Sequence[tuple[K, Sequence[Call[T, R]]]]) -> None:
        """In the event loop: what was served is told to its callers."""
        self._free_lanes += 1
        for key, calls in batches:
            for call in calls:
                call.wake()
            if self._waiting[key]:
                self._ready.append(key)
            else:
                del self._waiting[key]
        self._begin()
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)
