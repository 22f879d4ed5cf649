"""Headers in UTF-8 for readers of ASCII: what stays, what is encoded, what goes. RFC 6858."""

from email import message_from_bytes
from email.message import Message
from email.policy import default

import pytest

from maillib.message import downgrade
from maillib.message.downgrade import INVALID, Downgrade, downgraded


def parsed(header: str) -> Message:
    """As another implementation understands the downgraded header."""
    octets = downgraded(header.encode())
    assert octets.isascii()
    assert all(len(line) <= 78 for line in octets.split(b"\r\n") if b"=?" in line and INVALID.encode() not in line)
    return message_from_bytes(octets + b"\r\n", policy=default)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("From: Jörg <joerg@example.test>", "Jörg <joerg@example.test>"),
        ('From: "Jörg \\"x\\", jr" <joerg@example.test>', '"Jörg \\"x\\", jr" <joerg@example.test>'),
        ("From: jörg@example.test", f'"jörg@example.test" <{INVALID}>'),
        ("From: <jörg@example.test>", f'"jörg@example.test" <{INVALID}>'),
        ("From: Jörg <jörg@bücher.example>", f'"Jörg <jörg@bücher.example>" <{INVALID}>'),
        ("To: a@example.test, ö@example.test", f'a@example.test, "ö@example.test" <{INVALID}>'),
        ('To: "a, b" <ab@example.test>, Ö <o@example.test>', '"a, b" <ab@example.test>, Ö <o@example.test>'),
        ("Cc: Ö\r\n <o@example.test>,\r\n\tp@example.test", "Ö <o@example.test>, p@example.test"),
        ("To: team: a@example.test, ö@example.test;", f'"team: a@example.test, ö@example.test;" <{INVALID}>'),
        ("Subject: Grüße", "Grüße"),
        ("Subject: " + "日本語" * 40, "日本語" * 40),
        ("Content-Type: text/plain; name=ä; charset=utf-8", 'text/plain; charset="utf-8"'),
        ("Content-Disposition: attachment; filename=ä", "attachment"),
    ],
)
def test_what_can_be_said_is_said(field: str, expected: str) -> None:
    """Another implementation reads out of the encoded field what was in it, and an address that answers nobody."""
    ((_, value),) = parsed(field + "\r\n").items()
    assert str(value) == expected


@pytest.mark.parametrize(
    "field", ["X-Note: ä", "Received: from ä", "Return-Path: <ä@example.test>", "Content-Type: ä/b; c=d", "Sübject: x"]
)
def test_what_cannot_be_said_goes(field: str) -> None:
    """A field that is not ASCII and has no other form is left out; its neighbours are not touched."""
    header = f"A: 1\r\n{field}\r\n 2\r\nB:  x\r\n\ty\r\n".encode()
    assert downgraded(header) == b"A: 1\r\nB:  x\r\n\ty\r\n"


@pytest.mark.parametrize("header", [b"", b"Subject: x\r\n", b"Subject: \xe9\r\nFrom: \xc3\xa4\r\n", b"no field\r\n"])
def test_what_is_no_utf8_passes(header: bytes) -> None:
    """A header in ASCII has no need of it, one in some other charset is no internationalized header."""
    assert downgraded(header) == header


def test_the_body_is_not_touched() -> None:
    """Only the header is looked at, wherever the message is cut; a header without a body is one, too."""
    message = "Subject: ä\r\n\r\nSubject: ä\r\n".encode()
    expected = b"Subject: =?utf-8?B?w6Q=?=\r\n\r\nSubject: \xc3\xa4\r\n"
    for cut in range(len(message)):
        filtered = Downgrade()
        assert filtered.feed(message[:cut]) + filtered.feed(message[cut:]) + filtered.finish() == expected
    filtered = Downgrade()
    assert filtered.feed(b"Subject: \xc3\xa4") + filtered.finish() == b"Subject: =?utf-8?B?w6Q=?=\r\n"


def test_a_header_without_end_is_not_kept() -> None:
    """Past the limit everything passes as it comes."""
    filtered = Downgrade()
    header = b"Subject: \xc3\xa4\r\n" + b"X: y\r\n" * (downgrade.MAX_HEADER_OCTETS // 6)
    assert filtered.feed(header) == header
    assert filtered.feed(b"more") == b"more"
    assert filtered.finish() == b""
