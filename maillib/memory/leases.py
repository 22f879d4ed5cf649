"""Leases in memory: exclusive within the objects of one process that share one `MemoryLeases`."""

import time

from maillib.errors import Conflict, TooSoon
from maillib.ports.leases import Lease


class MemoryLeases:
    """The Leases port over a dictionary."""

    def __init__(self) -> None:
        self._held: dict[str, _MemoryLease] = {}
        self._fencing: dict[str, int] = {}
        self._taken: dict[str, float] = {}

    async def acquire(self, name: str, *, interval_s: float = 0.0) -> Lease:
        if name in self._held:
            raise Conflict(f"{name!r} is held by somebody else")
        now = time.time()
        if now - self._taken.get(name, float("-inf")) < interval_s:
            raise TooSoon(f"{name!r} was taken less than {interval_s:g} s ago")
        self._taken[name] = now
        self._fencing[name] = self._fencing.get(name, 0) + 1
        lease = self._held[name] = _MemoryLease(self._held, name, self._fencing[name])
        return lease

    async def close(self) -> None:
        """Release what is held. Idempotent."""
        self._held.clear()


class _MemoryLease:
    def __init__(self, held: "dict[str, _MemoryLease]", name: str, fencing: int) -> None:
        self._held = held
        self._name = name
        self._fencing = fencing

    @property
    def fencing(self) -> int:
        return self._fencing

    async def release(self) -> None:
        if self._held.get(self._name) is self:  # a successor's lease stays
            del self._held[self._name]
