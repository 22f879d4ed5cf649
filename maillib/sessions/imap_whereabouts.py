"""Where the octets of single messages are, remembered for all sessions of a process: clients fetch one after the other.

Guarantees: a message that is there is found; one that is gone may still be found, and then its octets are not. What is
remembered stays within BLOCKS blocks of messages that follow one another: one question to the index serves many.
"""

from collections import OrderedDict
from collections.abc import Mapping

from maillib.ports.directory import AccountId
from maillib.ports.index import Index, MailboxId, StoredMessage, Uid

BLOCK = 64
"""UIDs."""

BLOCKS = 400
"""Some six megabytes."""


class Whereabouts:
    """A message never changes, and its UID never means another."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: OrderedDict[tuple[AccountId, MailboxId, int], Mapping[Uid, StoredMessage]] = OrderedDict()
        """The least recently used one first."""

    async def of(self, account: AccountId, mailbox: MailboxId, uid: Uid) -> StoredMessage | None:
        """None: it is gone. Raises NotFound (the mailbox is), Transient, StoreUnusable."""
        block = uid // BLOCK
        key = (account, mailbox, block)
        known = self._kept.get(key)
        if known is None or uid not in known:  # it may have come since
            known = await self._index.messages(account, mailbox, range(block * BLOCK, (block + 1) * BLOCK))
            self._kept[key] = known
            if len(self._kept) > BLOCKS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return known.get(uid)
