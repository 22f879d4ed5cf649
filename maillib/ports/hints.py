"""Hints: that a mailbox has changed, told at once to whoever waits for it.

At most once, in no order, several as one; a hint may be lost or come twice, and nothing depends on one: it says when to
ask the Index for `changes`, and who waits asks from time to time in any case.
"""

import asyncio
from collections.abc import Collection
from types import TracebackType
from typing import NamedTuple, Protocol

from maillib.ports.directory import AccountId
from maillib.ports.index import MailboxId, ModSeq

_MOST_WAITING = 1000
"""Mailboxes with a hint that one watch has not taken yet; further ones are lost."""


class Hint(NamedTuple):
    account: AccountId
    mailbox: MailboxId
    modseq: ModSeq
    """The mailbox's highest by then."""


class Hints(Protocol):
    def publish(self, account: AccountId, mailbox: MailboxId, modseq: ModSeq) -> None:
        """Never waits and never fails; from any thread."""

    def watch(self, accounts: Collection[AccountId] | None) -> "Watch":
        """What is published from now on about these accounts; None: about all."""


class Watch:
    """Yields hints, one for each mailbox that has changed since it was yielded last; ends when it is closed.

    For one event loop.
    """

    def __init__(self, watches: "Watches", accounts: frozenset[AccountId | None]) -> None:
        self._watches = watches
        self.accounts = accounts
        self._waiting: dict[tuple[AccountId, MailboxId], ModSeq] = {}
        self._wake = asyncio.Event()
        self._is_closed = False

    def tell(self, hint: Hint) -> None:
        key = hint.account, hint.mailbox
        if key in self._waiting or len(self._waiting) < _MOST_WAITING:
            self._waiting[key] = ModSeq(max(hint.modseq, self._waiting.get(key, hint.modseq)))
            self._wake.set()

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Hint:
        while not self._waiting:
            if self._is_closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        account, mailbox = next(iter(self._waiting))
        return Hint(account, mailbox, self._waiting.pop((account, mailbox)))

    def close(self) -> None:
        """Idempotent."""
        self._is_closed = True
        self._waiting.clear()
        self._wake.set()
        self._watches.remove(self)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Watches:
    """The watches of one process, for engines to tell."""

    def __init__(self) -> None:
        self._by_account: dict[AccountId | None, set[Watch]] = {}
        """None: those of all accounts."""

    def add(self, accounts: Collection[AccountId] | None) -> Watch:
        watch = Watch(self, frozenset((None,) if accounts is None else accounts))
        for account in watch.accounts:
            self._by_account.setdefault(account, set()).add(watch)
        return watch

    def remove(self, watch: Watch) -> None:
        """Idempotent."""
        for account in watch.accounts:
            if watching := self._by_account.get(account):
                watching.discard(watch)
                if not watching:
                    del self._by_account[account]

    def tell(self, hint: Hint) -> None:
        """In the event loop of the watches."""
        for accounts in (hint.account, None):
            for watch in self._by_account.get(accounts, ()):
                watch.tell(hint)

    def close(self) -> None:
        """All of them."""
        for watch in {watch for watching in self._by_account.values() for watch in watching}:
            watch.close()
