"""What `ImapServer` tells a session.

A command is one event, but for APPEND: AppendBegun, then for each message AppendMessage and its octets in pieces as
AppendData, then AppendEnded. A BadCommand between them is the end of that APPEND, and nothing of it holds.
"""

from dataclasses import dataclass, field
from datetime import datetime

from maillib.protocols.imap.commands import Command


@dataclass(frozen=True, slots=True)
class Tagged:
    tag: str
    command: Command


@dataclass(frozen=True, slots=True)
class BadCommand:
    """A line that is no command; `replies.refusal` is what to answer."""

    tag: str | None
    """None: none could be read."""
    keyword: str
    """For the log: the name of a command that we know, else `unknown`; never what may hold a password."""
    reason: str
    """For the client."""
    code: str | None = None
    """A response code; what has one is answered NO. RFC 5530."""


@dataclass(frozen=True, slots=True)
class LiteralAnnounced:
    """The client waits with a literal until it is told to go on: the session sends `ImapServer.go_ahead()`."""

    octets: int


@dataclass(frozen=True, slots=True)
class AppendBegun:
    tag: str
    mailbox: str


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """A message comes. The session takes it by sending `ImapServer.go_ahead()` (nothing, where the client does not
    wait), or answers NO and calls `ImapServer.refuse_literal()`: then nothing more of that APPEND is told.
    """

    flags: tuple[str, ...]
    date: datetime | None
    """Aware. None: now."""
    octets: int
    """May be 0: the client gives the whole APPEND up. RFC 3502 §6.3.11."""
    utf8: bool = False
    """It came as UTF8 (...): its header may be in UTF-8. RFC 6855 §4."""
    binary: bool = False
    """It came as a literal8 and may hold NUL. RFC 3516 §4.4."""


@dataclass(frozen=True, slots=True)
class AppendData:
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppendEnded:
    """All messages are there; now the command is to be done."""


@dataclass(frozen=True, slots=True)
class SaslAnswer:
    """The answer to a challenge, decoded; None: the client gave up (`*`)."""

    data: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdleDone:
    """RFC 2177 §3."""


Event = (
    Tagged
    | BadCommand
    | LiteralAnnounced
    | AppendBegun
    | AppendMessage
    | AppendData
    | AppendEnded
    | SaslAnswer
    | IdleDone
)
