"""The writer of our own header fields."""

import pytest

from maillib.errors import LocalError
from maillib.message.header import delivery_prefix, field, one_line

LINE_ENDS = ["\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\ud800", "\x7f"]


def test_field_is_folded_between_its_lines() -> None:
    """Each further line of a value begins with a tab."""
    assert field("To", "<a@x.test>,", "<b@x.test>") == b"To: <a@x.test>,\r\n\t<b@x.test>\r\n"


def test_utf8_is_kept() -> None:
    """Letters beyond ASCII are written as UTF-8, a no-break space too."""
    assert field("To", "jürgen\u00a0ü") == "To: jürgen\u00a0ü\r\n".encode()


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
def test_nothing_that_ends_a_line_gets_in(end: str) -> None:
    """What any reader may take for a line end is refused in a field, and made a space by `one_line`."""
    with pytest.raises(LocalError):
        field("Subject", f"a{end}Bcc: victim@x.test")
    assert one_line(f" a{end}b ", most=100) == "a b"


def test_one_line_is_cut() -> None:
    """A text is no longer than asked for."""
    assert one_line("x" * 1000, most=10) == "x" * 10


def test_delivery_prefix() -> None:
    """Return-Path comes first, the null reverse-path is written as such."""
    assert delivery_prefix(sender="", recipient="a@x.test") == b"Return-Path: <>\r\nDelivered-To: a@x.test\r\n"
