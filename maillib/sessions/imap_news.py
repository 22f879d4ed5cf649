"""News of mailboxes for the sessions of a process: one watch of the hints for each account, however many look at it.

Guarantees: who looks is told soon after a change, and at least every LOOK_AGAIN_S, as hints may be lost; to be told
means to ask the index, and nothing more.
"""

import asyncio
from collections.abc import Callable, Iterable

from maillib.ports.directory import AccountId
from maillib.ports.hints import Hints, Watch
from maillib.ports.index import MailboxId, ModSeq

LOOK_AGAIN_S = 60.0

Tell = Callable[[ModSeq | None], None]
"""With the mailbox's highest modseq by then, None: look whether it has become higher. Neither waits nor fails."""


class Interest:
    """Of one session in one mailbox; `end` it."""

    __slots__ = ("_onlookers", "mailbox", "tell")

    def __init__(self, onlookers: "_Onlookers", mailbox: MailboxId, tell: Tell) -> None:
        self._onlookers = onlookers
        self.mailbox = mailbox
        self.tell = tell

    def end(self) -> None:
        """Idempotent."""
        self._onlookers.remove(self)


class News:
    """One for all sessions of a process, in one event loop."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._of_accounts: dict[AccountId, _Onlookers] = {}

    def about(self, account: AccountId, mailbox: MailboxId, tell: Tell) -> Interest:
        """Have `tell` called whenever there may be news."""
        onlookers = self._of_accounts.get(account)
        if onlookers is None:
            onlookers = _Onlookers(self._hints.watch([account]), lambda: self._of_accounts.pop(account))
            self._of_accounts[account] = onlookers
        return onlookers.add(mailbox, tell)

    async def close(self) -> None:
        """Idempotent."""
        for onlookers in list(self._of_accounts.values()):
            await onlookers.close()


class _Onlookers:
    """Those of one account."""

    def __init__(self, watch: Watch, forget: Callable[[], object]) -> None:
        self._watch = watch
        self._forget = forget
        self._interests: dict[MailboxId, set[Interest]] = {}
        self._task = asyncio.create_task(self._listen())

    def add(self, mailbox: MailboxId, tell: Tell) -> Interest:
        interest = Interest(self, mailbox, tell)
        self._interests.setdefault(mailbox, set()).add(interest)
        return interest

    def remove(self, interest: Interest) -> None:
        of_mailbox = self._interests.get(interest.mailbox, set())
        of_mailbox.discard(interest)
        if not of_mailbox and self._interests.pop(interest.mailbox, None) is not None and not self._interests:
            self._forget()
            self._watch.close()  # ends the task

    async def _listen(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    hint = await anext(self._watch)
            except TimeoutError:
                self._tell(self._interests, None)
            except StopAsyncIteration:
                return
            else:
                self._tell([hint.mailbox], hint.modseq)

    def _tell(self, mailboxes: Iterable[MailboxId], modseq: ModSeq | None) -> None:
        for interest in [interest for mailbox in mailboxes for interest in self._interests.get(mailbox, ())]:
            interest.tell(modseq)

    async def close(self) -> None:
        self._watch.close()
        await self._task
