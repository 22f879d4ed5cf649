"""Hints within one process."""

from collections.abc import Collection

from maillib.ports.directory import AccountId
from maillib.ports.hints import Hint, Watch, Watches
from maillib.ports.index import MailboxId, ModSeq


class MemoryHints:
    """The Hints port; everything in one event loop."""

    def __init__(self) -> None:
        self._watches = Watches()

    def publish(self, account: AccountId, mailbox: MailboxId, modseq: ModSeq) -> None:
        self._watches.tell(Hint(account, mailbox, modseq))

    def watch(self, accounts: Collection[AccountId] | None) -> Watch:
        return self._watches.add(accounts)

    async def close(self) -> None:
        """Ends every watch. Idempotent."""
        self._watches.close()
