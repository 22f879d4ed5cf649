"""Settings of the IMAP service."""

from dataclasses import dataclass
from typing import Annotated

from maillib.settings.base import Octets, Range, Seconds
from maillib.settings.change import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapSettings:
    """`settings` of a service with `protocol: imap`."""

    idle_timeout: Annotated[Seconds, Range(60, 86_400), Change.LIVE] = 1800.0
    """How long a session may say nothing before it is closed, in IDLE too; at least 1800 s by the standard. RFC 9051
    §5.4."""
    login_timeout: Annotated[Seconds, Range(1, 3600), Change.LIVE] = 60.0
    """How long a client may take to log in."""
    max_errors: Annotated[int, Range(1, 1000), Change.LIVE] = 20
    """Errors of one session before it is closed."""
    max_message_size: Annotated[Octets, Range(1024, 2**31), Change.LIVE] = 52_428_800
    """Largest message that APPEND takes, announced as APPENDLIMIT. RFC 7889."""
