"""What is derived from messages, kept so that nobody has to read them again: how they look in a list, and their text.

All of it can be made anew from the octets, by whoever needs it (`sessions.imap_derive`). So an index may have it or
not, at any time and for any message; what it has is of this `VERSION`, and of the message with that UID.

Texts are folded as `maillib.message.text.fold` does: what is looked for in them has to be, too.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from maillib.ports.index import Uid

VERSION = 2
"""To be raised when any of it would come out otherwise, or is kept otherwise: an index forgets what is of an earlier
one."""


class Shown(Enum):
    """What lists of messages show of each, and clients ask for in all combinations."""

    ENVELOPE = "envelope"
    BODY = "body"
    """The structure without extension data."""
    BODYSTRUCTURE = "structure"
    PREVIEW = "preview"
    HEADER = "header"
    """As it is, with the empty line behind it."""


Values = tuple[bytes, ...]

ShownRow = tuple[Uid, *Values]
"""UID, and what was asked for in that order: a plain tuple, because there are tens of thousands of them."""


class View(NamedTuple):
    """How a message looks in a list, ready to be sent."""

    uid: Uid
    envelope: bytes
    body: bytes
    structure: bytes
    preview: bytes
    header: bytes

    def values(self, shown: Sequence[Shown]) -> Values:
        return tuple([getattr(self, each.value) for each in shown])


class Heading(NamedTuple):
    """What messages are sorted and put into threads by."""

    uid: Uid
    sent_s: int | None
    """Seconds of the Unix epoch; None: the header has no date that can be read."""
    sent_day: int | None
    """The day where its author was, as `date.toordinal` counts."""
    subject: str
    """Decoded and folded; empty where there is none; a line for each field that is called so."""
    from_: str
    """Local part of the first address, folded; empty: none. So are `to` and `cc`. RFC 5256 §3."""
    to: str
    cc: str
    display_from: str
    """Name of the first address or else the address, folded. RFC 5957 §3."""
    display_to: str
    message_id: str
    """Empty: none that can be read. RFC 5256 §2.2 says how these are read."""
    references: str
    """Ids of the messages that it follows, from the first one on, each with a space behind it."""


class Texts(NamedTuple):
    """Where a search looks, folded."""

    header: str
    """A line `name: value` for each field, with a line end before and behind."""
    part_headers: str
    """The same of the parts of multiparts."""
    body: str


class Derived(NamedTuple):
    """All that is derived from one message."""

    view: View
    heading: Heading
    texts: Texts


class Found(NamedTuple):
    """What a search has found among some messages, both in UID order."""

    known: Sequence[Uid]
    """Messages that were looked at; of the others nobody can say."""
    uids: Sequence[Uid]
    """Those of them that have it."""


class Where(Enum):
    """In which text something is looked for."""

    FROM = "from"
    """The fields of that name; so are the next ones."""
    TO = "to"
    CC = "cc"
    BCC = "bcc"
    SUBJECT = "subject"
    HEADER = "header"
    """All fields, names included."""
    BODY = "body"
    """The text of the body."""
    TEXT = "text"
    """Anywhere."""


def contains(texts: Texts, where: Where | str, text: str) -> bool:
    """As `Index.containing` says."""
    match where:
        case Where.TEXT:
            return any(text in each for each in texts)
        case Where.HEADER:
            return text in texts.header
        case Where.BODY:
            return text in texts.body
        case _:
            name = where.value if isinstance(where, Where) else where
            return any(text in value for value in values_of(texts.header, name))


def values_of(header: str, name: str) -> list[str]:
    """Of the fields called `name`, which is in lower case, in a text as `Texts.header` is."""
    start = f"\n{name}:"
    found = []
    at = header.find(start)
    while at >= 0:
        end = header.index("\n", at + 1)
        found.append(header[at + len(start) : end].removeprefix(" "))
        at = header.find(start, end)
    return found
