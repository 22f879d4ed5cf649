"""What an SMTP client has sent and nobody has looked at yet: command lines, and the octets of a message between them.

A line ends with CRLF and nothing else. An LF alone, or a line that does not end, leaves no way to tell where the next
command begins: the reply is the last one of the session. RFC 5321 §2.3.8.
"""

from maillib.protocols.smtp import Refused

LONGEST_LINE = 32 * 1024
"""Octets. A line that has not ended by then never will; none that we understand is half as long."""


_CR = 13


class CommandLines:
    """One for each connection."""

    __slots__ = ("_at", "_buffer")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        """What is before it has been given out."""

    def receive(self, octets: bytes) -> None:
        self._buffer = self.take() + octets

    def line(self) -> bytes | None:
        """The next line, without its end; None: it has not come yet. Raises Refused when there is no next one."""
        start = self._at
        end = self._buffer.find(b"\n", start)
        if (len(self._buffer) if end < 0 else end) - start > LONGEST_LINE:
            raise Refused(500, "5.5.2", "Line too long")
        if end < 0:
            return None
        if end == start or self._buffer[end - 1] != _CR:
            raise Refused(500, "5.5.2", "Lines end with CRLF; an LF alone is not accepted")
        self._at = end + 1
        return self._buffer[start : end - 1]

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._buffer)

    def take(self) -> bytes:
        """All there is, which may be nothing: a message is on its way, or what came in clear is to be forgotten."""
        octets = self._buffer[self._at :] if self._at else self._buffer
        self._buffer = b""
        self._at = 0
        return octets
