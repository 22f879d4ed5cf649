"""Calls about many things (accounts), served in threads: those about one thing together, others side by side.

What comes about a thing while it is being served waits for its turn and is then served as one, with one commit and one
sync. When calls about more things wait than there are lanes, a lane takes several things in one go: one wake-up of the
thread and one of the event loop, for however many. A single call is served at once.

Leaves to others: what serving means, and that one item's failure stays that item's. `batches` is the same for calls
that are all about one thing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from maillib.embedded.sqlite import Threads

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
        self._waiting: dict[K, deque[_Call[T, R]]] = {}
        """Of things that wait or are being served."""
        self._ready: deque[K] = deque()
        """Things with calls that wait, and that no lane serves."""
        self._serving: set[asyncio.Task[None]] = set()

    async def call(self, key: K, item: T) -> R:
        """The result for `item`. A cancellation is passed on only when the call has ended, see `Threads.run`."""
        call = _Call[T, R](item)
        if key not in self._waiting:
            self._waiting[key] = deque()
            self._ready.append(key)
        self._waiting[key].append(call)
        if self._free_lanes and self._ready:
            self._free_lanes -= 1
            task = asyncio.create_task(self._serve_ready())
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        return await call.result()

    async def _serve_ready(self) -> None:
        """One lane: go on until nothing is ready."""
        while self._ready:
            keys = [self._ready.popleft() for _ in range(min(-(-len(self._ready) // self._lanes), _MOST_THINGS))]
            batches: list[list[_Call[T, R]]] = []
            for key in keys:
                waiting = self._waiting[key]
                batches.append([waiting.popleft() for _ in range(min(self._most, len(waiting)))])
            outcomes = await self._threads.run(
                self._serve_all, keys, [[call.item for call in batch] for batch in batches]
            )
            for key, batch, outcome in zip(keys, batches, outcomes, strict=True):
                for call, result in zip(batch, outcome, strict=True):
                    call.end(result)
                if self._waiting[key]:
                    self._ready.append(key)
                else:
                    del self._waiting[key]
        self._free_lanes += 1

    def _serve_all(self, keys: Sequence[K], batches: Sequence[Sequence[T]]) -> list[Sequence[R | Exception]]:
        outcomes: list[Sequence[R | Exception]] = []
        for key, items in zip(keys, batches, strict=True):
            try:
                outcomes.append(self._serve(key, items))
            except Exception as error:  # noqa: BLE001 - it is raised to each caller
                outcomes.append([error] * len(items))
        return outcomes


class _Call(Generic[T, R]):
    """One call, and what has become of it."""

    __slots__ = ("_ended", "_outcome", "item")

    def __init__(self, item: T) -> None:
        self.item = item
        self._outcome: tuple[R | Exception] | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, outcome: R | Exception) -> None:
        self._outcome = (outcome,)
        if not self._ended.done():  # it is when the caller has just been cancelled
            self._ended.set_result(None)

    async def result(self) -> R:
        cancelled: asyncio.CancelledError | None = None
        while self._outcome is None:
            try:
                await self._ended
            except asyncio.CancelledError as error:
                cancelled = error
                self._ended = asyncio.get_running_loop().create_future()
        (outcome,) = self._outcome
        if cancelled is not None:
            raise cancelled from outcome if isinstance(outcome, Exception) else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
