"""The header fields that we put in front of a message: Received, and for submission Date and Message-ID.

Guarantees: whatever the parts hold, each field ends where it should (`header.field`). Every message in the spool begins
with a Received field of ours, and `trace` finds its queue ID and reverse-path there again: a mailbox can be told from
its bodies alone.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from maillib.message.header import field

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """How a message came to us."""

    client_name: str
    """What the client called itself."""
    client_host: str
    """Its IP address, without brackets."""
    hostname: str
    """Ours."""
    queue_id: str
    sender: str
    """The reverse-path, without brackets; empty: the null one."""
    extended: bool
    """The client said EHLO."""
    cipher: str | None
    """`TLSv1.3 TLS_AES_256_GCM_SHA384`; None: no TLS."""
    authenticated: bool
    smtputf8: bool
    recipient: str | None
    """The only one; None: there are several, who need not know of one another."""
    when: datetime


def received(hop: Hop) -> bytes:
    """The Received field, with its line ends. RFC 5321 §4.4."""
    host = f"IPv6:{hop.client_host}" if ":" in hop.client_host else hop.client_host
    lines = [
        f"from {hop.client_name} ([{host}])",
        f"by {hop.hostname} with {protocol(hop)} id {hop.queue_id}",
        *([f"(using {hop.cipher})"] if hop.cipher else []),
        _reverse_path(hop.sender),
        *([f"for <{hop.recipient}>"] if hop.recipient else []),
    ]
    return field("Received", *lines[:-1], f"{lines[-1]};", date(hop.when))


def received_from_here(*, hostname: str, queue_id: str, when: datetime, sender: str = "") -> bytes:
    """The Received field of a message that this host sends of its own; `sender` is as in `Hop`."""
    return field("Received", f"by {hostname} id {queue_id}", f"{_reverse_path(sender)};", date(when))


@dataclass(frozen=True, slots=True)
class Trace:
    """What a Received field of ours says of a message."""

    queue_id: str
    sender: str
    """As in `Hop`."""


TRACE_OCTETS = 2048
"""A Received field of ours ends before that: names and addresses have limits of their own."""


def trace(octets: bytes) -> Trace | None:
    """What the field says that a message begins with; None: it is not one that we write.

    `octets`: the message, or its first `TRACE_OCTETS`.
    """
    match = _OURS.match(octets)
    if match is None:
        return None
    return Trace(match[1].decode("ascii"), re.sub(r"\\(.)", r"\1", match[2].decode("utf-8", "replace")))


# No part that a client chose begins a line, so what it says of itself is never taken for what we say.
_OURS = re.compile(
    rb"Received: (?:from [^\r\n]+\r\n\t)?by [^\r\n]+ id ([0-9A-Za-z]{1,32})\r\n(?:\t\(using [^\r\n]+\)\r\n)?"
    rb"\t\(envelope-from <([^\r\n]*)>\);?\r\n"
)


_QUOTED = str.maketrans({character: f"\\{character}" for character in "\\()"})
"""What has a meaning in a comment. RFC 5322 §3.2.2."""


def _reverse_path(sender: str) -> str:
    """As a comment, the way Exim writes it; RFC 5321 §4.4 has no clause for it."""
    return f"(envelope-from <{sender.translate(_QUOTED)}>)"


def protocol(hop: Hop) -> str:
    """The word after `with`. RFC 3848 §2, RFC 6531 §4.3."""
    if not hop.extended:
        return "SMTP"
    security = ("S" if hop.cipher else "") + ("A" if hop.authenticated else "")
    return ("UTF8SMTP" if hop.smtputf8 else "ESMTP") + security


def date_field(when: datetime) -> bytes:
    return field("Date", date(when))


def message_id_field(queue_id: str, hostname: str) -> bytes:
    return field("Message-ID", f"<{queue_id}@{hostname}>")


def date(when: datetime) -> str:
    """`when`, which knows its zone, as RFC 5322 §3.3 has it."""
    zone = "+0000" if when.tzinfo is UTC else f"{when:%z}"
    day = f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year:04}"
    return f"{day} {when.hour:02}:{when.minute:02}:{when.second:02} {zone}"
