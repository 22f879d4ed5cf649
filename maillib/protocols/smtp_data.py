"""The data of one SMTP message: where it ends, and its octets without the dots that were added. RFC 5321 §4.5.2.

Only CRLF.CRLF ends it, in whatever pieces it comes. A CR or LF that stands alone is what other readers may take for a
line end ("SMTP smuggling"): it ends nothing here and is reported, so that the message can be refused at its real end.

Pieces are searched as a whole, never line by line.
"""

from io import IncrementalNewlineDecoder

_END = b"\r\n.\r\n"
_BEGINNINGS = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
"""Of the end, the longest first."""
_DOT = b"\r\n."
"""One that was added, or the end."""


class DataDecoder:
    """Takes the octets behind the 354 in pieces; keeps at most four of them."""

    __slots__ = ("_held", "_line_ends", "_surplus")

    def __init__(self) -> None:
        self._held = b"\r\n"
        """Perhaps the start of the end. The message begins at the start of a line, as if a CRLF had come before."""
        self._surplus = 2
        """So many octets are still to be cut off: that CRLF was never sent."""
        self._line_ends = IncrementalNewlineDecoder(None, translate=False)
        """Decodes nothing: it sees what kinds of line ends there are, in a quarter of the time that counting takes."""

    @property
    def has_bare_line_end(self) -> bool:
        """A CR without LF or a LF without CR was seen."""
        return self._line_ends.newlines not in (None, "\r\n")

    def feed(self, piece: bytes) -> tuple[bytes, bytes | None]:
        """Octets of the message, and what follows its end; None: the end has not come yet."""
        data = self._held + piece
        dot = data.find(_DOT)
        end = dot if dot < 0 or data.startswith(_END, dot) else data.find(_END, dot)
        if end >= 0:
            return self._decode(data[: end + 2], dotted=dot < end), data[end + len(_END) :]
        self._held = next(filter(data.endswith, _BEGINNINGS), b"")
        return self._decode(data.removesuffix(self._held), dotted=dot >= 0), None

    def _decode(self, data: bytes, *, dotted: bool) -> bytes:
        """`data` never ends between CR and LF, nor between CRLF and a dot."""
        if not data:
            return b""
        self._line_ends.decode(data.decode("latin-1"), final=True)
        surplus, self._surplus = self._surplus, 0
        return (data.replace(_DOT, b"\r\n") if dotted else data)[surplus:]
