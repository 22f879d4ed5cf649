"""The parts of a message as offsets into its octets. RFC 2045, RFC 2046, RFC 5322 §2.1.

Any octets have a structure: what is broken gets the answer that shows most of it, and nothing raises. A line ends at
LF, with CR before it or not. A delimiter is a line that begins with `--` and a boundary (RFC 2046 §5.1.1 wants no
more); where several begin so, the longest counts, then the innermost. A part without delimiter behind it ends where the
part around it does.

The time is linear in the octets: each multipart looks for its own delimiters with one search that never goes over the
same octets twice nor past the next delimiter around it. Beyond `MAX_DEPTH` and `MAX_PARTS` what is left is one opaque
part (application/octet-stream).
"""

from typing import NamedTuple

from maillib.message import transfer
from maillib.message.content import DIGESTED, PLAIN, Content, content, parameter
from maillib.message.fields import MAX_HEADER_OCTETS

MAX_DEPTH = 100
"""Multiparts and messages within one another: people reach five."""
MAX_PARTS = 10_000
"""Of one message, all levels together."""


class Part(NamedTuple):
    """A message, or one part of a multipart: its header is `octets[start:body]`, with the empty line behind it."""

    start: int
    body: int
    end: int
    content: Content
    parts: tuple["Part", ...] = ()
    """Of a multipart, at least one; empty for all others."""
    message: "Part | None" = None
    """What a message/rfc822 holds."""


def header_end(octets: bytes, start: int = 0, end: int | None = None) -> int:
    """The position behind the empty line that ends a header; without one, all up to `end` is header."""
    end = len(octets) if end is None else end
    if octets.startswith((b"\r\n", b"\n"), start, end):
        return octets.index(b"\n", start) + 1
    with_cr = octets.find(b"\n\r\n", start, end)
    without = octets.find(b"\n\n", start, end if with_cr < 0 else with_cr + 1)
    if without >= 0:
        return without + 2
    return with_cr + 3 if with_cr >= 0 else end


def structure(octets: bytes) -> Part:
    """The message that `octets` are."""
    return _Reader(octets).read()


class _Open:
    """A multipart or a message/rfc822 whose end has not been seen."""

    __slots__ = ("_content", "_start", "at", "body", "delimiter", "found", "parts")

    def __init__(self, start: int, body: int, content: Content, boundary: bytes = b"") -> None:
        self._start = start
        self.body = body
        self._content = content
        self.parts: list[Part] = []
        self.delimiter = b"\n--" + boundary if boundary else b""
        """Empty: none is looked for (any more)."""
        self.at = body
        """Where the `--` of the next delimiter is, if `found`; or else there is none before."""
        self.found = False

    @property
    def default(self) -> Content:
        """What the next part is if it does not say."""
        return DIGESTED if self._content.media == b"multipart/digest" else PLAIN

    def closed(self, end: int) -> Part:
        end = max(self.body, end)
        if self._content.type.lower() == b"message":
            return Part(self._start, self.body, end, self._content, message=self.parts[0])
        parts = tuple(self.parts) or (Part(end, end, end, PLAIN),)  # none is not allowed: RFC 9051 §9, body-type-mpart
        return Part(self._start, self.body, end, self._content, parts)


class _Reader:
    """One walk over the octets, with a stack instead of recursion."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._open: list[_Open] = []
        """From the outermost inwards."""
        self._count = 0
        self._root: Part | None = None

    def read(self) -> Part:
        start, default = 0, PLAIN
        while self._root is None:
            position = self._begin(start, default)
            if position is None:  # a message, which begins where its holder's body does
                start, default = self._open[-1].body, PLAIN
            else:
                start, default = self._next_part(position)
        return self._root

    def _begin(self, start: int, default: Content) -> int | None:
        """Read the header of the entity at `start`: where to look for the next delimiter; None: at a message."""
        self._count += 1
        if self._count == MAX_PARTS:
            for multipart in self._open:
                multipart.delimiter = b""
        _, at = self._next_delimiter(start)
        end = max(start, self._before(at))
        body = header_end(self._octets, start, end)
        what = content(self._octets[start : min(body, start + MAX_HEADER_OCTETS)], default)
        kind = what.type.lower()
        full = len(self._open) == MAX_DEPTH or self._count == MAX_PARTS
        if kind == b"multipart":
            boundary = parameter(what.parameters, b"boundary") or b""
            if not boundary.strip():
                what = what._replace(type=PLAIN.type, subtype=PLAIN.subtype, parameters=())
            elif not full:
                # An empty line right before what seemed a delimiter around: its own may be longer.
                body = header_end(self._octets, start, at)
                self._open.append(_Open(start, body, what, boundary))
                return body
        elif kind == b"message" and what.subtype.lower() in (b"rfc822", b"global") and not full:
            if what.transfer_encoding in transfer.IDENTITY:
                self._open.append(_Open(start, body, what))
                return None
            self._add(Part(start, body, end, what, message=Part(end, end, end, PLAIN)))
            return end
        if full:
            what = what._replace(type=b"application", subtype=b"octet-stream")
        self._add(Part(start, body, end, what))
        return end

    def _next_part(self, position: int) -> tuple[int, Content]:
        """Close what ends at or after `position`, up to where the next part begins."""
        while self._open:
            multipart, at = self._next_delimiter(position)
            end = self._before(at)
            while self._open and self._open[-1] is not multipart:
                self._add(self._open.pop().closed(end))
            if multipart is None:
                break
            if not self._octets.startswith(b"--", at - 1 + len(multipart.delimiter)):
                line_end = self._octets.find(b"\n", at)
                return line_end + 1 or len(self._octets), multipart.default
            multipart.delimiter = b""
            position = at + 1
        return len(self._octets), PLAIN

    def _next_delimiter(self, position: int) -> tuple[_Open | None, int]:
        """Whose delimiter is the first at or after `position`, and where; None: nobody's, at the end of the octets."""
        first: _Open | None = None
        limit = len(self._octets)
        for multipart in self._open:
            delimiter = multipart.delimiter
            if not delimiter:
                continue
            if multipart.at < position or not (multipart.found or multipart.at > limit):
                line_end = self._octets.find(
                    delimiter, max(position, multipart.at) - 1, max(0, limit - 1 + len(delimiter))
                )
                multipart.found = line_end >= 0
                multipart.at = (line_end if multipart.found else limit) + 1
            if (
                multipart.found
                and multipart.at <= limit
                and (first is None or multipart.at < limit or len(delimiter) >= len(first.delimiter))
            ):
                first, limit = multipart, multipart.at
        return first, limit

    def _before(self, at: int) -> int:
        """Where the line before the delimiter at `at` ends: its line end belongs to the delimiter. RFC 2046 §5.1.1."""
        if at == len(self._octets):
            return at
        return at - 2 if self._octets.startswith(b"\r", at - 2) else at - 1

    def _add(self, part: Part) -> None:
        if self._open:
            self._open[-1].parts.append(part)
        else:
            self._root = part
