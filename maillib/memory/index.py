"""Mailboxes in memory: the Index port over dictionaries. No step of it waits, so each call is one transaction."""

import time
from array import array
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from maillib.errors import Conflict, NotFound, OverQuota, TooOld
from maillib.memory.blobs import MemoryBlobs
from maillib.ports.blobs import BlobRef
from maillib.ports.derived import Derived, Found, Heading, Shown, ShownRow, Where, contains
from maillib.ports.directory import Account, AccountId
from maillib.ports.flags import DELETED, SEEN, FlagChange, canonical, changed
from maillib.ports.index import (
    EVERY_UID,
    FIRST_UID,
    INBOX,
    Appended,
    Changes,
    Copied,
    Expunged,
    FlagsChanged,
    Mailbox,
    MailboxId,
    MailboxKey,
    ModSeq,
    NewMessage,
    Retention,
    Row,
    Sizes,
    StoredMessage,
    Uid,
    Uids,
    UidValidity,
    Usage,
    canonical_name,
    check_name,
    name_below,
)

_NO_MODSEQ, _FIRST_MODSEQ = ModSeq(0), ModSeq(1)


@dataclass(slots=True)
class _Message:
    row: Row
    prefix: bytes
    body: BlobRef
    derived: Derived | None = None


@dataclass(slots=True)
class _Box:
    id: MailboxId
    name: str
    uid_validity: UidValidity
    special_use: str | None = None
    uid_next: Uid = FIRST_UID
    highest_modseq: ModSeq = _FIRST_MODSEQ
    messages: dict[Uid, _Message] = field(default_factory=dict)
    """In UID order: UIDs only grow."""
    deliveries: dict[str, tuple[Appended, float]] = field(default_factory=dict)
    """With the time of each."""
    tombstones: list[tuple[ModSeq, Uid]] = field(default_factory=list)
    """In this order."""
    forgotten: ModSeq = _NO_MODSEQ
    """What was expunged up to there may have no tombstone any more."""

    def described(self) -> Mailbox:
        rows = [message.row for message in self.messages.values()]
        return Mailbox(
            self.id,
            self.name,
            self.uid_validity,
            self.uid_next,
            self.highest_modseq,
            len(rows),
            sum(row.size_octets for row in rows),
            sum(SEEN not in row.flags for row in rows),
            sum(DELETED in row.flags for row in rows),
            self.special_use,
        )

    def rows(self, uids: Uids) -> list[Row]:
        wanted = uids if isinstance(uids, range) else frozenset(uids)
        return [message.row for uid, message in self.messages.items() if uid in wanted]

    def derived(self, uids: Uids) -> list[Derived]:
        """Of those messages of which it is known."""
        found = [self.messages[row.uid].derived for row in self.rows(uids)]
        return [one for one in found if one is not None]

    def add(self, row: Row, prefix: bytes, body: BlobRef) -> None:
        self.uid_next = Uid(row.uid + 1)
        self.highest_modseq = row.modseq
        self.messages[row.uid] = _Message(row, prefix, body)


class _Boxes:
    """The mailboxes of one account."""

    def __init__(self) -> None:
        self._last_id = 0
        self._last_uid_validity = UidValidity(0)
        self._boxes: dict[MailboxId, _Box] = {}
        self.subscriptions: set[str] = set()
        self.add(INBOX, None)

    def __iter__(self) -> Iterator[_Box]:
        return iter(self._boxes.values())

    def add(self, name: str, special_use: str | None) -> _Box:
        self._last_uid_validity = UidValidity(max(int(time.time()), self._last_uid_validity + 1))
        self._last_id += 1
        box = _Box(MailboxId(self._last_id), name, self._last_uid_validity, special_use)
        self._boxes[box.id] = box
        return box

    @property
    def had_others(self) -> bool:
        """Than INBOX."""
        return self._last_id > 1

    def remove(self, box: _Box) -> None:
        del self._boxes[box.id]

    def find(self, key: MailboxKey) -> _Box:
        """Raises NotFound."""
        if not isinstance(key, str):
            if key in self._boxes:
                return self._boxes[key]
        else:
            for box in self:
                if box.name == canonical_name(key):
                    return box
        raise NotFound(f"no mailbox {key!r}")

    def refuse_taken(self, name: str) -> None:
        if any(box.name == name for box in self):
            raise Conflict(f"there is a mailbox {name!r}")

    @property
    def usage(self) -> Usage:
        described = [box.described() for box in self]
        return Usage(sum(box.messages for box in described), sum(box.octets for box in described))


