"""Index: the mailboxes of one account and what is in them.

UIDs strictly increase in the order in which messages become visible and are never used twice; so does UIDVALIDITY from
one mailbox of an account to the next, whatever their names. A delivery key is remembered longer than its message: the
same key again gives the first answer again, even after an expunge.

Every change of a mailbox raises its modseq, and a message that was not changed keeps its own. `changes` is the one
source of truth about what has happened; a hint (`ports.hints`) only says when to ask.

A mailbox is meant by its name, or by its id, which stays the same through renames and is never given to another: who
has one open uses the id. Names are hierarchical, with `SEPARATOR` between the levels; INBOX is the same in any case.
"""

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, NewType, Protocol

from maillib.errors import PermanentError
from maillib.ports.blobs import BlobRef
from maillib.ports.directory import AccountId
from maillib.ports.flags import FlagChange

if TYPE_CHECKING:
    from maillib.ports.derived import Derived, Found, Heading, Shown, ShownRow, Where

MailboxId = NewType("MailboxId", int)
Uid = NewType("Uid", int)
UidValidity = NewType("UidValidity", int)
ModSeq = NewType("ModSeq", int)

MailboxKey = str | MailboxId
"""A mailbox's name or id."""

Uids = Collection[Uid] | range
"""Messages by UID; those that are not there are passed over. A range is never expanded."""

INBOX = "INBOX"
SEPARATOR = "/"

FIRST_UID = Uid(1)
LAST_UID = Uid(2**32 - 1)
"""RFC 9051 §2.3.1.1."""
EVERY_UID = range(FIRST_UID, LAST_UID + 1)

_MAX_NAME_OCTETS = 1000
"""Of a mailbox's name. No client shows longer ones, and a listing of many must stay small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long an index remembers what is not there any more."""

    keys_s: int = 31 * 24 * 3600
    """Of delivery keys. A spool returns what it could not deliver after 30 days at most (`give_up_after`), and the last
    attempt may come some hours late. A key that is forgotten costs a second copy, one that is kept sixty octets."""
    tombstones: int = 10_000
    """Expunged UIDs for each mailbox. A client that was away for longer reads the list of UIDs anew, which is not
    longer than that by much."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    id: MailboxId
    name: str
    uid_validity: UidValidity
    uid_next: Uid
    highest_modseq: ModSeq
    messages: int
    octets: int
    unseen: int = 0
    """Messages without \\Seen."""
    deleted: int = 0
    """Messages with \\Deleted."""
    special_use: str | None = None
    """`\\Sent` and the like. RFC 6154 §2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """One message to add. The stored message is `prefix` followed by the octets of `body`."""

    delivery_key: str | None
    """Names this delivery; unique per mailbox. The spool uses queue ID and recipient. None: never made twice."""
    prefix: bytes
    """Per-copy header lines (Return-Path, Delivered-To), CRLF at each end; may be empty."""
    body: BlobRef
    internal_date: datetime
    """Aware; kept to the second, in UTC."""
    flags: frozenset[str] = frozenset()
    """IMAP atoms: no spaces. RFC 9051 §2.3.2."""


def delivery_key(queue_id: str, account: AccountId) -> str:
    """Of a message that comes through the spool; the same for each attempt."""
    return f"{queue_id}:{account}"


@dataclass(frozen=True, slots=True)
class Appended:
    uid: Uid
    modseq: ModSeq
    created: bool
    """False: the delivery key was known, nothing was added."""


class Row(NamedTuple):
    """One message as a listing needs it; a tuple, because there are tens of thousands of them."""

    uid: Uid
    modseq: ModSeq
    size_octets: int
    """Prefix and body together."""
    internal_date_s: int
    """Seconds of the Unix epoch."""
    flags: frozenset[str]

    @property
    def internal_date(self) -> datetime:
        return datetime.fromtimestamp(self.internal_date_s, UTC)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    prefix: bytes
    body: BlobRef
    size_octets: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Messages in UID order as columns: what a long listing needs, twelve octets a message."""

    mailbox: Mailbox
    """From the same snapshot."""
    uids: "array[int]"
    octets: "array[int]"


@dataclass(frozen=True, slots=True)
class Changes:
    """What has happened to a mailbox, from one snapshot."""

    modseq: ModSeq
    """Every change up to here is told: what to ask for the next time."""
    rows: Sequence[Row]
    """Messages that are new or have other flags, in UID order."""
    vanished: Sequence[Uid]
    """In UID order; also of messages that had come since."""
    complete: bool
    """False: there is more, ask again at once."""


@dataclass(frozen=True, slots=True)
class FlagsChanged:
    modseq: ModSeq
    """The mailbox's highest."""
    rows: Sequence[Row]
    """Messages whose flags are not what they were, as they are now, in UID order."""
    refused: Sequence[Uid]
    """Changed by somebody else meanwhile (`unchanged_since`). RFC 7162 §3.1.3."""


@dataclass(frozen=True, slots=True)
class Expunged:
    modseq: ModSeq
    """The mailbox's highest."""
    uids: Sequence[Uid]
    """Those that were removed, in order."""


@dataclass(frozen=True, slots=True)
class Copied:
    uid_validity: UidValidity
    """Of the destination."""
    uids: Mapping[Uid, Uid]
    """From UIDs of the source to those of the copies, both in growing order. RFC 4315 §3."""


@dataclass(frozen=True, slots=True)
class Usage:
    messages: int
    octets: int


