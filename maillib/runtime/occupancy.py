"""How many connections a service has over all its processes, and from whom, in memory that they share.

One region a worker, written by that worker alone: its first slots, as many as it counts, hold the marks of its clients'
addresses, the others 0. The rest only read it, so nothing needs a lock; two workers that accept in the same microsecond
may together pass a limit by one. The master clears the region of a worker that has ended, however it ended.

Layout, all unsigned 64-bit integers: REGIONS counts of taken slots, then REGIONS regions of `slots` slots.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

from maillib.networks import packed_address

REGIONS = 64
"""Workers of one master at the same time: current ones, those becoming ready and two old generations."""

_INTEGER_OCTETS = 8

_IPV4 = 1 << 32
"""In a mark: the 32 bits below are an IPv4 address. As the first half of an IPv6 address it belongs to nobody."""


def _octets(slots: int) -> int:
    return REGIONS * (1 + slots) * _INTEGER_OCTETS


class Occupancy:
    """A view of the shared memory; `descriptor` is what a worker inherits."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self.descriptor = descriptor
        self.slots = slots
        self._map = mmap.mmap(descriptor, _octets(slots))
        self._view = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, slots: int) -> "Occupancy":
        descriptor = os.memfd_create("occupancy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, _octets(slots))
        # A worker that made it shorter would end the master, which looks at what is gone then.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(descriptor, slots)

    def taken(self) -> int:
        """Connections over all regions."""
        return sum(self._view[:REGIONS])

    def taken_in(self, region: int) -> int:
        """Connections of one worker."""
        return self._view[region]

    def taken_by(self, mark: int) -> int:
        """Connections with this mark, over all regions."""
        return sum(marks.count(mark) for marks in self._marks())

    def taken_from(self, network: int) -> int:
        """Connections from this network, over all regions."""
        return sum(network_of(mark) == network for marks in self._marks() for mark in marks)

    def _marks(self) -> Iterator[list[int]]:
        for region, taken in enumerate(self._view[:REGIONS].tolist()):
            if taken:
                start = self._start(region)
                yield self._view[start : start + min(taken, self.slots)].tolist()

    def seat(self, region: int) -> "Seat":
        return Seat(self._view, region, self._start(region), self.slots)

    def clear(self, region: int) -> None:
        for slot in range(self._start(region), self._start(region + 1)):
            self._view[slot] = 0
        self._view[region] = 0

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self.descriptor)

    def _start(self, region: int) -> int:
        return REGIONS + region * self.slots


@dataclass(slots=True, eq=False)
class Slot:
    """One connection's; which of the region's it is changes when others leave."""

    number: int
    mark: int


class Seat:
    """The region that one worker may write."""

    def __init__(self, view: "memoryview[int]", region: int, start: int, slots: int) -> None:
        self._view = view
        self._region = region
        self._start = start
        self._most = slots
        self._taken: list[Slot] = []

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, mark: int) -> Slot | None:
        """A slot that holds `mark` from now on; None: all of the region are taken."""
        number = len(self._taken)
        if number == self._most:
            return None
        slot = Slot(number, mark)
        self._taken.append(slot)
        self._view[self._start + number] = mark
        self._view[self._region] = number + 1
        return slot

    def mark(self, slot: Slot, mark: int) -> None:
        """It is somebody else's connection than it seemed."""
        slot.mark = mark
        self._view[self._start + slot.number] = mark

    def leave(self, slot: Slot) -> None:
        """The last one moves to its place."""
        last = self._taken.pop()
        if last is not slot:
            last.number = slot.number
            self._taken[last.number] = last
            self._view[self._start + last.number] = last.mark
        self._view[self._start + len(self._taken)] = 0
        self._view[self._region] = len(self._taken)


def mark_of(host: str) -> int:
    """What stands for a client's address: an IPv4 address, or an IPv6 /64, which one host can have to itself. Never 0.

    Raises OSError when `host` is no IP address.
    """
    packed = packed_address(host)
    return _IPV4 | int.from_bytes(packed) if len(packed) == 4 else int.from_bytes(packed[:8]) or 1


def network_of(mark: int) -> int:
    """What stands for the network around it: an IPv4 /24, or an IPv6 /48, as one customer may have."""
    return mark >> 8 if mark >> 32 == 1 else mark >> 16
