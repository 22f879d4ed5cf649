"""The selected mailbox as one client knows it: what each number means, and what the client is still to be told.

Guarantees: a number means the same message until the client has been told of an expunge; `Index.changes` is the one
source of what has happened, and each change is told once; what the client has brought about itself, and was told in
the answer, is not told again. UIDs are an array that is never changed in place, so views and the listings of the
process share it; nothing is kept of flags.

The UIDs are read when a number is needed first: most of what clients select they look at no closer; of a large mailbox
only the first ones, as long as these are enough. What was removed between the SELECT and then is given numbers and UIDs
of our choice, as the client has heard of none.

Leaves to others: when something may be told, and in which words (`imap_client`).
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from maillib.errors import NotFound, TooOld
from maillib.ports.directory import AccountId
from maillib.ports.flags import FlagChange
from maillib.ports.index import (
    EVERY_UID,
    LAST_UID,
    Changes,
    FlagsChanged,
    Index,
    Mailbox,
    ModSeq,
    Row,
    StoredMessage,
    Uid,
    Uids,
)
from maillib.protocols.imap.sequences import STAR, Messages, Saved, SequenceSet
from maillib.sessions.imap_replies import Bad, MailboxGone
from maillib.sessions.listing import Listings

CHANGES_AT_ONCE = 1000
"""Messages whose changes are read and told in one go."""

LARGE = 20_000
"""Messages: the UIDs of a mailbox with more are not all read for a few of the first ones."""

FIRST = 1000

ROWS_AT_ONCE = 10_000
"""Rows in memory at a time: two megabytes."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a client is to be told. RFC 9051 §5.2."""

    changed: Sequence[tuple[int, Row]] = ()
    """Messages with other flags, by their numbers before `expunged`."""
    expunged: Sequence[tuple[int, Uid]] = ()
    """Numbers and UIDs, ascending, all by the numbers from before."""
    exists: int | None = None
    """How many messages there are after that; None: no more than before."""


