"""Mailboxes in memory: the Index port over dictionaries. No step of it waits, so each call is one transaction."""

import itertools
from array import array
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from maillib.errors import NotFound, OverQuota
from maillib.memory.blobs import MemoryBlobs
from maillib.ports.blobs import BlobRef
from maillib.ports.directory import Account, AccountId
from maillib.ports.index import (
    FIRST_UID,
    INBOX,
    Appended,
    Mailbox,
    MailboxId,
    ModSeq,
    NewMessage,
    Row,
    Sizes,
    StoredMessage,
    Uid,
    UidValidity,
    Usage,
)


@dataclass(slots=True)
class _Message:
    row: Row
    prefix: bytes
    body: BlobRef


@dataclass(slots=True)
class _Box:
    id: MailboxId
    uid_validity: UidValidity
    uid_next: Uid
    highest_modseq: ModSeq
    messages: dict[Uid, _Message] = field(default_factory=dict)
    """In UID order: UIDs only grow."""
    deliveries: dict[str, Appended] = field(default_factory=dict)

    @property
    def octets(self) -> int:
        return sum(message.row.size_octets for message in self.messages.values())

    def described(self, name: str) -> Mailbox:
        return Mailbox(
            self.id, name, self.uid_validity, self.uid_next, self.highest_modseq, len(self.messages), self.octets
        )


class MemoryIndex:
    """The Index port; takes bodies from, and links them in, `blobs`."""

    def __init__(self, blobs: MemoryBlobs, account_of: Callable[[AccountId], Awaitable[Account]]) -> None:
        self._blobs = blobs
        self._account_of = account_of
        self._accounts: dict[AccountId, dict[str, _Box]] = {}
        self._numbers = itertools.count(1)

    async def mailboxes(self, account: AccountId) -> Sequence[Mailbox]:
        return [box.described(name) for name, box in self._boxes(account).items()]

    async def append(self, account: AccountId, mailbox: str, messages: Sequence[NewMessage]) -> Sequence[Appended]:
        owner = await self._account_of(account)
        box = self._box(account, mailbox)
        fresh: dict[str, NewMessage] = {}
        for message in messages:
            if message.delivery_key not in box.deliveries:
                fresh.setdefault(message.delivery_key, message)
        sizes = [len(message.prefix) + len(self._blobs.octets(message.body)) for message in fresh.values()]
        used = self._usage(account).octets
        if fresh and owner.quota_octets is not None and used + sum(sizes) > owner.quota_octets:
            raise OverQuota(str(owner.address), used_octets=used, limit_octets=owner.quota_octets)
        if fresh:
            box.highest_modseq = ModSeq(box.highest_modseq + 1)
        for message, size in zip(fresh.values(), sizes, strict=True):
            self._add(box, message, size)
        return [
            Appended(first.uid, first.modseq, created=fresh.pop(message.delivery_key, None) is not None)
            for message in messages
            for first in [box.deliveries[message.delivery_key]]
        ]

    async def rows(self, account: AccountId, mailbox: str) -> Sequence[Row]:
        return [message.row for message in self._box(account, mailbox).messages.values()]

    async def sizes(self, account: AccountId, mailbox: str, since: Uid = FIRST_UID) -> Sizes:
        box = self._box(account, mailbox)
        rows = [message.row for uid, message in box.messages.items() if uid >= since]
        return Sizes(
            box.described(mailbox),
            array("I", [row.uid for row in rows]),
            array("Q", [row.size_octets for row in rows]),
        )

    async def messages(self, account: AccountId, mailbox: str, uids: Collection[Uid]) -> Mapping[Uid, StoredMessage]:
        box = self._box(account, mailbox)
        return {uid: await self.message(account, mailbox, uid) for uid in uids if uid in box.messages}

    async def message(self, account: AccountId, mailbox: str, uid: Uid) -> StoredMessage:
        message = self._box(account, mailbox).messages.get(uid)
        if message is None:
            raise NotFound(f"account {account} has no message {uid} in {mailbox!r}")
        return StoredMessage(message.prefix, message.body, message.row.size_octets)

    async def expunge(self, account: AccountId, mailbox: str, uids: Collection[Uid]) -> Sequence[Uid]:
        box = self._box(account, mailbox)
        removed = [uid for uid in sorted(set(uids)) if uid in box.messages]
        for uid in removed:
            self._blobs.remove(box.messages.pop(uid).body)
        if removed:
            box.highest_modseq = ModSeq(box.highest_modseq + 1)
        return removed

    async def usage(self, account: AccountId) -> Usage:
        return self._usage(account)

    async def close(self) -> None:
        """Nothing to wait for."""

    def _boxes(self, account: AccountId) -> dict[str, _Box]:
        if account not in self._accounts:
            number = next(self._numbers)
            self._accounts[account] = {INBOX: _Box(MailboxId(number), UidValidity(number), Uid(1), ModSeq(1))}
        return self._accounts[account]

    def _box(self, account: AccountId, mailbox: str) -> _Box:
        try:
            return self._boxes(account)[mailbox]
        except KeyError:
            raise NotFound(f"no mailbox {mailbox!r}") from None

    def _usage(self, account: AccountId) -> Usage:
        boxes = self._boxes(account).values()
        return Usage(sum(len(box.messages) for box in boxes), sum(box.octets for box in boxes))

    def _add(self, box: _Box, message: NewMessage, size_octets: int) -> None:
        uid, modseq = box.uid_next, box.highest_modseq
        box.uid_next = Uid(uid + 1)
        when = datetime.fromtimestamp(int(message.internal_date.timestamp()), UTC)
        row = Row(uid, modseq, size_octets, when, message.flags)
        box.messages[uid] = _Message(row, message.prefix, self._blobs.link(message.body))
        box.deliveries[message.delivery_key] = Appended(uid, modseq, created=False)
