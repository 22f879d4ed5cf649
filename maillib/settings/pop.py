"""Settings of the POP service."""

from dataclasses import dataclass
from typing import Annotated

from maillib.settings.base import Range, Seconds
from maillib.settings.change import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class PopSettings:
    """`settings` of a service with `protocol: pop`."""

    idle_timeout: Annotated[Seconds, Range(1, 86_400), Change.LIVE] = 600.0
    """How long a session may say nothing before it is closed; at least 600 s by the standard. RFC 1939 §3."""
    login_timeout: Annotated[Seconds, Range(1, 3600), Change.LIVE] = 60.0
    """How long a client may take to log in."""
    max_errors: Annotated[int, Range(1, 1000), Change.LIVE] = 20
    """Errors of one session before it is closed."""
    takeover_after: Annotated[Seconds, Range(1, 86_400), Change.LIVE] = 30.0
    """A session whose client has said nothing for so long gives its maildrop up to the next log-in of the same user."""
    login_delay: Annotated[Seconds, Range(0, 86_400), Change.LIVE] = 0.0
    """Shortest time between two log-ins of one user, announced as LOGIN-DELAY; 0: none. RFC 2449 §6.5."""
