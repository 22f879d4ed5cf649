"""The Index port over one SQLite database and a folder of bodies per account.

Guarantees: what the port says, for any number of processes at once.

Leaves to others: one account's rows and files (`account_index`), which accounts are open (`open_accounts`), who may use
an account (sessions).
"""

import functools
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from maillib.embedded.account_append import Append
from maillib.embedded.account_index import AccountIndex, Terms
from maillib.embedded.files import make_directory, refuse_network_file_system
from maillib.embedded.hints import hints_folder, publish
from maillib.embedded.lanes import Lanes
from maillib.embedded.open_accounts import OpenAccounts
from maillib.embedded.threads import Threads
from maillib.errors import MailError, NotFound, StoreDamaged
from maillib.ports.derived import Derived, Found, Heading, Shown, ShownRow, Where
from maillib.ports.directory import Account, AccountId
from maillib.ports.flags import FlagChange
from maillib.ports.index import (
    EVERY_UID,
    FIRST_UID,
    Appended,
    Changes,
    Copied,
    Expunged,
    FlagsChanged,
    Mailbox,
    MailboxKey,
    ModSeq,
    NewMessage,
    Retention,
    Row,
    Sizes,
    StoredMessage,
    Uid,
    Uids,
    Usage,
)

T = TypeVar("T")

_THREADS = 8
"""A commit waits for the disk, not for the processor; more commits in flight share the disk's own batches."""

_MOST_APPENDS = 64
"""In one transaction, which others of the account wait for: some milliseconds."""


class EmbeddedIndex:
    """The Index port; one object per process."""

    def __init__(
        self,
        state_dir: Path,
        account_of: Callable[[AccountId], Awaitable[Account]],
        *,
        open_accounts: int | None = None,
        retention: Retention = Retention(),  # noqa: B008 - immutable
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`account_of` (the Directory's `account`) tells an account's quota when something is appended.
        `open_accounts`: kept open while idle; None: as many as the limit of descriptors allows.

        Raises ConfigError when `state_dir` is on a network file system.
        """
        make_directory(state_dir / "mail")
        refuse_network_file_system(state_dir / "mail")
        self._account_of = account_of
        terms = Terms(functools.partial(publish, hints_folder(state_dir)), retention, clock)
        self._accounts = OpenAccounts(state_dir, terms, most=open_accounts)
        self._threads = Threads("index", _THREADS)
        self._appends = Lanes(self._threads, self._append_all, most=_MOST_APPENDS, lanes=_THREADS)

    async def mailboxes(self, account: AccountId) -> Sequence[Mailbox]:
        return await self._run(account, AccountIndex.mailboxes)

    async def subscriptions(self, account: AccountId) -> Collection[str]:
        return await self._run(account, AccountIndex.subscriptions)

    async def create(self, account: AccountId, name: str, *, special_use: str | None = None) -> Mailbox:
        return await self._run(account, lambda index: index.create(name, special_use))

    async def furnish(self, account: AccountId, mailboxes: Mapping[str, str]) -> None:
        await self._run(account, lambda index: index.furnish(mailboxes))

    async def rename(self, account: AccountId, name: str, new_name: str) -> None:
        await self._run(account, lambda index: index.rename(name, new_name))

    async def delete(self, account: AccountId, name: str) -> None:
        await self._run(account, lambda index: index.delete(name))

    async def subscribe(self, account: AccountId, name: str) -> None:
        await self._run(account, lambda index: index.subscribe(name))

    async def unsubscribe(self, account: AccountId, name: str) -> None:
        await self._run(account, lambda index: index.unsubscribe(name))

    async def append(
        self, account: AccountId, mailbox: MailboxKey, messages: Sequence[NewMessage]
    ) -> Sequence[Appended]:
        owner = await self._account_of(account)
        one = Append(mailbox, messages, str(owner.address), owner.quota_octets)
        try:
            return await self._appends.call(account, one)
        except StoreDamaged as error:
            raise await self._with_remedy(account, error) from error

    async def rows(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids = EVERY_UID, *, limit: int | None = None
    ) -> Sequence[Row]:
        return await self._run(account, lambda index: index.rows(mailbox, uids, limit))

    async def sizes(self, account: AccountId, mailbox: MailboxKey, since: Uid = FIRST_UID) -> Sizes:
        return await self._run(account, lambda index: index.sizes(mailbox, since))

    async def messages(self, account: AccountId, mailbox: MailboxKey, uids: Uids) -> Mapping[Uid, StoredMessage]:
        return await self._run(account, lambda index: index.messages(mailbox, uids))

    async def changes(self, account: AccountId, mailbox: MailboxKey, since: ModSeq, *, limit: int) -> Changes:
        return await self._run(account, lambda index: index.changes(mailbox, since, limit))

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
        return await self._run(account, lambda index: index.set_flags(mailbox, uids, how, flags, unchanged_since))

    async def expunge(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, *, only_deleted: bool = False
    ) -> Expunged:
        return await self._run(account, lambda index: index.expunge(mailbox, uids, only_deleted=only_deleted))

    async def copy(self, account: AccountId, source: MailboxKey, uids: Uids, destination: MailboxKey) -> Copied:
        owner = await self._account_of(account)
        return await self._run(
            account,
            lambda index: index.copy(
                source, uids, destination, owner=str(owner.address), quota_octets=owner.quota_octets
            ),
        )

    async def move(self, account: AccountId, source: MailboxKey, uids: Uids, destination: MailboxKey) -> Copied:
        return await self._run(account, lambda index: index.move(source, uids, destination))

    async def usage(self, account: AccountId) -> Usage:
        return await self._run(account, AccountIndex.usage)

    async def views(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, shown: Sequence[Shown]
    ) -> Sequence[ShownRow]:
        return await self._run(account, lambda index: index.views(mailbox, uids, shown))

    async def headings(self, account: AccountId, mailbox: MailboxKey, uids: Uids) -> Sequence[Heading]:
        return await self._run(account, lambda index: index.headings(mailbox, uids))

    async def containing(
        self, account: AccountId, mailbox: MailboxKey, uids: Uids, where: Where | str, text: str
    ) -> Found:
        return await self._run(account, lambda index: index.containing(mailbox, uids, where, text))

    async def put_derived(self, account: AccountId, mailbox: MailboxKey, derived: Sequence[Derived]) -> None:
        await self._run(account, lambda index: index.put_derived(mailbox, derived))

    async def settle(self, account: AccountId) -> bool:
        return await self._run(account, AccountIndex.settle)

    async def close(self) -> None:
        """Return when what was begun has ended and every database is closed. Idempotent."""
        await self._appends.close()
        await self._threads.close()
        self._accounts.close()

    async def _run(self, account: AccountId, call: Callable[[AccountIndex], T]) -> T:
        def with_index() -> T:
            with self._accounts.use(account) as index:
                return call(index)

        try:
            return await self._threads.run(with_index)
        except StoreDamaged as error:
            raise await self._with_remedy(account, error) from error

    def _append_all(self, account: AccountId, appends: Sequence[Append]) -> Sequence[list[Appended] | MailError]:
        with self._accounts.use(account) as index:
            return index.append_all(appends)

    async def _with_remedy(self, account: AccountId, error: StoreDamaged) -> StoreDamaged:
        with suppress(NotFound):  # the account has been removed meanwhile
            owner = await self._account_of(account)
            return StoreDamaged(f"{error}; `postroom mailbox rebuild {owner.address}` makes it anew")
        return error
