"""Log-ins of one process, slowed down where somebody guesses passwords.

Guarantees: each failure beyond a few, from one address or for one name, is answered later than the one before, by at
most LONGEST_DELAY_S; log-ins from one address have a share of the process and no more, so that who guesses there keeps
nobody elsewhere waiting; the right password is never held back by what others guessed, a known name no longer than an
unknown one.

Leaves to others: passwords (the Directory), words (the sessions). Other processes count for themselves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from maillib.errors import AuthenticationFailed, Transient
from maillib.ports.directory import Account, Directory

FREE_FAILURES = 4
"""Anybody may mistype."""

FIRST_DELAY_S = 0.25
"""It doubles with each failure."""

LONGEST_DELAY_S = 5.0
"""A client that tries a dozen passwords hears about each of them well before it loses patience."""

FORGET_S = 300.0
"""After so long without a failure it is as if there had been none."""

AT_ONCE = 8
"""Log-ins from one address that are checked, or held back, at the same time."""

MOST_WAITING = 16
"""Others from there that wait for their turn; who comes then is told to try later."""

REMEMBERED = 10_000
"""Addresses and names with failures: a few megabytes."""

MAX_NAME = 320
"""Characters of a name that is kept: no address has more."""


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


@dataclass(slots=True)
class _Door:
    """Who is at it from one address."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    present: int = 0


class Doorkeeper:
    """One for all sessions of a process."""

    def __init__(
        self,
        directory: Directory,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._sleep = sleep
        self._doors: dict[str, _Door] = {}
        self._failures: dict[str, _Failures] = {}
        """By address or name; who failed last is at the end."""

    async def authenticate(self, login: str, password: str, *, service: str, host: str) -> Account:
        """As the Directory does, for a client at `host`. Raises Transient also when too many log in from there."""
        address = _network(host)
        door = self._doors.setdefault(address, _Door())
        if door.present >= AT_ONCE + MOST_WAITING:
            raise Transient(f"too many log-ins wait from {address}")
        door.present += 1
        try:
            async with door.turns:
                try:
                    return await self._directory.authenticate(login, password, service=service)
                except AuthenticationFailed:
                    names = (f"address {address}", f"name {login[:MAX_NAME].casefold()}")
                    await self._sleep(max([self._note(name) for name in names]))
                    raise
        finally:
            door.present -= 1
            if not door.present:
                del self._doors[address]

    def _note(self, name: str) -> float:
        """Count a failure; how long to hold back the answer."""
        now = self._clock()
        known = self._failures.pop(name, None)
        count = known.count + 1 if known is not None and now - known.last < FORGET_S else 1
        self._failures[name] = _Failures(count, now)
        if len(self._failures) > REMEMBERED:
            del self._failures[next(iter(self._failures))]
        doublings = min(count - FREE_FAILURES - 1, 10)
        return min(FIRST_DELAY_S * 2**doublings, LONGEST_DELAY_S) if doublings >= 0 else 0.0


def _network(host: str) -> str:
    """What counts as one address: of IPv6 a /64, which one host can have all to itself."""
    if ":" not in host:
        return host
    import ipaddress  # most clients of most hosts have IPv4

    return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
