"""Penalties: log-ins that failed, remembered by all services together and over their restarts.

Of an address and of a name it is known how often they failed lately; one failure is forgotten every FORGET_S. Beyond
FREE_FAILURES each makes the address wait longer before the next password from there is looked at. Log-ins from there
then also come one after the other, whatever the number of connections and services: each takes the turn, and gives it
back when it succeeds; when it fails, the next one may come when the wait is over; where it does neither, because its
process has died, after LONGEST_DELAY_S.

A success takes back what the same address failed for the same name just before, and nothing else: neither do others'
failures for that name end with it, nor those of an address whose user has an account here and guesses the others.

The rules below are for the engines. Time is Unix time, since it has to last longer than a boot. When the clock is set
forward, failures are forgotten sooner; when it is set back, what seems to come from the future counts for nothing.
Leaves to others: what an address or name is, and how long a name waits (`maillib.sessions.doorkeeper`).
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol

FREE_FAILURES = 4
"""Anybody may mistype."""

FIRST_DELAY_S = 0.25
"""It doubles with each failure."""

LONGEST_DELAY_S = 5.0
"""A client that tries a dozen passwords hears about each of them well before it loses patience."""

FORGET_S = 30.0
"""A device with an old password that asks once a minute never has to wait, nor has anybody beside it."""

MOST_FAILURES = 20
"""More are not counted: ten minutes after the last one all are forgotten."""

FUTURE_S = 60.0
"""Clocks are set by less than this while they run well."""


class Penalties(Protocol):
    """Addresses and names are texts that mean nothing here. Questions are answered from memory, without waiting.

    Every call may raise TemporaryError.
    """

    def failures(self, name: str) -> int:
        """How many log-ins with this name failed lately."""

    def wait_s(self, address: str) -> float:
        """How long until the next log-in from there may take its turn; 0: at once."""

    async def take_turn(self, address: str) -> bool:
        """Take the turn of log-ins from there; False: somebody else has it.

        Where there are few failures everybody has it.
        """

    async def failed(self, address: str, name: str) -> None:
        """Count a failure of both."""

    async def succeeded(self, address: str, name: str) -> None:
        """Give the turn back, and take back what that address failed for that name."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one address or name."""

    failures: float = 0.0
    """As of `at`."""
    at: float = 0.0
    free_at: float = 0.0
    """Of an address: when the next log-in from there may take its turn."""
    name: bytes = b""
    """Of an address: the name of its last failure, as the engine writes names."""
    of_name: float = 0.0
    """How many of the failures are the last ones, all for that name."""


def failures(record: Record, now: float) -> float:
    """Those that are not forgotten."""
    if record.at > now + FUTURE_S:
        return 0.0
    return max(0.0, record.failures - max(0.0, now - record.at) / FORGET_S)


def delay_s(count: float) -> float:
    """How long a log-in has to wait after so many failures."""
    doublings = math.ceil(count) - FREE_FAILURES - 1
    return min(FIRST_DELAY_S * 2**doublings, LONGEST_DELAY_S) if doublings >= 0 else 0.0


def wait_s(record: Record, now: float) -> float:
    """How long until the turn may be taken."""
    wait = record.free_at - now
    return wait if 0 < wait <= LONGEST_DELAY_S else 0.0


def has_turns(record: Record, now: float) -> bool:
    """Log-ins come one after the other."""
    return delay_s(failures(record, now) + 1) > 0


def with_turn_taken(record: Record, now: float) -> Record:
    return replace(record, free_at=now + LONGEST_DELAY_S)


def with_failure(record: Record, name: bytes, now: float) -> Record:
    count = min(failures(record, now) + 1, MOST_FAILURES)
    of_name = record.of_name + 1 if record.name == name else 1.0
    return Record(count, now, now + delay_s(count), name, min(of_name, count))


def forgiven(record: Record, name: bytes, now: float) -> float:
    """How many failures of an address a success with `name` takes back."""
    return min(record.of_name, failures(record, now)) if record.name == name else 0.0


def with_success(record: Record, taken_back: float, now: float) -> Record:
    return Record(max(0.0, failures(record, now) - taken_back), now)
