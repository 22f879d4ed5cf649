"""How many connections a service has over all its processes, and from whom, in memory that they share.

One region a worker, written by that worker alone: a free slot holds 0, a taken one a 64-bit digest of the client's
address. The others only read it, so nothing needs a lock; two workers that accept in the same microsecond may together
pass a limit by one. The master clears the region of a worker that has ended, however it ended.

Layout, all unsigned 64-bit integers: REGIONS counts of taken slots, then REGIONS regions of `slots` slots.
"""

import fcntl
import hashlib
import mmap
import os

REGIONS = 64
"""Workers of one master at the same time: current ones, those becoming ready and two old generations."""

_INTEGER_OCTETS = 8


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
        """Connections whose slot holds `mark`, over all regions."""
        return sum(
            self._view[self._start(region) : self._start(region + 1)].tolist().count(mark)
            for region in range(REGIONS)
            if self._view[region]
        )

    def seat(self, region: int) -> "Seat":
        return Seat(self._view, region, range(self._start(region), self._start(region + 1)))

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


class Seat:
    """The slots that one worker may write."""

    def __init__(self, view: "memoryview[int]", region: int, slots: range) -> None:
        self._view = view
        self._region = region
        self._free = list(slots)

    def take(self, mark: int) -> int | None:
        """A slot that holds `mark` from now on; None: all of the region are taken."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._view[slot] = mark
        self._view[self._region] += 1
        return slot

    def leave(self, slot: int) -> None:
        self._view[slot] = 0
        self._view[self._region] -= 1
        self._free.append(slot)


def mark_of(host: str) -> int:
    """The digest that stands for a client's address; never 0."""
    return int.from_bytes(hashlib.blake2b(host.encode(), digest_size=_INTEGER_OCTETS).digest(), "little") or 1
