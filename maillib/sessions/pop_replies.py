"""What a POP client is told when something does not work. RFC 2449 §8, RFC 3206."""

from collections.abc import Mapping
from dataclasses import dataclass

from maillib.errors import (
    AuthenticationFailed,
    Conflict,
    MailError,
    NotFound,
    PeerError,
    PermanentError,
    TemporaryError,
    TooSoon,
)
from maillib.protocols.pop3 import err


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client is told about an error."""

    code: str | None
    text: str


REPLIES: Mapping[type[MailError], Reply] = {  # the nearest class on the MRO wins
    AuthenticationFailed: Reply("AUTH", "user name or password is wrong"),
    Conflict: Reply("IN-USE", "another session has this maildrop"),
    TooSoon: Reply("LOGIN-DELAY", "you were here only just now"),
    NotFound: Reply(None, "no such message"),
    TemporaryError: Reply("SYS/TEMP", "that does not work now, try again later"),
    PermanentError: Reply("SYS/PERM", "that does not work"),
}


def reply_to(error: MailError) -> bytes:
    """What the client is told; cause and trace are for the log."""
    reply = next(REPLIES[kind] for kind in type(error).__mro__ if kind in REPLIES)
    return err(reply.text, reply.code)


class Refused(PeerError):
    """A command that is not served; the text is for the client."""
