"""The fields that are put before a message."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from maillib.errors import LocalError
from maillib.message.received import (
    TRACE_OCTETS,
    Hop,
    Trace,
    date,
    protocol,
    received,
    received_from_here,
    trace,
)

HOP = Hop(
    client_name="client.test",
    client_host="192.0.2.1",
    hostname="mail.example.test",
    queue_id="Q1",
    sender="eve@elsewhere.test",
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
        b"\tby mail.example.test with ESMTP id Q1\r\n"
        b"\t(envelope-from <eve@elsewhere.test>);\r\n"
        b"\tSun, 1 Mar 2026 07:08:09 +0000\r\n"
    )


def test_received_under_tls_for_one() -> None:
    """The cipher, the only recipient and an IPv6 client are named."""
    hop = replace(HOP, client_host="2001:db8::1", cipher="TLSv1.3 X", recipient="alice@example.test")
    assert received(hop) == (
        b"Received: from client.test ([IPv6:2001:db8::1])\r\n"
        b"\tby mail.example.test with ESMTPS id Q1\r\n"
        b"\t(using TLSv1.3 X)\r\n"
        b"\t(envelope-from <eve@elsewhere.test>)\r\n"
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


@pytest.mark.parametrize(
    "sender", ["", "eve@elsewhere.test", "jürgen@example.test", '"a)b(c"@x.test', '"a\\"b>) x"@x.test', "a@[192.0.2.1]"]
)
@pytest.mark.parametrize("recipient", [None, "alice@example.test"])
@pytest.mark.parametrize("cipher", [None, "TLSv1.3 X"])
def test_trace(sender: str, recipient: str | None, cipher: str | None) -> None:
    """Queue ID and reverse-path are found again in the field that names them, whatever the address holds."""
    octets = received(replace(HOP, sender=sender, recipient=recipient, cipher=cipher))
    assert trace(octets + b"Subject: x\r\n\r\n") == Trace("Q1", sender)


def test_trace_of_the_longest_field() -> None:
    """So many octets are enough to find what is asked for."""
    domain = ".".join(["d" * 63] * 3) + "." + "d" * 61
    sender = "\N{GRINNING FACE}" * 16 + f"@{domain}"
    hop = replace(HOP, client_name="c" * 255, hostname=domain, sender=sender, recipient=sender, cipher="T" * 80)
    assert trace(received(hop)[:TRACE_OCTETS]) == Trace("Q1", sender)


def test_trace_of_our_own_message() -> None:
    """What this host wrote itself has the null reverse-path; what it sends on for a list, that of the list's owner."""
    octets = received_from_here(hostname="mail.example.test", queue_id="Q1B1", when=HOP.when)
    assert octets == (
        b"Received: by mail.example.test id Q1B1\r\n\t(envelope-from <>);\r\n\tSun, 1 Mar 2026 07:08:09 +0000\r\n"
    )
    assert trace(octets) == Trace("Q1B1", "")
    owner = "team-owner@example.test"
    octets = received_from_here(hostname="mail.example.test", queue_id="Q1L0", when=HOP.when, sender=owner)
    assert trace(octets) == Trace("Q1L0", owner)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"Return-Path: <a@x.test>\r\n" + received(HOP),
        b"Received: from x by y id Q1; Sun, 1 Mar 2026 07:08:09 +0000\r\n",
        b"Received: from x ([1.2.3.4])\r\n\tby y with SMTP id Q1\r\n\tfor <(envelope-from <a@x.test>)>;\r\n",
    ],
)
def test_no_trace(octets: bytes) -> None:
    """Another host's field, or one further down, is none of ours."""
    assert trace(octets) is None


def test_trace_is_not_the_clients() -> None:
    """What a client calls itself is not taken for the reverse-path."""
    name = "x\t(envelope-from <evil@x.test>) by y id Q2"
    with pytest.raises(LocalError):
        received(replace(HOP, client_name=name))
    assert trace(received(replace(HOP, client_name=name.replace("\t", " ")))) == Trace("Q1", HOP.sender)
