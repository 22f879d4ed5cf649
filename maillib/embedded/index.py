"""The Index port over one SQLite database and a folder of bodies per account.

Guarantees: what the port says, for any number of processes at once. At most `OPEN_ACCOUNTS` databases are open and idle
in one process; the least recently used one is closed first.

Leaves to others: one account's rows and files (`account_index`), who may use an account (sessions).
"""

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from maillib.embedded.account_check import check_account
from maillib.embedded.account_index import AccountIndex
from maillib.embedded.files import make_directory, refuse_network_file_system
from maillib.embedded.sqlite import Threads
from maillib.ports.directory import Account, AccountId
from maillib.ports.index import FIRST_UID, Appended, Mailbox, NewMessage, Row, Sizes, StoredMessage, Uid, Usage

T = TypeVar("T")

OPEN_ACCOUNTS = 64
"""An open database costs three descriptors and up to 256 KiB; opening one costs about a millisecond."""

_THREADS = 8
"""A commit waits for the disk, not for the processor; more commits in flight share the disk's own batches."""


class EmbeddedIndex:
    """The Index port; one object per process."""

    def __init__(self, state_dir: Path, account_of: Callable[[AccountId], Awaitable[Account]]) -> None:
        """`account_of` (the Directory's `account`) tells an account's quota when something is appended.

        Raises ConfigError when `state_dir` is on a network file system.
        """
        make_directory(state_dir / "mail")
        refuse_network_file_system(state_dir / "mail")
        self._account_of = account_of
        self._accounts = _OpenAccounts(state_dir)
        self._threads = Threads("index", _THREADS)

    async def mailboxes(self, account: AccountId) -> Sequence[Mailbox]:
        return await self._run(account, AccountIndex.mailboxes)

    async def append(self, account: AccountId, mailbox: str, messages: Sequence[NewMessage]) -> Sequence[Appended]:
        owner = await self._account_of(account)
        return await self._run(
            account,
            lambda index: index.append(mailbox, messages, owner=str(owner.address), quota_octets=owner.quota_octets),
        )

    async def rows(self, account: AccountId, mailbox: str) -> Sequence[Row]:
        return await self._run(account, lambda index: index.rows(mailbox))

    async def sizes(self, account: AccountId, mailbox: str, since: Uid = FIRST_UID) -> Sizes:
        return await self._run(account, lambda index: index.sizes(mailbox, since))

    async def messages(self, account: AccountId, mailbox: str, uids: Collection[Uid]) -> Mapping[Uid, StoredMessage]:
        return await self._run(account, lambda index: index.messages(mailbox, uids))

    async def message(self, account: AccountId, mailbox: str, uid: Uid) -> StoredMessage:
        return await self._run(account, lambda index: index.message(mailbox, uid))

    async def expunge(self, account: AccountId, mailbox: str, uids: Collection[Uid]) -> Sequence[Uid]:
        return await self._run(account, lambda index: index.expunge(mailbox, uids))

    async def usage(self, account: AccountId) -> Usage:
        return await self._run(account, AccountIndex.usage)

    async def check(self, account: AccountId) -> Sequence[str]:
        """What is wrong with the account's index and bodies, one sentence each; empty: nothing. Changes nothing.

        Holds the account's write lock meanwhile, so that it does not see half of a delivery.
        """
        return await self._run(account, check_account)

    async def close(self) -> None:
        """Return when what was begun has ended and every database is closed. Idempotent."""
        await self._threads.close()
        self._accounts.close()

    async def _run(self, account: AccountId, call: Callable[[AccountIndex], T]) -> T:
        def with_index() -> T:
            with self._accounts.use(account) as index:
                return call(index)

        return await self._threads.run(with_index)


class _Slot:
    """An account in use or kept open."""

    def __init__(self) -> None:
        self.opening = threading.Lock()
        self.index: AccountIndex | None = None
        self.users = 0

    def close(self) -> None:
        if self.index is not None:
            self.index.close()


class _OpenAccounts:
    """Which accounts are open in this process; least recently used first. For several threads."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._lock = threading.Lock()
        self._slots: OrderedDict[AccountId, _Slot] = OrderedDict()

    @contextmanager
    def use(self, account: AccountId) -> Iterator[AccountIndex]:
        """The account's index, which stays open at least as long as the block runs."""
        with self._lock:
            slot = self._slots.setdefault(account, _Slot())
            self._slots.move_to_end(account)
            slot.users += 1
        try:
            with slot.opening:  # of two threads that want a new account, one opens it; others are not held up
                if slot.index is None:
                    slot.index = AccountIndex(self._state_dir, account)
            yield slot.index
        finally:
            with self._lock:
                slot.users -= 1
                surplus = self._take_surplus()
            for idle in surplus:
                idle.close()

    def _take_surplus(self) -> list[_Slot]:
        """Slots over the limit that nobody uses, no longer listed: closing them is the caller's, outside the lock."""
        surplus = len(self._slots) - OPEN_ACCOUNTS
        if surplus <= 0:
            return []
        idle = [account for account, slot in self._slots.items() if slot.users == 0]
        return [self._slots.pop(account) for account in idle[:surplus]]

    def close(self) -> None:
        while self._slots:
            self._slots.popitem()[1].close()
