"""Leases: exclusive rights by name that die with the process that holds them."""

from typing import Protocol


class Lease(Protocol):
    @property
    def fencing(self) -> int:
        """Grows with every acquisition of the name, so that a late writer can be told from its successor."""

    async def release(self) -> None:
        """Idempotent."""


class Leases(Protocol):
    async def acquire(self, name: str, *, interval_s: float = 0.0) -> Lease:
        """Take the right named `name`, at once or not at all.

        Raises Conflict when somebody holds it, be it another session of this process; TooSoon when it was last taken,
        by whomever, less than `interval_s` ago; StoreFull, Transient.
        """
