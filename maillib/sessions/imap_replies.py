"""What an IMAP client is told when something does not work. RFC 9051 §7.1, RFC 5530."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from maillib.errors import (
    AuthenticationFailed,
    Conflict,
    MailError,
    NotFound,
    OverQuota,
    PeerError,
    PermanentError,
    StoreFull,
    StoreUnusable,
    TemporaryError,
)
from maillib.protocols.imap import replies


class Refused(PeerError):
    """A command that is not served; the text is for the client."""

    def __init__(self, text: str, *, code: str | None = None, status: Literal["NO", "BAD"] = "NO") -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.status: Literal["NO", "BAD"] = status


class Bad(Refused):
    """A command that cannot be given here, or not with these arguments."""

    def __init__(self, text: str, *, code: str | None = None) -> None:
        super().__init__(text, code=code, status="BAD")


class MailboxGone(PeerError):
    """The selected mailbox was deleted: its numbers mean nothing any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client is told about an error."""

    code: str
    text: str


REPLIES: Mapping[type[MailError], Reply] = {  # the nearest class on the MRO wins
    AuthenticationFailed: Reply("AUTHENTICATIONFAILED", "user name or password is wrong"),
    Conflict: Reply("ALREADYEXISTS", "there is a mailbox of that name"),
    NotFound: Reply("NONEXISTENT", "there is no such mailbox"),
    OverQuota: Reply("OVERQUOTA", "the quota does not allow it"),
    StoreFull: Reply("UNAVAILABLE", "no space is left here, try again later"),
    StoreUnusable: Reply("CORRUPTION", "that cannot be read now"),
    TemporaryError: Reply("UNAVAILABLE", "that does not work now, try again later"),
    PermanentError: Reply("CANNOT", "that does not work"),
}


def refusal_of(error: MailError) -> Refused:
    """What the client is told; cause and trace are for the log."""
    reply = next(REPLIES[kind] for kind in type(error).__mro__ if kind in REPLIES)
    return Refused(reply.text, code=reply.code)


def refusal(tag: str, refused: Refused) -> bytes:
    return replies.tagged(tag, refused.status, refused.text, code=refused.code)
