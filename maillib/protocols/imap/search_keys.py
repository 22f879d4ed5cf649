"""What SEARCH, SORT and THREAD look for: a tree, at most 50 levels deep. RFC 9051 §6.4.4.

Keys that are others in disguise are written as those: UNSEEN is Not(Flag("\\Seen")), FROM x is Header("FROM", x), NEW
is And of Recent and UNSEEN. Strings are decoded already.
"""

from dataclasses import dataclass
from datetime import date
from enum import Enum

from maillib.protocols.imap.sequences import Messages


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class Recent:
    """RFC 3501 §2.3.2; IMAP4rev2 has it no more."""


@dataclass(frozen=True, slots=True)
class Flag:
    """With this flag or keyword, compared without case."""

    flag: str


@dataclass(frozen=True, slots=True)
class Header:
    """Has a field of that name whose decoded text contains `text`, without case; empty: has such a field."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Body:
    """The text of the body contains it."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """The header or the text of the body contains it."""

    text: str


class When(Enum):
    """How a day is compared with the one that was given."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"
    """On it or after it."""


class DateOf(Enum):
    """Which day of a message is meant: without regard to time and zone."""

    INTERNAL = ""
    SENT = "SENT"
    """The header's Date."""


@dataclass(frozen=True, slots=True)
class Dated:
    what: DateOf
    when: When
    day: date


@dataclass(frozen=True, slots=True)
class Larger:
    octets: int


@dataclass(frozen=True, slots=True)
class Smaller:
    octets: int


@dataclass(frozen=True, slots=True)
class Older:
    """Internal date at least so long ago. RFC 5032 §3."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Younger:
    """Internal date at most so long ago. RFC 5032 §3."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Numbers:
    messages: Messages
    uid: bool
    """UIDs are meant, not message numbers. `$` is the same either way."""


@dataclass(frozen=True, slots=True)
class ModSeqFrom:
    """Changed at or after; of one flag or of all is not told apart. RFC 7162 §3.1.5."""

    modseq: int


@dataclass(frozen=True, slots=True)
class Not:
    key: "Key"


@dataclass(frozen=True, slots=True)
class Or:
    either: "Key"
    other: "Key"


@dataclass(frozen=True, slots=True)
class And:
    keys: tuple["Key", ...]
    """At least two."""


Leaf = All | Recent | Flag | Header | Body | Text | Dated | Larger | Smaller | Older | Younger | Numbers | ModSeqFrom
Key = Leaf | Not | Or | And


class SortKey(Enum):
    """RFC 5256 §3, RFC 5957 §3."""

    ARRIVAL = "ARRIVAL"
    CC = "CC"
    DATE = "DATE"
    DISPLAYFROM = "DISPLAYFROM"
    DISPLAYTO = "DISPLAYTO"
    FROM = "FROM"
    SIZE = "SIZE"
    SUBJECT = "SUBJECT"
    TO = "TO"


@dataclass(frozen=True, slots=True)
class SortBy:
    key: SortKey
    reverse: bool


class ThreadAlgorithm(Enum):
    """RFC 5256 §3."""

    ORDEREDSUBJECT = "ORDEREDSUBJECT"
    REFERENCES = "REFERENCES"
