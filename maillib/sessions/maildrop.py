"""One account's INBOX as a POP session sees it: numbered at log-in, marked for deletion, changed only at the end.

Guarantees: one session at a time has a maildrop, and a session that dies loses it (a lease); numbers and sizes stay as
they were at log-in, whatever is delivered or removed meanwhile; nothing is removed but by `update`. RFC 1939 §4 to §6.
"""

from collections.abc import Iterator

from maillib.errors import AuthenticationFailed, NotFound
from maillib.ports.directory import Account
from maillib.ports.index import INBOX, Index, StoredMessage, Uid, UidValidity
from maillib.ports.leases import Lease, Leases


class Maildrop:
    """Message numbers count from 1. Methods that take one raise NotFound when it names nothing, or a deleted one."""

    def __init__(
        self, account: Account, index: Index, lease: Lease, validity: UidValidity, uids: list[Uid], sizes: list[int]
    ) -> None:
        self.account = account
        self._index = index
        self._lease = lease
        self._validity = validity
        self._uids = uids
        self._sizes = sizes
        self._deleted: set[int] = set()
        self._deleted_octets = 0
        self._octets = sum(sizes)

    @classmethod
    async def open(cls, account: Account, index: Index, leases: Leases) -> "Maildrop":
        """Raises Conflict when another session has it, AuthenticationFailed when the account has just been removed."""
        lease = await leases.acquire(f"pop-maildrop-{account.id}")
        try:
            validity = next(box.uid_validity for box in await index.mailboxes(account.id) if box.name == INBOX)
            rows = await index.rows(account.id, INBOX)
        except NotFound as error:
            await lease.release()
            raise AuthenticationFailed(str(error)) from None
        except BaseException:
            await lease.release()
            raise
        return cls(account, index, lease, validity, [row.uid for row in rows], [row.size_octets for row in rows])

    @property
    def count(self) -> int:
        """Messages, without deleted ones."""
        return len(self._uids) - len(self._deleted)

    @property
    def octets(self) -> int:
        """Of these messages."""
        return self._octets - self._deleted_octets

    def numbers(self) -> Iterator[int]:
        """Of all messages that are not deleted, in order."""
        return (number for number in range(1, len(self._uids) + 1) if number not in self._deleted)

    def size(self, number: int) -> int:
        return self._sizes[self._place(number)]

    def unique_id(self, number: int) -> str:
        """The same for ever, for no other message of the account, and never more than 21 characters. RFC 1939 §7."""
        return f"{self._validity}.{self._uids[self._place(number)]}"

    async def stored(self, number: int) -> StoredMessage:
        return await self._index.message(self.account.id, INBOX, self._uids[self._place(number)])

    def delete(self, number: int) -> None:
        self._deleted_octets += self.size(number)
        self._deleted.add(number)

    def reset(self) -> None:
        """Take all deletions back."""
        self._deleted.clear()
        self._deleted_octets = 0

    async def update(self) -> int:
        """Remove the deleted messages for good; how many. Raises Transient."""
        if not self._deleted:
            return 0
        return len(
            await self._index.expunge(
                self.account.id, INBOX, [self._uids[number - 1] for number in sorted(self._deleted)]
            )
        )

    async def release(self) -> None:
        """Let others have it. Idempotent."""
        await self._lease.release()

    def _place(self, number: int) -> int:
        if not 1 <= number <= len(self._uids) or number in self._deleted:
            raise NotFound(f"no message {number}")
        return number - 1
