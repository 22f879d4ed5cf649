"""What an IMAP client may ask: one type for each command, in good order. RFC 9051 §6, RFC 3501 §6.

Mailbox names and other texts are decoded (`names`), strings unquoted, dates and numbers read; whether a command may be
given now, whether the mailbox is there and whether an extension is on is the session's to know. APPEND comes in pieces
and is in `events`.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from maillib.protocols.imap.fetch_items import FetchItem
from maillib.protocols.imap.search_keys import Key, SortBy, ThreadAlgorithm
from maillib.protocols.imap.sequences import Messages, SequenceSet


class Plain(Enum):
    """Commands without arguments."""

    CAPABILITY = "CAPABILITY"
    CHECK = "CHECK"
    CLOSE = "CLOSE"
    IDLE = "IDLE"
    """RFC 2177. The session says `+ idling` and calls `ImapServer.expect_done`."""
    LOGOUT = "LOGOUT"
    NAMESPACE = "NAMESPACE"
    NOOP = "NOOP"
    STARTTLS = "STARTTLS"
    UNSELECT = "UNSELECT"
    """RFC 3691."""


# Log-in


@dataclass(frozen=True, slots=True)
class Login:
    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """RFC 9051 §6.2.2, RFC 4959. For each challenge the session calls `ImapServer.expect_answer`."""

    mechanism: str
    """In upper case."""
    initial: bytes | None = field(repr=False)
    """Decoded; None: the client waits for the challenge."""


@dataclass(frozen=True, slots=True)
class Enable:
    """RFC 5161 §3.1."""

    names: tuple[str, ...]
    """In upper case, known here or not."""


@dataclass(frozen=True, slots=True)
class Id:
    """RFC 2971 §3.1."""

    fields: tuple[tuple[str, str | None], ...]
    """What the client says of itself; empty: it says nothing."""


@dataclass(frozen=True, slots=True)
class Compress:
    """RFC 4978 §3."""

    mechanism: str
    """In upper case."""


# Mailboxes


@dataclass(frozen=True, slots=True)
class Qresync:
    """What a client still knows of a mailbox. RFC 7162 §3.2.5."""

    uid_validity: int
    modseq: int
    known_uids: SequenceSet | None = None
    """None: all that the mailbox ever had. No `*`."""
    match_numbers: SequenceSet | None = None
    """Message numbers, ascending, that had ... §3.2.5.2. No `*`."""
    match_uids: SequenceSet | None = None
    """... these UIDs: of as many, in the same order."""


@dataclass(frozen=True, slots=True)
class Select:
    mailbox: str
    read_only: bool = False
    """EXAMINE."""
    condstore: bool = False
    qresync: Qresync | None = None


@dataclass(frozen=True, slots=True)
class Create:
    mailbox: str
    """A separator at the end, which says that mailboxes below it will follow, is still there. RFC 9051 §6.3.4."""
    special_use: tuple[str, ...] = ()
    """`\\Sent` and the like, spelled as the client did. RFC 6154 §3."""


@dataclass(frozen=True, slots=True)
class Delete:
    mailbox: str


@dataclass(frozen=True, slots=True)
class Rename:
    mailbox: str
    new_name: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    mailbox: str


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    mailbox: str


class StatusItem(Enum):
    """RFC 9051 §6.3.11, RFC 7162 §3.1.7, RFC 7889 §4, RFC 9208 §4.2."""

    MESSAGES = "MESSAGES"
    RECENT = "RECENT"
    UIDNEXT = "UIDNEXT"
    UIDVALIDITY = "UIDVALIDITY"
    UNSEEN = "UNSEEN"
    DELETED = "DELETED"
    DELETED_STORAGE = "DELETED-STORAGE"
    SIZE = "SIZE"
    HIGHESTMODSEQ = "HIGHESTMODSEQ"
    APPENDLIMIT = "APPENDLIMIT"


@dataclass(frozen=True, slots=True)
class Status:
    mailbox: str
    items: tuple[StatusItem, ...]


class Selection(Enum):
    """Which mailboxes LIST tells. RFC 5258 §3.1, RFC 6154 §5.2."""

    SUBSCRIBED = "SUBSCRIBED"
    REMOTE = "REMOTE"
    RECURSIVEMATCH = "RECURSIVEMATCH"
    SPECIAL_USE = "SPECIAL-USE"


class ListReturn(Enum):
    """What LIST tells of each mailbox besides its name. RFC 5258 §3.2, RFC 6154 §5.3."""

    SUBSCRIBED = "SUBSCRIBED"
    CHILDREN = "CHILDREN"
    SPECIAL_USE = "SPECIAL-USE"


@dataclass(frozen=True, slots=True)
class List:
    reference: str
    patterns: tuple[str, ...]
    """With `*` and `%`, decoded as mailbox names are; see `patterns`."""
    selection: frozenset[Selection] = frozenset()
    returns: frozenset[ListReturn] = frozenset()
    status: tuple[StatusItem, ...] = ()
    """A STATUS of each mailbox that is told. RFC 5819 §2."""
    extended: bool = False
    """It was written as RFC 5258 has it: an empty pattern then means a name, not the question for the separator."""


@dataclass(frozen=True, slots=True)
class Lsub:
    """RFC 3501 §6.3.9."""

    reference: str
    pattern: str


@dataclass(frozen=True, slots=True)
class GetQuota:
    root: str


@dataclass(frozen=True, slots=True)
class GetQuotaRoot:
    mailbox: str


@dataclass(frozen=True, slots=True)
class SetQuota:
    root: str
    limits: tuple[tuple[str, int], ...]
    """Resources, in upper case, with their limits."""


# Messages; with `uid`, UIDs are meant and told instead of message numbers. RFC 9051 §6.4.9


@dataclass(frozen=True, slots=True)
class Fetch:
    messages: Messages
    items: tuple[FetchItem, ...]
    """Macros are spelled out; what was asked for twice is still twice there."""
    uid: bool = False
    changed_since: int | None = None
    """RFC 7162 §3.1.4.1."""
    vanished: bool = False
    """RFC 7162 §3.2.6: only together with `uid` and `changed_since`."""


@dataclass(frozen=True, slots=True)
class Store:
    messages: Messages
    how: Literal["+", "-", "="]
    """Values of `ports.flags.FlagChange`."""
    flags: tuple[str, ...]
    """Without \\Recent, which no client can change."""
    silent: bool = False
    uid: bool = False
    unchanged_since: int | None = None
    """RFC 7162 §3.1.3."""


@dataclass(frozen=True, slots=True)
class Copy:
    messages: Messages
    mailbox: str
    uid: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """RFC 6851 §3."""

    messages: Messages
    mailbox: str
    uid: bool = False


@dataclass(frozen=True, slots=True)
class Expunge:
    uids: Messages | None = None
    """UID EXPUNGE: of these only. RFC 4315 §2.1."""


class SearchReturn(Enum):
    """RFC 4731 §3.1, RFC 5182 §2.1."""

    MIN = "MIN"
    MAX = "MAX"
    ALL = "ALL"
    COUNT = "COUNT"
    SAVE = "SAVE"


@dataclass(frozen=True, slots=True)
class Search:
    key: Key
    uid: bool = False
    returns: frozenset[SearchReturn] | None = None
    """None: answered as RFC 3501 has it, by SEARCH; else by ESEARCH. An empty RETURN () is ALL."""


@dataclass(frozen=True, slots=True)
class Sort:
    """RFC 5256 §3."""

    by: tuple[SortBy, ...]
    key: Key
    uid: bool = False


@dataclass(frozen=True, slots=True)
class Thread:
    """RFC 5256 §3."""

    algorithm: ThreadAlgorithm
    key: Key
    uid: bool = False


Command = (
    Plain
    | Login
    | Authenticate
    | Enable
    | Id
    | Compress
    | Select
    | Create
    | Delete
    | Rename
    | Subscribe
    | Unsubscribe
    | Status
    | List
    | Lsub
    | GetQuota
    | GetQuotaRoot
    | SetQuota
    | Fetch
    | Store
    | Copy
    | Move
    | Expunge
    | Search
    | Sort
    | Thread
)


def keyword(command: Command) -> str:
    """Its name, for log and listing: `UID FETCH`."""
    match command:
        case Plain():
            return command.value
        case Select(read_only=True):
            return "EXAMINE"
        case Expunge():
            return "EXPUNGE" if command.uids is None else "UID EXPUNGE"
        case Fetch(uid=True) | Store(uid=True) | Copy(uid=True) | Move(uid=True):
            return f"UID {type(command).__name__.upper()}"
        case Search(uid=True) | Sort(uid=True) | Thread(uid=True):
            return f"UID {type(command).__name__.upper()}"
    return type(command).__name__.upper()
