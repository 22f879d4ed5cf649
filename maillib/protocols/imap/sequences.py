"""Sets of message numbers or UIDs, as intervals: never expanded, however many numbers they mean. RFC 9051 §9.

A client may write `1:4294967295` or `*:1`, numbers twice and out of order; what it means is found by `ranges`, once it
is known what `*` is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from maillib.protocols.imap.errors import Malformed

LARGEST = 2**32 - 1
"""The largest message number, UID. RFC 9051 §9, nz-number."""

STAR = LARGEST + 1
"""`*` in an interval: above all numbers, though it means the largest one that is in use."""


@dataclass(frozen=True, slots=True)
class SequenceSet:
    intervals: tuple[tuple[int, int], ...]
    """Both ends included, in the client's order; an end may be STAR, and the first may be above the second."""

    def ranges(self, star: int, last: int | None = None) -> tuple[range, ...]:
        """Ascending, disjoint, each number once; nothing above `last` (None: above `star`).

        `star` is what `*` means: the largest number in use, 0 when there is none.
        """
        end = star if last is None else last
        found: list[range] = []
        for low, high in self._ordered(star):
            low, high = max(low, 1), min(high, end)
            if low > high:
                continue
            if found and low <= found[-1].stop:
                low, high = found[-1].start, max(high, found[-1].stop - 1)
                found.pop()
            found.append(range(low, high + 1))
        return tuple(found)

    def _ordered(self, star: int) -> list[tuple[int, int]]:
        pairs = [(star if a == STAR else a, star if b == STAR else b) for a, b in self.intervals]
        return sorted((a, b) if a <= b else (b, a) for a, b in pairs)

    @property
    def has_star(self) -> bool:
        return any(STAR in interval for interval in self.intervals)

    @property
    def ascends(self) -> bool:
        """Every number is above the one before."""
        before = 0
        for first, last in self.intervals:
            if not before < first <= last:
                return False
            before = last
        return True

    @property
    def count(self) -> int:
        """Of a set that ascends, without `*`: how many numbers there are."""
        return sum(last - first + 1 for first, last in self.intervals)

    def __str__(self) -> str:
        """As a client could have written it."""
        return ",".join(
            _number(first) if first == last else f"{_number(first)}:{_number(last)}" for first, last in self.intervals
        )


class Saved(Enum):
    """`$`: what the last SEARCH with RETURN (SAVE) has found. RFC 5182 §2.1."""

    RESULT = "$"

    def __str__(self) -> str:
        return self.value


Messages = SequenceSet | Saved


def parse_set(text: bytes) -> SequenceSet:
    """Raises Malformed; `$` is none."""
    if text.isdigit():
        number = _parsed(text)
        return SequenceSet(((number, number),))
    intervals = []
    for item in text.split(b","):
        first, colon, last = item.partition(b":")
        low = _parsed(first)
        intervals.append((low, _parsed(last) if colon else low))
    return SequenceSet(tuple(intervals))


def of_numbers(numbers: Iterable[int]) -> SequenceSet:
    """The shortest set of these numbers, which ascend; there is at least one."""
    intervals: list[tuple[int, int]] = []
    first = last = 0
    for number in numbers:
        if number == last + 1 and first:
            last = number
            continue
        if first:
            intervals.append((first, last))
        first = last = number
    intervals.append((first, last))
    return SequenceSet(tuple(intervals))


def _parsed(text: bytes) -> int:
    if text == b"*":
        return STAR
    if not text.isdigit() or len(text) > 10 or not 0 < (number := int(text)) <= LARGEST:
        raise Malformed("that is no set of message numbers")
    return number


def _number(number: int) -> str:
    return "*" if number == STAR else str(number)
