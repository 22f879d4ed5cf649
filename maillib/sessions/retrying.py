"""When a recipient is tried again, and when it is given up. RFC 5321 §4.5.4.1."""

from dataclasses import dataclass
from datetime import datetime, timedelta

JITTER = 0.1
"""Give or take: mail that failed together does not come back together."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    waits: tuple[timedelta, ...]
    """Between the attempts; the last one repeats."""
    give_up_after: timedelta
    """Age of a message from which on a failed attempt was the last one."""

    def is_last(self, now: datetime, queued: datetime) -> bool:
        """Whether an attempt that fails at `now` ends it."""
        return now - queued >= self.give_up_after

    def next_attempt(self, now: datetime, queued: datetime, attempts: int, chance: float) -> datetime:
        """When to try again after so many attempts (at least one), the last of them at `now`.

        `chance` is from 0 to 1. Where the moment of giving up comes first, it is the time of the last attempt.
        """
        wait = self.waits[min(attempts, len(self.waits)) - 1]
        usual = now + wait * (1 - JITTER + 2 * JITTER * chance)
        return usual if self.is_last(now, queued) else min(usual, queued + self.give_up_after)