class Selected:
    """One SELECT or EXAMINE. Methods that ask the index raise MailboxGone, Transient, StoreUnusable."""

    def __init__(
        self, index: Index, listings: Listings, account: AccountId, mailbox: Mailbox, *, read_only: bool
    ) -> None:
        self._index = index
        self._listings = listings
        self.account = account
        self.mailbox = mailbox
        """As it was when it was selected."""
        self.id = mailbox.id
        self.read_only = read_only
        self.modseq = mailbox.highest_modseq
        """What has happened up to there is told, or noted in `_gone` and `_arrived`."""
        self.saved: Sequence[Uid] = ()
        """What `$` means, in UID order. RFC 5182."""
        self._count = mailbox.messages
        self._uids: array[int] | None = None
        """All; None: not yet."""
        self._first: array[int] = array("I")
        """Meanwhile: those of the first messages."""
        self._gone: set[Uid] = set()
        """Messages with a number that are not there any more."""
        self._arrived: set[Uid] = set()
        """Messages without a number."""
        self._own: set[ModSeq] = set()
        """Changes of flags above `modseq` that were told as the answer to a command."""

    def owes(self, *, expunges: bool) -> bool:
        """Something is known that the client is to be told; `expunges`: that messages have gone may be told, too."""
        return bool(self._arrived or (expunges and self._gone))

    # Numbers

    @property
    def count(self) -> int:
        """The number of the last message."""
        return self._count

    @property
    def uids(self) -> "array[int]":
        """By place: number less one. After `load`, or as far as `load_for` has read them."""
        return self._first if self._uids is None else self._uids

    def place(self, uid: int) -> int | None:
        """Where it is; None: it has no number."""
        uids = self.uids
        at = bisect_left(uids, uid)
        return at if at < len(uids) and uids[at] == uid else None

    def is_gone(self, uid: Uid) -> bool:
        """The client does not know yet that it is not there any more."""
        return uid in self._gone

    def places(self, messages: Messages, *, uid: bool) -> "Places":
        """What a client means. Raises Bad for a number that no message has. RFC 9051 §9, seq-number."""
        if isinstance(messages, Saved):
            return Places(joined([at for saved in self.saved if (at := self.place(saved)) is not None]))
        uids = self.uids
        if uid:
            assert self._uids is not None, "whoever means UIDs loads first"
            star = uids[-1] if uids else 0
            found = (
                range(bisect_left(uids, each.start), bisect_right(uids, each[-1])) for each in messages.ranges(star)
            )
            return Places(tuple(filter(None, found)))
        if not self._count or any(end != STAR and end > self._count for pair in messages.intervals for end in pair):
            raise Bad("no message has such a number")
        return Places(tuple(range(each.start - 1, each.stop - 1) for each in messages.ranges(self._count)))

    def in_order(self, places: Sequence[int]) -> Uids:
        """The UIDs at places, which ascend, as the index takes them."""
        uids = self.uids
        if isinstance(places, range) and places:
            return range(uids[places[0]], uids[places[-1]] + 1)
        return [Uid(uids[at]) for at in places]

    def numbered(self, places: Sequence[int], rows: Sequence[Row]) -> Iterator[tuple[int, Row]]:
        """Rows that were read of these places, with their numbers."""
        if len(places) == len(rows):  # none of them is gone
            return zip([at + 1 for at in places], rows, strict=True)
        uids = self.uids
        return ((bisect_left(uids, row.uid) + 1, row) for row in rows)

    # What the index has

    async def load(self) -> None:
        """Know the UIDs. Idempotent."""
        if self._uids is not None:
            return
        with mailbox_still_there():
            listing = await self._listings.current(self.account, self.id)
        known = bisect_left(listing.uids, self.mailbox.uid_next)
        uids = listing.uids if known == len(listing.uids) else listing.uids[:known]
        self._arrived.update(Uid(uid) for uid in listing.uids[known:])
        if self._first:
            present = frozenset(uids[: len(self._first)])
            self._gone.update(Uid(uid) for uid in self._first if uid not in present)
            uids = self._first + uids[bisect_right(uids, self._first[-1]) :]
        if len(uids) < self._count:
            uids = uids[:]
            self._stand_in(uids, self._count - len(uids))
        self.modseq = max(self.modseq, listing.mailbox.highest_modseq)
        self._uids = uids

    async def load_for(self, messages: Messages, *, uid: bool) -> None:
        """Know the UIDs as far as these messages need it."""
        if self._uids is None and self._count > LARGE and not uid and isinstance(messages, SequenceSet):
            last = max(end for pair in messages.intervals for end in pair)
            if last <= len(self._first) or (last <= FIRST and await self._read_first()):
                return
        await self.load()

    async def _read_first(self) -> bool:
        """The UIDs of the first messages, if they have been the same since the SELECT."""
        with mailbox_still_there():
            rows = await self._index.rows(self.account, self.id, EVERY_UID, limit=FIRST)
        try:
            changes = await self.changes(self.modseq)
        except TooOld:
            return False
        if changes.vanished or not changes.complete:
            return False
        self._first = array("I", [row.uid for row in rows])
        return True

    def _stand_in(self, uids: "array[int]", missing: int) -> None:
        """Put so many UIDs among `uids` that none has now, as each of those missing had one."""
        uid = self.mailbox.uid_next - 1
        at = len(uids) - 1
        chosen: list[Uid] = []
        while len(chosen) < missing:
            if at >= 0 and uids[at] == uid:
                at -= 1
            else:
                chosen.append(Uid(uid))
            uid -= 1
        for stand_in in chosen:
            insort(uids, stand_in)
        self._gone.update(chosen)

    async def rows(self, places: Sequence[int]) -> Sequence[Row]:
        """Of those places that are not gone."""
        try:
            return await self._index.rows(self.account, self.id, self.in_order(places))
        except NotFound as error:
            raise MailboxGone(str(error)) from None

    async def stored(self, places: Sequence[int]) -> Mapping[Uid, StoredMessage]:
        """As `rows`: where the octets are."""
        try:
            return await self._index.messages(self.account, self.id, self.in_order(places))
        except NotFound as error:
            raise MailboxGone(str(error)) from None

    async def changes(self, since: ModSeq) -> Changes:
        """The next of them. Raises TooOld."""
        try:
            return await self._index.changes(self.account, self.id, since, limit=CHANGES_AT_ONCE)
        except NotFound as error:
            raise MailboxGone(str(error)) from None

    # What is changed there; each of these may raise StoreFull, too

    async def set_flags(
        self, uids: Uids, how: FlagChange, flags: frozenset[str], *, unchanged_since: ModSeq | None = None
    ) -> FlagsChanged:
        try:
            return await self._index.set_flags(self.account, self.id, uids, how, flags, unchanged_since=unchanged_since)
        except NotFound as error:
            raise MailboxGone(str(error)) from None

    async def expunge(self, uids: Uids | None) -> int:
        """Remove what has \\Deleted of these; how many. None: of all, of those too that the client has not heard of."""
        wanted = EVERY_UID if uids is None else uids
        try:
            return len((await self._index.expunge(self.account, self.id, wanted, only_deleted=True)).uids)
        except NotFound as error:
            raise MailboxGone(str(error)) from None

    def told(self, modseq: ModSeq, *, whole: bool) -> None:
        """The client knows what flags this change has given to which messages; `whole`: also what flags they have now,
        where others have changed them as well.
        """
        if modseq == self.modseq + 1:  # nobody else has done anything since
            self.modseq = modseq
        elif whole:
            self._own.add(modseq)

    async def updates(self, *, expunges: bool) -> AsyncIterator[Update]:
        """What a client is to be told now; `expunges`: also that messages have gone. RFC 9051 §7.5.1.

        What was yielded holds from then on.
        """
        await self.load()
        try:
            complete = False
            while not complete:
                changes = await self.changes(self.modseq)
                yield self._taken_in(changes.rows, changes.vanished)
                self.modseq = changes.modseq
                complete = changes.complete
        except TooOld:
            async for update in self._anew():
                yield update
        self._own.clear()
        yield self._counted(expunges=expunges)

    async def _anew(self) -> AsyncIterator[Update]:
        """Compare all there is with what the client knows: what has happened is not remembered any more."""
        try:
            sizes = await self._index.sizes(self.account, self.id)
            since, until = self.modseq, sizes.mailbox.highest_modseq
            present = frozenset(sizes.uids)
            yield self._taken_in((), [Uid(uid) for uid in self.uids if uid not in present])
            self._arrived = {uid for uid in self._arrived if uid in present}
            next_uid = 1
            while rows := await self._index.rows(
                self.account, self.id, range(next_uid, LAST_UID + 1), limit=ROWS_AT_ONCE
            ):
                yield self._taken_in([row for row in rows if row.modseq > since], ())
                next_uid = rows[-1].uid + 1
        except NotFound as error:
            raise MailboxGone(str(error)) from None
        self.modseq = until

    def _taken_in(self, rows: Sequence[Row], vanished: Sequence[Uid]) -> Update:
        changed: list[tuple[int, Row]] = []
        for row in rows:
            at = self.place(row.uid)
            if at is None:
                self._arrived.add(row.uid)
            elif row.modseq not in self._own:
                changed.append((at + 1, row))
        for uid in vanished:
            self._arrived.discard(uid)
            if self.place(uid) is not None:
                self._gone.add(uid)
        return Update(changed)

    def _counted(self, *, expunges: bool) -> Update:
        """Give numbers to what has arrived, in UID order as all changes are known; take those of what has gone."""
        expunged: list[tuple[int, Uid]] = []
        uids = self.uids
        if expunges and self._gone:
            expunged = [(bisect_left(uids, uid) + 1, uid) for uid in sorted(self._gone)]
            gone, self._gone = self._gone, set()
            uids = array("I", [uid for uid in uids if uid not in gone])
        exists = None
        if self._arrived:
            uids = uids + array("I", sorted(self._arrived))
            self._arrived = set()
            exists = len(uids)
        self._uids = uids
        self._count = len(uids)
        return Update((), expunged, exists)


