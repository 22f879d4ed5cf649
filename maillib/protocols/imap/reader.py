"""What a client has sent and nobody has looked at yet: lines, and the octets of literals between them.

The boundaries come first: where a command ends is found without understanding it, so that a bad one never costs the
place in the stream. A line ends with LF; a CR before it belongs to the end (some send LF alone; as what follows is
parsed anew either way, taking it opens no gap between two readers).
"""

from dataclasses import dataclass

from maillib.errors import PeerError

TAIL_OCTETS = 64
"""Of a line that is passed over, so much of the end is looked at: longer than any announcement of a literal."""

MAX_PASSED_OVER = 1024 * 1024
"""Octets. A line that has not ended by then never will."""

_CR = 13
_BRACE = 125
"""`}`"""
_MAX_DIGITS = 19


class LineTooLong(PeerError):
    """More octets than the limit, and no end of line."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__("line too long")
        self.beginning = beginning


@dataclass(frozen=True, slots=True)
class Announced:
    """A literal follows. RFC 9051 §4.3, RFC 7888, RFC 3516 §4.4."""

    octets: int
    waits: bool
    """The client sends it when it has been told to go on."""
    binary: bool


def announced(line: bytes) -> Announced | None:
    """What the end of a line says of the literal after it. Raises PeerError for one that can be neither read nor
    passed over.
    """
    if not line.endswith(b"}"):
        return None
    before, brace, inside = line[:-1].rpartition(b"{")
    digits = inside.removesuffix(b"+")
    if not digits.isdigit():
        return None
    waits = digits == inside
    if not brace:
        if len(line) < TAIL_OCTETS:
            return None
        raise PeerError("literal too large")  # what is before this tail may be a brace or more digits
    if len(digits) > _MAX_DIGITS and not waits:
        raise PeerError("literal too large")
    octets = int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
    return Announced(octets, waits, binary=before.endswith(b"~"))


class Reader:
    """One for each connection."""

    __slots__ = ("_at", "_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        """What is before it has been given out."""
        self._searched = 0
        """No LF is between `_at` and here."""

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._buffer)

    def receive(self, data: bytes) -> None:
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._searched = max(0, self._searched - self._at)
        self._at = 0

    def line(self, limit: int) -> bytes | None:
        """The next line, without its end; None: it has not come yet.

        Raises LineTooLong and stays where it is: `rest_of_line` gets past it.
        """
        start = self._at
        end = self._buffer.find(b"\n", max(start, self._searched))
        if end < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) - start > limit:
                raise LineTooLong(self._buffer[start : start + limit])
            return None
        if end - start > limit:
            raise LineTooLong(self._buffer[start : start + limit])
        self._at = end + 1
        return self._buffer[start : end - 1 if end > start and self._buffer[end - 1] == _CR else end]

    def simple_line(self, limit: int) -> bytes | None:
        """The next line, if it is there, fits and announces no literal: most commands. None: see `line`."""
        start = self._at
        end = self._buffer.find(b"\n", start, start + limit)
        if end <= start or self._buffer[end - 1] != _CR or self._buffer[end - 2] == _BRACE:
            return None
        self._at = end + 1
        return self._buffer[start : end - 1]

    def take_rest(self) -> bytes:
        found = self._buffer[self._at :]
        self._buffer = b""
        self._at = self._searched = 0
        return found

    def octets(self, most: int) -> bytes:
        """What has come of the next octets."""
        found = self._buffer[self._at : self._at + most]
        self._at += len(found)
        return found

    def rest_of_line(self) -> tuple[bytes, bool]:
        """What has come up to the next end of line, without it, and whether that end has come."""
        end = self._buffer.find(b"\n", self._at)
        ended = end >= 0
        piece = self._buffer[self._at : end] if ended else self._buffer[self._at :]
        self._at = end + 1 if ended else len(self._buffer)
        return piece, ended
