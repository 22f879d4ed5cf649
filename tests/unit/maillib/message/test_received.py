"""The fields that are put before a message."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from maillib.errors import LocalError
from maillib.message.received import Hop, date, protocol, received

HOP = Hop(
    client_name="client.test",
    client_host="192.0.2.1",
    hostname="mail.example.test",
    queue_id="Q1",
    extended=True,
    cipher=None,
    authenticated=False,
    smtputf8=False,
    recipient=None,
    when=datetime(2026, 3, 1, 7, 8, 9, tzinfo=UTC),
)


def test_received() -> None:
    """Who handed what to whom, how, and when, on folded lines."""
    assert received(HOP) == (
        b"Received: from client.test ([192.0.2.1])\r\n"
        b"\tby mail.example.test with ESMTP id Q1;\r\n"
        b"\tSun, 1 Mar 2026 07:08:09 +0000\r\n"
    )


def test_received_under_tls_for_one() -> None:
    """The cipher, the only recipient and an IPv6 client are named."""
    hop = replace(HOP, client_host="2001:db8::1", cipher="TLSv1.3 X", recipient="alice@example.test")
    assert received(hop) == (
        b"Received: from client.test ([IPv6:2001:db8::1])\r\n"
        b"\tby mail.example.test with ESMTPS id Q1\r\n"
        b"\t(using TLSv1.3 X)\r\n"
        b"\tfor <alice@example.test>;\r\n"
        b"\tSun, 1 Mar 2026 07:08:09 +0000\r\n"
    )


@pytest.mark.parametrize(
    ("extended", "tls", "authenticated", "smtputf8", "word"),
    [
        (False, False, False, False, "SMTP"),
        (False, True, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, True, False, False, "ESMTPS"),
        (True, False, True, False, "ESMTPA"),
        (True, True, True, False, "ESMTPSA"),
        (True, False, False, True, "UTF8SMTP"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_protocol(extended: bool, tls: bool, authenticated: bool, smtputf8: bool, word: str) -> None:
    """The word after `with` says what was used. RFC 3848, RFC 6531 §4.3."""
    cipher = "TLSv1.3 X" if tls else None
    hop = replace(HOP, extended=extended, cipher=cipher, authenticated=authenticated, smtputf8=smtputf8)
    assert protocol(hop) == word


@pytest.mark.parametrize("text", ["x\r\nEvil: y", "x\u0085y", "x\u2028y", "x\0y"])
def test_no_header_injection(text: str) -> None:
    """A part that would begin a line of its own is an error of ours, never a line."""
    with pytest.raises(LocalError):
        received(replace(HOP, client_name=text))


def test_date_in_another_zone() -> None:
    """Dates keep the zone they are in."""
    assert date(datetime(2026, 12, 24, 18, 0, tzinfo=timezone(timedelta(hours=-3)))) == (
        "Thu, 24 Dec 2026 18:00:00 -0300"
    )