@contextmanager
def mailbox_still_there() -> Iterator[None]:
    """What the index does not find leaves the block as MailboxGone."""
    try:
        yield
    except NotFound as error:
        raise MailboxGone(str(error)) from None


@dataclass(frozen=True, slots=True)
class Places:
    """Places of messages as ranges: ascending, disjoint, none of them empty."""

    ranges: tuple[range, ...]

    def __iter__(self) -> Iterator[int]:
        for each in self.ranges:
            yield from each

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def __contains__(self, at: int) -> bool:
        nearest = bisect_right(self.ranges, at, key=lambda each: each.start)
        return nearest > 0 and at in self.ranges[nearest - 1]

    def batches(self, most: int) -> Iterator[Sequence[int]]:
        """In turn, at most so many at a time; a range where they are consecutive."""
        scattered: list[int] = []
        for each in self.ranges:
            if len(self.ranges) > 1 and len(each) + len(scattered) <= most:
                scattered += each
                continue
            if scattered:
                yield scattered
                scattered = []
            for start in range(each.start, each.stop, most):
                yield range(start, min(start + most, each.stop))
        if scattered:
            yield scattered


def joined(places: Sequence[int]) -> tuple[range, ...]:
    """Ascending places as ranges."""
    found: list[range] = []
    for at in places:
        if found and found[-1].stop == at:
            found[-1] = range(found[-1].start, at + 1)
        else:
            found.append(range(at, at + 1))
    return tuple(found)
