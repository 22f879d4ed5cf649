"""Who gets in: the limits of a service over all its processes, and who makes room when they are reached.

At the limit of connections, who has not logged in and has been silent for longest goes, be it in a handshake: idle
connections keep nobody out, however many there are. They go from the network that has most of them first, and never
for a newcomer from a network that has more, so that a flood pushes out its own. One address, and one network, alone is
refused at a limit of its own before.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from maillib import maillog
from maillib.errors import PeerError
from maillib.runtime.heap import HeapTrim
from maillib.runtime.occupancy import Occupancy, Seat, Slot, mark_of, network_of
from maillib.settings.service import Limits

NETWORK_SHARE = 0.75
"""Of all connections: the most that one network has, unless one address of it may have more by the spec."""

FOR_OTHERS = 16
"""One such part of all connections is left to the other processes by one that could send somebody away: they may have
nobody to send away when an honest client comes to them."""

FRESH_S = 1.0
"""How long a list of those who could make room is good for."""

FULL = "too many connections"

ROOM = "silent for longest, makes room for another"

SUM_UP_S = 10.0
"""Refusals that are like one in the log already are counted for so long, and then told in one line."""

REMEMBERED = 1000
"""Addresses whose refusals are counted apart."""


class Guest(Protocol):
    """Who has a place: a connection on its way in, then its session. `runtime.service.Session` says what these mean."""

    @property
    def silent_since(self) -> float | None: ...

    def dismiss(self, words: bytes) -> None: ...


@dataclass(slots=True, eq=False)
class Place:
    """One connection's."""

    slot: Slot
    host: str
    guest: Guest


class Admission:
    """The places of one process."""

    def __init__(self, limits: Limits, occupancy: Occupancy, seat: Seat, refusal: bytes, *, processes: int = 1) -> None:
        self.take_limits(limits, processes=processes)
        self._occupancy = occupancy
        self._seat = seat
        self._refusal = refusal
        self._loop = asyncio.get_running_loop()
        self._heap = HeapTrim()
        self._places: dict[Place, None] = {}
        """In the order in which they were taken: the clock of the loop counts milliseconds."""
        self._silent: list[tuple[int, float, Place]] = []
        """Who could make room, as it was a moment ago: connections of the network, since when, where; the best last.

        Only the better half: others may have come meanwhile that are better to send away than the rest.
        """
        self._heaviest = 0
        """Connections of the network that has most, among these; for the same reason, half as many are the end."""
        self._surveyed = -FRESH_S
        self._weights: Counter[int] = Counter()
        """Connections by network, at the same moment."""
        self._refusals: Counter[tuple[str, str]] = Counter()

    def take_limits(self, limits: Limits, *, processes: int) -> None:
        """These count from now on; who is in stays in."""
        self._limits = limits
        self._most_here = limits.connections_with(limits.open_files)
        self._fair_here = limits.connections - (limits.connections // FOR_OTHERS if processes > 1 else 0)
        self._most_of_a_network = max(limits.connections_per_ip, int(limits.connections * NETWORK_SHARE))

    def enter(self, guest: Guest, host: str, *, for_another: bool = False) -> Place:
        """Raises PeerError, with the reason, when there is no place.

        `for_another`: the host is a balancer's; `rename` will say for whom it connects.
        """
        mark = mark_of(host)
        if not for_another:
            self._check_share(mark)
        if self._occupancy.taken() >= self._limits.connections or len(self._seat) >= self._most_here:
            if not self._make_room(network_of(mark)):
                raise PeerError(FULL)
        elif len(self._seat) >= self._fair_here:
            self._make_room(network_of(mark))
        slot = self._seat.take(mark)
        if slot is None:
            raise PeerError(FULL)
        place = Place(slot, host, guest)
        self._places[place] = None
        self._heap.note(len(self._seat))
        return place

    def rename(self, place: Place, host: str) -> None:
        """It is a connection from that host. Raises PeerError when that one may have no more."""
        mark = mark_of(host)
        self._check_share(mark)
        self._seat.mark(place.slot, mark)
        place.host = host

    def leave(self, place: Place) -> None:
        if place in self._places:
            del self._places[place]
            self._seat.leave(place.slot)
            self._heap.note(len(self._seat))

    def _check_share(self, mark: int) -> None:
        if self._occupancy.taken_by(mark) >= self._limits.connections_per_ip:
            raise PeerError("too many connections from this address")
        most = self._most_of_a_network
        if self._occupancy.taken() >= most and self._occupancy.taken_from(network_of(mark)) >= most:
            raise PeerError("too many connections from this network")

    def _make_room(self, newcomer: int) -> bool:
        """Send away whom we can best do without; the place is free in a moment. False: there is nobody.

        `newcomer`: the network for whose sake it is.
        """
        found = self._next_silent()
        if found is None:
            self._survey()
            found = self._next_silent()
        if found is None or found[0] < self._weights[newcomer]:
            return False
        place = found[2]
        self.note_refusal(place.host, ROOM)
        place.guest.dismiss(self._refusal)
        return True

    def _next_silent(self) -> tuple[int, float, Place] | None:
        """The next of the list; None where it may be wrong by now."""
        if self._loop.time() - self._surveyed > FRESH_S:
            return None
        while self._silent and self._silent[-1][0] > self._heaviest // 2:
            found = self._silent.pop()
            _, since, place = found
            if place in self._places and place.guest.silent_since == since:
                return found
        return None

    def _survey(self) -> None:
        self._surveyed = self._loop.time()
        self._weights = Counter(network_of(place.slot.mark) for place in self._places)
        self._silent = [
            (self._weights[network_of(place.slot.mark)], since, place)
            for place in reversed(self._places)
            if (since := place.guest.silent_since) is not None
        ]
        self._silent.sort(key=lambda one: (one[0], -one[1]))
        del self._silent[: len(self._silent) // 2]
        self._heaviest = self._silent[-1][0] if self._silent else 0

    # The log

    def note_refusal(self, host: str, reason: str) -> None:
        """Log it, but not a thousand times the same."""
        if not self._refusals:
            self._loop.call_later(SUM_UP_S, self._sum_up)
        if (host, reason) not in self._refusals and len(self._refusals) >= REMEMBERED:
            host = "others"
        if (host, reason) not in self._refusals:
            maillog.refused(peer=host, reason=reason)
        self._refusals[host, reason] += 1

    def _sum_up(self) -> None:
        for (host, reason), times in self._refusals.items():
            if times > 1:
                maillog.refused(peer=host, reason=reason, times=times - 1)
        self._refusals.clear()
