"""Index: the mailboxes of one account and what is in them.

UIDs strictly increase in the order in which messages become visible and are never used twice. A delivery key is
remembered longer than its message: the same key again gives the first answer again, even after an expunge.
"""

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NewType, Protocol

from maillib.ports.blobs import BlobRef
from maillib.ports.directory import AccountId

MailboxId = NewType("MailboxId", int)
Uid = NewType("Uid", int)
UidValidity = NewType("UidValidity", int)
ModSeq = NewType("ModSeq", int)

INBOX = "INBOX"

FIRST_UID = Uid(1)


@dataclass(frozen=True, slots=True)
class Mailbox:
    id: MailboxId
    name: str
    uid_validity: UidValidity
    uid_next: Uid
    highest_modseq: ModSeq
    messages: int
    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """One message to add. The stored message is `prefix` followed by the octets of `body`."""

    delivery_key: str
    """Names this delivery; unique per mailbox. The spool uses queue ID and recipient."""
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


@dataclass(frozen=True, slots=True)
class Row:
    """One message as a listing needs it."""

    uid: Uid
    modseq: ModSeq
    size_octets: int
    """Prefix and body together."""
    internal_date: datetime
    flags: frozenset[str]


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
class Usage:
    messages: int
    octets: int


class Index(Protocol):
    async def mailboxes(self, account: AccountId) -> Sequence[Mailbox]:
        """All mailboxes from one snapshot; INBOX always exists."""

    async def append(self, account: AccountId, mailbox: str, messages: Sequence[NewMessage]) -> Sequence[Appended]:
        """Add the messages, all or none; durable on return. The bodies are durable already.

        The account's quota is checked and charged in the same commit. A body may be given up afterwards: the message
        keeps its octets. For a known delivery key nothing else of the message is looked at.
        Raises NotFound (mailbox or body), OverQuota, StoreFull, Transient.
        """

    async def rows(self, account: AccountId, mailbox: str) -> Sequence[Row]:
        """Every message of the mailbox in UID order, from one snapshot. Raises NotFound."""

    async def sizes(self, account: AccountId, mailbox: str, since: Uid = FIRST_UID) -> Sizes:
        """The mailbox, and its messages from UID `since` on. Raises NotFound.

        Who knows the messages below `since` from before knows all now exactly when the mailbox's counters say so.
        """

    async def messages(self, account: AccountId, mailbox: str, uids: Collection[Uid]) -> Mapping[Uid, StoredMessage]:
        """Where the octets of several messages are; those that are not there are left out. Raises NotFound."""

    async def message(self, account: AccountId, mailbox: str, uid: Uid) -> StoredMessage:
        """Where the octets of one message are. Raises NotFound."""

    async def expunge(self, account: AccountId, mailbox: str, uids: Collection[Uid]) -> Sequence[Uid]:
        """Remove messages for good; durable on return. UIDs that are not there are passed over. What was removed."""

    async def usage(self, account: AccountId) -> Usage:
        """What the account stores now, over all mailboxes."""
