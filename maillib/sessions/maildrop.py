"""One account's INBOX as a POP session sees it: numbered at log-in, marked for deletion, changed only at the end.

Guarantees: one session at a time has a maildrop, and a session that dies or vanishes loses it (`tenure`); numbers and
sizes stay as they were at log-in, whatever is delivered or removed meanwhile; nothing is removed but by `update`.
RFC 1939 §4 to §6.
"""

from collections.abc import Iterator, Mapping, Sequence

from maillib.errors import AuthenticationFailed, NotFound
from maillib.ports.directory import Account
from maillib.ports.index import INBOX, Index, StoredMessage, Uid
from maillib.ports.leases import Leases
from maillib.sessions.listing import LINES_AT_ONCE, Listing, Listings
from maillib.sessions.tenure import Tenure
from maillib.settings.pop import PopSettings


class Maildrop:
    """Message numbers count from 1. Methods that take one raise NotFound when it names nothing, or a deleted one."""

    def __init__(self, account: Account, index: Index, tenure: Tenure, listing: Listing) -> None:
        self.account = account
        self._index = index
        self._tenure = tenure
        self._listing = listing
        self._total = len(listing)
        self._deleted: bytearray | None = None
        """One octet a message, 1: deleted. None: no message is."""
        self._deleted_count = 0
        self._deleted_octets = 0

    @classmethod
    async def open(
        cls, account: Account, index: Index, listings: Listings, leases: Leases, settings: PopSettings
    ) -> "Maildrop":
        """Raises Conflict when another session has it, TooSoon when one has begun only just now (`login_delay`),
        AuthenticationFailed when the account has just been removed.
        """
        tenure = await Tenure.begin(leases, f"pop-maildrop-{account.id}", settings.takeover_after)
        try:
            if settings.login_delay:
                name = f"pop-login-{account.id}"
                await (await leases.acquire(name, interval_s=settings.login_delay)).release()
            return cls(account, index, tenure, await listings.current(account.id))
        except NotFound as error:
            await tenure.end()
            raise AuthenticationFailed(str(error)) from None
        except BaseException:
            await tenure.end()
            raise

    def heard(self) -> bool:
        """The client is there: it speaks, or takes some of what it asked for. False: `confirm` before answering."""
        return self._tenure.heard()

    async def confirm(self) -> None:
        """The client speaks. Raises Conflict when another session has had the maildrop; Transient."""
        await self._tenure.confirm()

    @property
    def is_held(self) -> bool:
        """False: its client has been silent for so long that others may have it."""
        return self._tenure.is_held

    @property
    def count(self) -> int:
        """Messages, without deleted ones."""
        return self._total - self._deleted_count

    @property
    def octets(self) -> int:
        """Of these messages."""
        return self._listing.total_octets - self._deleted_octets

    def size(self, number: int) -> int:
        return self._listing.octets[self._place(number)]

    def unique_id(self, number: int) -> str:
        return self._listing.unique_id(self._place(number) + 1)

    def scan(self) -> Iterator[bytes]:
        """The lines of LIST, some at a time."""
        for block in self._listing.blocks:
            yield self._kept_lines(block, self._listing.scan(block))

    def unique_ids(self) -> Iterator[bytes]:
        """The lines of UIDL, some at a time."""
        for block in self._listing.blocks:
            yield self._kept_lines(block, self._listing.unique_ids(block))

    def following(self, number: int, most: int) -> Iterator[tuple[int, int]]:
        """At most so many messages from `number` on that are not deleted, and their sizes."""
        for place in range(number - 1, min(number - 1 + most, self._total)):
            if self._deleted is None or not self._deleted[place]:
                yield place + 1, self._listing.octets[place]

    async def stored(self, numbers: Sequence[int]) -> Mapping[int, StoredMessage]:
        """Where their octets are; those that somebody else has removed are left out. Raises NotFound, Transient."""
        uids = {number: Uid(self._listing.uids[self._place(number)]) for number in numbers}
        found = await self._index.messages(self.account.id, INBOX, list(uids.values()))
        return {number: found[uid] for number, uid in uids.items() if uid in found}

    def delete(self, number: int) -> None:
        place = self._place(number)
        if self._deleted is None:
            self._deleted = bytearray(self._total)
        self._deleted[place] = 1
        self._deleted_count += 1
        self._deleted_octets += self._listing.octets[place]

    def reset(self) -> None:
        """Take all deletions back."""
        self._deleted = None
        self._deleted_count = self._deleted_octets = 0

    async def update(self) -> int:
        """Remove the deleted messages for good, all or none; how many. Raises Conflict, Transient, StoreFull."""
        if self._deleted is None:
            return 0
        await self._tenure.keep()
        uids = [Uid(uid) for uid, deleted in zip(self._listing.uids, self._deleted, strict=True) if deleted]
        return len((await self._index.expunge(self.account.id, INBOX, uids)).uids)

    async def release(self) -> None:
        """Let others have it. Idempotent."""
        await self._tenure.end()

    def _place(self, number: int) -> int:
        if not 1 <= number <= self._total or (self._deleted is not None and self._deleted[number - 1]):
            raise NotFound(f"no message {number}")
        return number - 1

    def _kept_lines(self, block: int, lines: bytes) -> bytes:
        """Those of a block's lines whose messages are not deleted."""
        if self._deleted is None:
            return lines
        first = block * LINES_AT_ONCE
        marks = self._deleted[first : first + LINES_AT_ONCE]
        if 1 not in marks:
            return lines
        return b"".join(
            [line for line, deleted in zip(lines.splitlines(keepends=True), marks, strict=True) if not deleted]
        )
