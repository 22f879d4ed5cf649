"""Settings of the SMTP service."""

from dataclasses import dataclass
from typing import Annotated

from maillib.settings.base import Octets, Range, Seconds
from maillib.settings.change import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """`settings` of a service with `protocol: smtp`."""

    max_message_size: Annotated[Octets, Range(1024, 2**31), Change.LIVE] = 52_428_800
    """Largest message accepted, octets; announced in EHLO as SIZE. RFC 1870 §3."""
    max_recipients: Annotated[int, Range(100, 50_000), Change.LIVE] = 1000
    """Most recipients of one message; one more is told 452. RFC 5321 §4.5.3.1.8."""
    command_timeout: Annotated[Seconds, Range(1, 3600), Change.LIVE] = 300.0
    """How long a session may say nothing before it is told 421. RFC 5321 §4.5.3.2.7."""
    max_errors: Annotated[int, Range(1, 1000), Change.LIVE] = 20
    """Errors of one session before it is told 421; from half of them on, replies are delayed."""
    max_idle_commands: Annotated[int, Range(10, 100_000), Change.LIVE] = 100
    """Commands of one session that send no mail (EHLO, RSET, NOOP, VRFY, HELP, a recipient named again) before it is
    told 421; an accepted message begins the count anew."""
    max_received: Annotated[int, Range(10, 1000), Change.LIVE] = 50
    """Received header fields above which a message is taken for looping and refused. RFC 5321 §6.3."""
