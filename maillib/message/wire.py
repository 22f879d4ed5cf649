"""What makes octets of a message fit for the wire: one kind of line end, then the dots. RFC 1939 §3, RFC 5321 §4.5.2.

Stored messages have CRLF at every line's end and pass unchanged. Where one does not, a CR or LF that stands alone
becomes CRLF *before* dots are stuffed, so that no reader, whatever it takes for a line end, finds an end of data that
we did not write. Both classes take a message in pieces cut anywhere and keep at most one octet.
"""

import re

_ANY_LINE_END = re.compile(rb"\r\n|\r|\n")


def whole(message: bytes) -> bytes:
    """All of a message, with the end of data: what `CrlfLines` and then `DotStuffer` give, at once."""
    message = _with_crlf(message)
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if message.endswith(b"\r\n") or not message else b"\r\n.\r\n")


def _with_crlf(data: bytes) -> bytes:
    pairs = data.count(b"\r\n")
    if data.count(b"\n") == pairs and data.count(b"\r") == pairs:
        return data
    return _ANY_LINE_END.sub(b"\r\n", data)


class CrlfLines:
    """Makes every line end CRLF."""

    def __init__(self) -> None:
        self._held = b""
        """A CR whose LF may come with the next piece."""

    def feed(self, piece: bytes) -> bytes:
        """The octets that are certain by now; never ends between CR and LF."""
        data = self._held + piece
        self._held = b""
        if data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        return _with_crlf(data)

    def finish(self) -> bytes:
        """What is left at the message's end."""
        held, self._held = self._held, b""
        return b"\r\n" if held else b""


class DotStuffer:
    """Doubles the dot at the start of a line, and ends the data. Takes what `CrlfLines` gives."""

    def __init__(self) -> None:
        self._at_line_start = True

    def feed(self, piece: bytes) -> bytes:
        if not piece:
            return b""
        stuffed = piece.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = piece.endswith(b"\r\n")
        return stuffed

    def finish(self) -> bytes:
        """The line end that the last line lacks, if it does, and the line that ends the data."""
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"
