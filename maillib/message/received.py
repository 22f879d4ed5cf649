"""The header fields that we put in front of a message: Received, and for submission Date and Message-ID.

Guarantees: whatever the parts hold, each field ends where it should (`header.field`).
"""

from dataclasses import dataclass
from datetime import datetime

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
    *first, last = [
        f"from {hop.client_name} ([{host}])",
        f"by {hop.hostname} with {protocol(hop)} id {hop.queue_id}",
        *([f"(using {hop.cipher})"] if hop.cipher else []),
        *([f"for <{hop.recipient}>"] if hop.recipient else []),
    ]
    return field("Received", *first, f"{last};", date(hop.when))


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
    day = f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year:04}"
    return f"{day} {when:%H:%M:%S %z}"