class Index(Protocol):
    """Every method raises NotFound for a mailbox that is not there, and Transient; those that change something raise
    StoreFull, and are durable on return.
    """

    # Mailboxes

    async def mailboxes(self, account: AccountId) -> Sequence[Mailbox]:
        """All mailboxes from one snapshot, in the order of their making; INBOX always exists."""

    async def subscriptions(self, account: AccountId) -> Collection[str]:
        """Names, also of mailboxes that are not there. RFC 9051 §6.3.7."""

    async def create(self, account: AccountId, name: str, *, special_use: str | None = None) -> Mailbox:
        """Raises Conflict when there is one, PermanentError for what cannot be a name."""

    async def furnish(self, account: AccountId, mailboxes: Mapping[str, str]) -> None:
        """Make these mailboxes, name to special use, and subscribe to them and to INBOX; but not for an account that
        has ever had another mailbox than INBOX: what its owner has deleted does not come back.
        """

    async def rename(self, account: AccountId, name: str, new_name: str) -> None:
        """The mailbox and all below it; subscriptions stay. INBOX stays, too, and what is in it goes into a new
        mailbox. RFC 9051 §6.3.6. Raises Conflict when a new name is taken or below the old one, PermanentError.
        """

    async def delete(self, account: AccountId, name: str) -> None:
        """The mailbox and what is in it, not those below it. Raises Conflict for INBOX."""

    async def subscribe(self, account: AccountId, name: str) -> None:
        """Idempotent. Raises PermanentError for what cannot be a name, not for one that nothing has."""

    async def unsubscribe(self, account: AccountId, name: str) -> None:
        """Idempotent."""

    # Messages

    async def append(
        self, account: AccountId, mailbox: MailboxKey, messages: Sequence[NewMessage]
    ) -> Sequence[Appended]:
        """Add the messages, all or none. The bodies are durable already.

        The account's quota is checked and charged in the same commit. A body may be given up afterwards: the message
        keeps its octets. For a known delivery key nothing else of the message is looked at.
        Raises NotFound for a body, too; OverQuota.
        """

    async def rows(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids = EVERY_UID, *, limit: int | None = None
    ) -> Sequence[Row]:
        """These messages in UID order, from one snapshot; at most `limit`, the first ones."""

    async def sizes(self, account: AccountId, mailbox: MailboxKey, since: Uid = FIRST_UID) -> Sizes:
        """The mailbox, and its messages from UID `since` on.

        Who knows the messages below `since` from before knows all now exactly when the mailbox's counters say so.
        """

    async def messages(self, account: AccountId, mailbox: MailboxKey, uids: Uids) -> Mapping[Uid, StoredMessage]:
        """Where the octets of several messages are, in UID order."""

    async def changes(self, account: AccountId, mailbox: MailboxKey, since: ModSeq, *, limit: int) -> Changes:
        """What has happened after modseq `since`, the oldest first, at most about `limit` messages: what one call has
        changed is not divided. Raises TooOld when expunged messages from so long ago are forgotten.
        """

    async def set_flags(
        self,
        account: AccountId,
        mailbox: MailboxKey,
        uids: Uids,
        how: FlagChange,
        flags: frozenset[str],
        *,
        unchanged_since: ModSeq | None = None,
    ) -> FlagsChanged:
        """Change flags of those messages whose modseq is not above `unchanged_since`; None: of all."""

    async def expunge(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, *, only_deleted: bool = False
    ) -> Expunged:
        """Remove messages for good; with `only_deleted`, those that have \\Deleted at that moment."""

    async def copy(self, account: AccountId, source: MailboxKey, uids: Uids, destination: MailboxKey) -> Copied:
        """With flags and internal dates, all or none. Raises OverQuota."""

    async def move(self, account: AccountId, source: MailboxKey, uids: Uids, destination: MailboxKey) -> Copied:
        """As `copy`, and gone from the source in the same commit. RFC 6851 §3."""

    async def usage(self, account: AccountId) -> Usage:
        """What the account stores now, over all mailboxes."""

    # What is derived from messages (`ports.derived`): known of some and not of others, and not durable. No message
    # waits for it, and an engine that has trouble with it knows nothing.

    async def views(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, shown: "Sequence[Shown]"
    ) -> "Sequence[ShownRow]":
        """Of those that are known, in UID order, from one snapshot."""

    async def headings(self, account: AccountId, mailbox: MailboxKey, uids: Uids) -> "Sequence[Heading]":
        """Those that are known, in UID order, from one snapshot."""

    async def containing(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, where: "Where | str", text: str
    ) -> "Found":
        """Which messages have `text`, folded, in that place. `where` as text: in a header field, by its name in lower
        case; with an empty `text`: which have such a field. One snapshot; others of the account wait for as long as it
        takes, up to three milliseconds a thousand messages.
        """

    async def put_derived(self, account: AccountId, mailbox: MailboxKey, derived: "Sequence[Derived]") -> None:
        """Keep this of messages that are there and of which nothing is known. Copies of them have it, too."""

    async def settle(self, account: AccountId) -> bool:
        """Some of the work that makes `containing` quicker; its answers are the same without. False: nothing is left.

        It takes some milliseconds, for which others of the account may wait.
        """


def canonical_name(name: str) -> str:
    """The spelling by which a mailbox is known. RFC 9051 §5.1."""
    return INBOX if name.upper() == INBOX else name


def check_name(name: str) -> None:
    """Raises PermanentError for what no mailbox can be named."""
    levels = name.split(SEPARATOR)
    if not all(levels) or not all(map(str.isprintable, levels)) or len(name.encode()) > _MAX_NAME_OCTETS:
        raise PermanentError(f"{name[:100]!r} cannot be a mailbox's name")


def name_below(name: str, old: str, new: str) -> str | None:
    """What `name` becomes when `old` is renamed to `new`; None: it is neither `old` nor below it."""
    if name == old:
        return new
    return new + name.removeprefix(old) if name.startswith(old + SEPARATOR) else None
