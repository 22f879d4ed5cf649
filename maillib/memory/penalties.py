"""Penalties in memory: shared within the objects of one process that share one `MemoryPenalties`."""

import math
import time
from collections.abc import Callable

from maillib.ports import penalties
from maillib.ports.penalties import Record

_UNKNOWN = Record()


class MemoryPenalties:
    """The Penalties port over dictionaries."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._addresses: dict[str, Record] = {}
        self._names: dict[str, Record] = {}

    def failures(self, name: str) -> int:
        return math.ceil(penalties.failures(self._names.get(name, _UNKNOWN), self._clock()))

    def wait_s(self, address: str) -> float:
        return penalties.wait_s(self._addresses.get(address, _UNKNOWN), self._clock())

    async def take_turn(self, address: str) -> bool:
        record, now = self._addresses.get(address, _UNKNOWN), self._clock()
        if penalties.wait_s(record, now):
            return False
        if penalties.has_turns(record, now):
            self._addresses[address] = penalties.with_turn_taken(record, now)
        return True

    async def failed(self, address: str, name: str) -> None:
        for records, key in ((self._addresses, address), (self._names, name)):
            records[key] = penalties.with_failure(records.get(key, _UNKNOWN), _octets(name), self._clock())

    async def succeeded(self, address: str, name: str) -> None:
        now = self._clock()
        if (record := self._addresses.get(address)) is not None:
            taken_back = penalties.forgiven(record, _octets(name), now)
            self._addresses[address] = penalties.with_success(record, taken_back, now)
            of_name = self._names.get(name, _UNKNOWN)
            self._names[name] = penalties.with_success(of_name, taken_back, now)

    async def close(self) -> None:
        """Nothing to do; engines are closed alike."""


def _octets(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