class MemoryIndex:
    """The Index port; takes bodies from, and links them in, `blobs`."""

    def __init__(
        self,
        blobs: MemoryBlobs,
        account_of: Callable[[AccountId], Awaitable[Account]],
        *,
        publish: Callable[[AccountId, MailboxId, ModSeq], None] = lambda *_: None,
        retention: Retention = Retention(),  # noqa: B008 - immutable
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`publish` (of the Hints) is called after each change."""
        self._blobs = blobs
        self._account_of = account_of
        self._publish = publish
        self._retention = retention
        self._clock = clock
        self._accounts: dict[AccountId, _Boxes] = {}

    def _of(self, account: AccountId) -> _Boxes:
        return self._accounts.setdefault(account, _Boxes())

    def _tell(self, account: AccountId, *boxes: _Box) -> None:
        for box in boxes:
            self._publish(account, box.id, box.highest_modseq)

    # Mailboxes

    async def mailboxes(self, account: AccountId) -> Sequence[Mailbox]:
        return [box.described() for box in self._of(account)]

    async def subscriptions(self, account: AccountId) -> Collection[str]:
        return frozenset(self._of(account).subscriptions)

    async def create(self, account: AccountId, name: str, *, special_use: str | None = None) -> Mailbox:
        name = canonical_name(name)
        check_name(name)
        self._of(account).refuse_taken(name)
        box = self._of(account).add(name, special_use)
        self._tell(account, box)
        return box.described()

    async def furnish(self, account: AccountId, mailboxes: Mapping[str, str]) -> None:
        boxes = self._of(account)
        if boxes.had_others:
            return
        made = [boxes.add(name, special_use) for name, special_use in mailboxes.items()]
        boxes.subscriptions |= {INBOX, *mailboxes}
        self._tell(account, *made)

    async def rename(self, account: AccountId, name: str, new_name: str) -> None:
        name, new_name = canonical_name(name), canonical_name(new_name)
        if name == INBOX:
            made = await self.create(account, new_name)
            await self.move(account, INBOX, EVERY_UID, made.id)
            return
        check_name(new_name)
        if name_below(new_name, name, "") is not None:
            raise Conflict(f"{new_name!r} is {name!r}, or below it")
        boxes = self._of(account)
        renamed = [(box, new) for box in boxes if (new := name_below(box.name, name, new_name)) is not None]
        if not renamed:
            raise NotFound(f"no mailbox {name!r}")
        for _, new in renamed:
            check_name(new)
            boxes.refuse_taken(new)
        for box, new in renamed:
            box.name = new
            self._tell(account, box)

    async def delete(self, account: AccountId, name: str) -> None:
        if canonical_name(name) == INBOX:
            raise Conflict("an account has an INBOX")
        box = self._of(account).find(name)
        self._of(account).remove(box)
        for message in box.messages.values():
            self._blobs.remove(message.body)
        box.highest_modseq = ModSeq(box.highest_modseq + 1)
        self._tell(account, box)

    async def subscribe(self, account: AccountId, name: str) -> None:
        name = canonical_name(name)
        check_name(name)
        self._of(account).subscriptions.add(name)

    async def unsubscribe(self, account: AccountId, name: str) -> None:
        self._of(account).subscriptions.discard(canonical_name(name))

    # Reading

    async def rows(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids = EVERY_UID, *, limit: int | None = None
    ) -> Sequence[Row]:
        return self._of(account).find(mailbox).rows(uids)[:limit]

    async def sizes(self, account: AccountId, mailbox: MailboxKey, since: Uid = FIRST_UID) -> Sizes:
        box = self._of(account).find(mailbox)
        rows = box.rows(range(since, box.uid_next))
        return Sizes(
            box.described(),
            array("I", [row.uid for row in rows]),
            array("Q", [row.size_octets for row in rows]),
        )

    async def messages(self, account: AccountId, mailbox: MailboxKey, uids: Uids) -> Mapping[Uid, StoredMessage]:
        box = self._of(account).find(mailbox)
        found = ((row, box.messages[row.uid]) for row in box.rows(uids))
        return {row.uid: StoredMessage(one.prefix, one.body, row.size_octets) for row, one in found}

    async def changes(self, account: AccountId, mailbox: MailboxKey, since: ModSeq, *, limit: int) -> Changes:
        box = self._of(account).find(mailbox)
        if since < box.forgotten:
            raise TooOld(f"mailbox {box.id} has forgotten what was expunged after modseq {since}")
        gone = [(modseq, uid) for modseq, uid in box.tombstones if modseq > since]
        rows = [row for row in box.rows(EVERY_UID) if row.modseq > since]
        modseqs = sorted([modseq for modseq, _ in gone] + [row.modseq for row in rows])
        until = modseqs[limit - 1] if len(modseqs) >= limit else box.highest_modseq
        return Changes(
            max(since, until),
            [row for row in rows if row.modseq <= until],
            sorted(uid for modseq, uid in gone if modseq <= until),
            complete=until >= box.highest_modseq,
        )

    async def usage(self, account: AccountId) -> Usage:
        return self._of(account).usage

    # What is derived

    async def views(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, shown: Sequence[Shown]
    ) -> Sequence[ShownRow]:
        return [(one.view.uid, *one.view.values(shown)) for one in self._of(account).find(mailbox).derived(uids)]

    async def headings(self, account: AccountId, mailbox: MailboxKey, uids: Uids) -> Sequence[Heading]:
        return [one.heading for one in self._of(account).find(mailbox).derived(uids)]

    async def containing(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, where: Where | str, text: str
    ) -> Found:
        known = self._of(account).find(mailbox).derived(uids)
        return Found(
            [one.view.uid for one in known],
            [one.view.uid for one in known if contains(one.texts, where, text)],
        )

    async def put_derived(self, account: AccountId, mailbox: MailboxKey, derived: Sequence[Derived]) -> None:
        box = self._of(account).find(mailbox)
        for one in derived:
            if one.view.uid in box.messages and box.messages[one.view.uid].derived is None:
                box.messages[one.view.uid].derived = one

    async def settle(self, account: AccountId) -> bool:
        return False

    # Changing

    async def append(
        self, account: AccountId, mailbox: MailboxKey, messages: Sequence[NewMessage]
    ) -> Sequence[Appended]:
        owner = await self._account_of(account)
        boxes = self._of(account)
        box = boxes.find(mailbox)
        oldest = self._clock() - self._retention.keys_s
        box.deliveries = {key: first for key, first in box.deliveries.items() if first[1] >= oldest}
        fresh: dict[int, NewMessage] = {}
        keys = set(box.deliveries)
        for number, message in enumerate(messages):
            if message.delivery_key is None or message.delivery_key not in keys:
                fresh[number] = message
                if message.delivery_key is not None:
                    keys.add(message.delivery_key)
        sizes = [len(message.prefix) + len(self._blobs.octets(message.body)) for message in fresh.values()]
        if fresh:
            _charge(owner, boxes.usage.octets, sum(sizes))
        modseq = ModSeq(box.highest_modseq + 1)
        added: dict[int, Appended] = {}
        for (number, message), size in zip(fresh.items(), sizes, strict=True):
            date_s = int(message.internal_date.timestamp() // 1)
            row = Row(box.uid_next, modseq, size, date_s, canonical(message.flags))
            box.add(row, message.prefix, self._blobs.link(message.body))
            added[number] = Appended(row.uid, modseq, created=True)
            if message.delivery_key is not None:
                box.deliveries[message.delivery_key] = Appended(row.uid, modseq, created=False), self._clock()
        if fresh:
            self._tell(account, box)
        return [
            added[number] if number in added else box.deliveries[message.delivery_key or ""][0]
            for number, message in enumerate(messages)
        ]

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
        box = self._of(account).find(mailbox)
        modseq = ModSeq(box.highest_modseq + 1)
        flags = canonical(flags)
        rows: list[Row] = []
        refused: list[Uid] = []
        for row in box.rows(uids):
            if unchanged_since is not None and row.modseq > unchanged_since:
                refused.append(row.uid)
            elif (after := changed(row.flags, how, flags)) != row.flags:
                rows.append(row._replace(modseq=modseq, flags=after))
        for row in rows:
            box.messages[row.uid].row = row
            box.highest_modseq = modseq
        if rows:
            self._tell(account, box)
        return FlagsChanged(box.highest_modseq, rows, refused)

    async def expunge(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, *, only_deleted: bool = False
    ) -> Expunged:
        box = self._of(account).find(mailbox)
        removed = [row.uid for row in box.rows(uids) if not only_deleted or DELETED in row.flags]
        if removed:
            box.highest_modseq = ModSeq(box.highest_modseq + 1)
            for uid in removed:
                self._blobs.remove(box.messages.pop(uid).body)
                box.tombstones.append((box.highest_modseq, uid))
            self._forget(box)
            self._tell(account, box)
        return Expunged(box.highest_modseq, removed)

    def _forget(self, box: _Box) -> None:
        """All but about so many tombstones as are kept: those of one call stay or go as one."""
        surplus = len(box.tombstones) - self._retention.tombstones
        if surplus > 0:
            box.forgotten = box.tombstones[surplus - 1][0]
            box.tombstones = [one for one in box.tombstones if one[0] > box.forgotten]

    async def copy(self, account: AccountId, source: MailboxKey, uids: Uids, destination: MailboxKey) -> Copied:
        owner = await self._account_of(account)
        boxes = self._of(account)
        rows = boxes.find(source).rows(uids)
        if rows:
            _charge(owner, boxes.usage.octets, sum(row.size_octets for row in rows))
        return self._copy(account, source, rows, destination)

    async def move(self, account: AccountId, source: MailboxKey, uids: Uids, destination: MailboxKey) -> Copied:
        moved = self._copy(account, source, self._of(account).find(source).rows(uids), destination)
        await self.expunge(account, source, list(moved.uids))
        return moved

    def _copy(self, account: AccountId, source: MailboxKey, rows: Sequence[Row], destination: MailboxKey) -> Copied:
        origin, target = self._of(account).find(source), self._of(account).find(destination)
        modseq = ModSeq(target.highest_modseq + 1)
        uids: dict[Uid, Uid] = {}
        for row in rows:
            message = origin.messages[row.uid]
            uids[row.uid] = target.uid_next
            target.add(row._replace(uid=target.uid_next, modseq=modseq), message.prefix, self._blobs.link(message.body))
            target.messages[uids[row.uid]].derived = _of_copy(message.derived, uids[row.uid])
        if rows:
            self._tell(account, target)
        return Copied(target.uid_validity, uids)

    async def close(self) -> None:
        """Nothing to wait for."""


def _of_copy(derived: Derived | None, uid: Uid) -> Derived | None:
    if derived is None:
        return None
    return Derived(derived.view._replace(uid=uid), derived.heading._replace(uid=uid), derived.texts)


def _charge(owner: Account, used_octets: int, octets: int) -> None:
    """Raises OverQuota."""
    if owner.quota_octets is not None and used_octets + octets > owner.quota_octets:
        raise OverQuota(str(owner.address), used_octets=used_octets, limit_octets=owner.quota_octets)
