"""One call that somebody waits for, and that others serve together with more."""

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Call(Generic[T, R]):
    """Made in the event loop; `outcome` may be set by a thread, which then has the loop call `wake`."""

    __slots__ = ("_ended", "item", "outcome")

    def __init__(self, item: T) -> None:
        self.item = item
        self.outcome: tuple[R | Exception] | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        if not self._ended.done():  # it is when the caller has just been cancelled
            self._ended.set_result(None)

    async def result(self) -> R:
        """What `outcome` has, or raise it. A cancellation is passed on only when the call has ended."""
        cancelled: asyncio.CancelledError | None = None
        while not self._ended.done():
            try:
                await self._ended
            except asyncio.CancelledError as error:
                cancelled = error
                if self.outcome is None:
                    self._ended = asyncio.get_running_loop().create_future()
        assert self.outcome is not None
        (outcome,) = self.outcome
        if cancelled is not None:
            raise cancelled from outcome if isinstance(outcome, Exception) else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def settle(calls: Sequence[Call[T, R]], outcomes: Sequence[R | Exception]) -> None:
    """Give each call its outcome."""
    for call, outcome in zip(calls, outcomes, strict=True):
        call.outcome = (outcome,)
