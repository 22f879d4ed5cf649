"""The mailboxes that every client looks for, made for an account at its first log-in. RFC 6154 §2.

Not when the account is made: ten thousand declared accounts are ten thousand rows of the directory, and no index is
opened for them. An account whose owner has made mailboxes before gets none, and none comes back that was deleted.
"""

from maillib.ports.directory import AccountId
from maillib.ports.index import Index

FOLDERS = {"Drafts": "\\Drafts", "Sent": "\\Sent", "Junk": "\\Junk", "Trash": "\\Trash", "Archive": "\\Archive"}


class Furnisher:
    """One for all sessions of a process."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._furnished: set[AccountId] = set()

    async def furnish(self, account: AccountId) -> None:
        """Raises StoreFull, Transient."""
        if account not in self._furnished:
            await self._index.furnish(account, FOLDERS)
            self._furnished.add(account)
