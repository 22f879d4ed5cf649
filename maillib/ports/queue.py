"""Queue: accepted messages on their way.

A message is a body and an envelope under one queue ID. What was put is delivered at least once per recipient; with
the delivery key of the Index local delivery is exactly once. A claim dies with the process that holds it.
"""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType, Protocol

from maillib.address import Address
from maillib.ports.blobs import BlobRef
from maillib.ports.directory import AccountId

QueueId = NewType("QueueId", str)
"""Letters and digits, at most 32; unique over restarts and clock steps."""

_DERIVED = re.compile(r"(.+)[BL][0-9]+", re.ASCII)


def notification_id(about: QueueId, attempt: int) -> QueueId:
    """Of the notification that an attempt for the message `about` has come to."""
    return QueueId(f"{about}B{attempt}")


def list_mail_id(original: QueueId, number: int) -> QueueId:
    """Of what the members of a list get, the one in that place among the recipients of `original`."""
    return QueueId(f"{original}L{number}")


def derived_from(queue_id: QueueId) -> QueueId | None:
    """The message whose ID this one is made from; None: it is not made from another."""
    match = _DERIVED.fullmatch(queue_id)
    return None if match is None else QueueId(match[1])


class RecipientState(StrEnum):
    QUEUED = "queued"  # never tried
    DEFERRED = "deferred"  # tried, will be tried again
    DELIVERED = "delivered"
    FAILED = "failed"  # for good; a DSN was made, or could not be
    EXPANDED = "expanded"  # an alias: its targets are recipients of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    address: Address
    state: RecipientState = RecipientState.QUEUED
    attempts: int = 0
    last_reply: str | None = None
    """The other side's words or the system's error text."""
    original: Address | None = None
    """What the sender wrote, when an alias led here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Everything about a queued message but its octets. RFC 5321 §2.3.1."""

    sender: Address | None
    """None: the null reverse-path."""
    recipients: tuple[Recipient, ...]
    queued: datetime
    account: AccountId | None
    """Who submitted it after log-in; None: it came from outside, or from ourselves."""
    peer: str
    """Address of the client that handed it in, or a word for ourselves."""
    body_8bit: bool = False
    smtputf8: bool = False


class QueueState(StrEnum):
    INCOMING = "incoming"
    ACTIVE = "active"
    DEFERRED = "deferred"
    HOLD = "hold"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueItem:
    """One queued message as an administrator sees it."""

    id: QueueId
    state: QueueState
    size_octets: int
    queued: datetime
    envelope: Envelope | None
    """None: it cannot be read (the state is corrupt, or soon will be)."""
    next_attempt: datetime | None
    """None: now, being tried, held or corrupt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work on one message until `done`, `retry`, `release`, or the end of this process."""

    id: QueueId
    envelope: Envelope
    body: BlobRef
    size_octets: int


class Draft(Protocol):
    """A message on its way in. Nothing of it is visible before `commit` has returned."""

    @property
    def id(self) -> QueueId: ...

    async def write(self, data: bytes) -> None:
        """Add octets. Raises StoreFull, Transient; then only `abort` is left."""

    async def commit(self, envelope: Envelope) -> None:
        """Make body and envelope durable and visible, and wake the spool. After this the message is ours.

        Raises StoreFull, Transient: nothing was taken.
        """

    async def abort(self) -> None:
        """Leave nothing behind. Idempotent; harmless after `commit`."""


class Queue(Protocol):
    def draft(self, queue_id: QueueId | None = None) -> Draft:
        """A new message, under a new ID unless one is given.

        A given ID makes the commit idempotent: while a message is queued under it, another commit adds nothing. Only
        whoever holds the claim that the ID is derived from may give one.
        """

    async def check_room(self, octets: int) -> None:
        """Whether a message of that size could be queued now; 0: of any size. A look at the disk serves for a moment.

        Raises StoreFull: there is no room; Transient.
        """

    async def claim(self, limit: int) -> Sequence[Claim]:
        """At most `limit` messages whose time has come; empty: none now.

        New ones in the order of arrival, deferred ones by their next attempt; neither kind waits for all of the other.
        A damaged message is set aside (corrupt) instead of being claimed. Raises StoreFull, Transient.
        """

    async def wait(self, timeout_s: float) -> None:
        """Return when something may be claimable: a commit, an attempt whose time has come, or the time-out."""

    async def done(self, claim: Claim) -> None:
        """Every recipient has its end: remove message and envelope."""

    async def retry(self, claim: Claim, envelope: Envelope, next_attempt: datetime) -> None:
        """Keep it as `envelope` says now and let it be claimed from `next_attempt` on. Durable on return.

        Where there is no room to write that down, it waits all the same, with the envelope it had.
        """

    async def update(self, claim: Claim, envelope: Envelope) -> Claim:
        """Write down progress and keep the claim. Durable on return. Raises StoreFull, Transient: nothing changed."""

    async def release(self, claim: Claim) -> None:
        """Give it back untouched; it can be claimed at once."""

    def browse(self) -> AsyncIterator[QueueItem]:
        """What is queued now, in no order that is promised."""

    async def show(self, queue_id: QueueId) -> QueueItem:
        """Raises NotFound."""

    async def retry_now(self, queue_id: QueueId) -> None:
        """Let a message that waits, is held or was set aside be claimed at once.

        Raises NotFound, Conflict (being tried now), StoreUnusable (still damaged).
        """

    async def remove(self, queue_id: QueueId) -> None:
        """Delete a message that nobody works on. Raises NotFound, Conflict (being tried now)."""
