"""Where a command line ends, however the octets come."""

import pytest

from maillib.protocols.smtp import Refused
from maillib.protocols.smtp_lines import LONGEST_LINE, CommandLines


def lines_of(*pieces: bytes) -> list[bytes]:
    lines = CommandLines()
    found = []
    for piece in pieces:
        lines.receive(piece)
        while (line := lines.line()) is not None:
            found.append(line)
    return found


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
def test_lines_in_pieces(cut: int) -> None:
    """A line is whole when its CRLF has come; empty ones count."""
    octets = b"EHLO me\r\n\r\nMAIL\rX\r\nhalf"
    pieces = [octets[at : at + cut] for at in range(0, len(octets), cut)]
    assert lines_of(*pieces) == [b"EHLO me", b"", b"MAIL\rX"]


@pytest.mark.parametrize("octets", [b"\n", b"NOOP\n", b"NOOP\r\n\n", b"NOOP\r\nX\n\r\n"])
def test_a_bare_lf_ends_it(octets: bytes) -> None:
    """An LF alone is no line end, and nothing behind it can be trusted to be a command."""
    with pytest.raises(Refused, match="Lines end with CRLF"):
        lines_of(octets)


@pytest.mark.parametrize("end", [b"", b"\r\n"])
@pytest.mark.parametrize("before", [b"", b"NOOP\r\n"])
def test_a_line_without_end(before: bytes, end: bytes) -> None:
    """A line longer than the bound is refused, whether its end has come with it or not; one octet less is a line."""
    most = b"x" * (LONGEST_LINE - 1)
    assert lines_of(before + most + b"\r\n")[-1] == most
    with pytest.raises(Refused, match="Line too long"):
        lines_of(before + most + b"xx" + end)


def test_take_leaves_nothing() -> None:
    """What was not given out as a line can be taken whole, once."""
    lines = CommandLines()
    lines.receive(b"DATA\r\nfirst\r\n.\r\n")
    assert (lines.line(), lines.is_empty) == (b"DATA", False)
    assert (lines.take(), lines.is_empty) == (b"first\r\n.\r\n", True)
    assert lines.take() == b""
