"""What is in a mailbox: UIDs and sizes as columns, and the lines of POP's LIST and UIDL made from them.

Guarantees: a listing never changes, so sessions and the cache share it; a mailbox of 100,000 messages costs some 5 MiB
however many sessions have had it; an unchanged one is listed again at the cost of one look at its counters, one
with new messages at the cost of these.

A message never changes and its UID never returns (`ports.index`), so a listing from before is still good exactly when
the messages that came since, added to it, make up the mailbox's counters: nothing is gone then.

Leaves to others: numbers that a session has marked as deleted (`maildrop`).
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence

from maillib.ports.directory import AccountId
from maillib.ports.index import INBOX, Index, Mailbox, MailboxKey, Sizes, Uid

LINES_AT_ONCE = 1000
"""Of LIST and UIDL, made and sent in one go: 27 KB at most, and a fraction of a millisecond."""

KEPT_MESSAGES = 200_000
"""In all listings that are kept for the next session: twelve octets each, and some forty for their lines."""

LISTING_COST = 20
"""An empty listing takes as much memory as so many messages."""


class Listing:
    """Messages, numbered from 1, as they were at one moment."""

    def __init__(self, mailbox: Mailbox, uids: "array[int]", octets: "array[int]") -> None:
        self.mailbox = mailbox
        self.uids = uids
        self.octets = octets
        self.total_octets = sum(octets)
        self._scan: dict[int, bytes] = {}
        self._unique_ids: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.uids)

    def unique_id(self, number: int) -> str:
        """The same for ever, for no other message of the account, and never more than 21 characters. RFC 1939 §7."""
        return f"{self.mailbox.uid_validity}.{self.uids[number - 1]}"

    @property
    def blocks(self) -> range:
        """The listing in parts of LINES_AT_ONCE messages; the last one may be shorter."""
        return range(-(-len(self) // LINES_AT_ONCE))

    def scan(self, block: int) -> bytes:
        """A block's lines of LIST."""
        if block not in self._scan:
            self._scan[block] = _lines(self.octets, block, "")
        return self._scan[block]

    def unique_ids(self, block: int) -> bytes:
        """A block's lines of UIDL."""
        if block not in self._unique_ids:
            self._unique_ids[block] = _lines(self.uids, block, f"{self.mailbox.uid_validity}.")
        return self._unique_ids[block]

    def extended(self, news: Sizes) -> "Listing | None":
        """With what has come since; None: something else has happened."""
        if (
            news.mailbox.uid_validity != self.mailbox.uid_validity
            or news.mailbox.messages != len(self) + len(news.uids)
            or news.mailbox.octets != self.total_octets + sum(news.octets)
        ):
            return None
        if not news.uids:
            return self
        longer = Listing(news.mailbox, self.uids + news.uids, self.octets + news.octets)
        whole_blocks = len(self) // LINES_AT_ONCE
        longer._scan = {block: lines for block, lines in self._scan.items() if block < whole_blocks}
        longer._unique_ids = {block: lines for block, lines in self._unique_ids.items() if block < whole_blocks}
        return longer


def _lines(column: Sequence[int], block: int, prefix: str) -> bytes:
    first = block * LINES_AT_ONCE
    values = column[first : first + LINES_AT_ONCE]
    return "".join([f"{number} {prefix}{value}\r\n" for number, value in enumerate(values, first + 1)]).encode()


class Listings:
    """The listings of all mailboxes that a process has served of late."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: OrderedDict[tuple[AccountId, MailboxKey], Listing] = OrderedDict()
        """The least recently used one first."""
        self._cost = 0

    async def current(self, account: AccountId, mailbox: MailboxKey = INBOX) -> Listing:
        """What is there now. Raises NotFound (account or mailbox is gone), Transient, StoreUnusable."""
        known = self._kept.get((account, mailbox))
        listing = None
        if known is not None:
            listing = known.extended(await self._index.sizes(account, mailbox, Uid(known.mailbox.uid_next)))
        if listing is None:
            sizes = await self._index.sizes(account, mailbox)
            listing = Listing(sizes.mailbox, sizes.uids, sizes.octets)
        self._keep((account, mailbox), listing)
        return listing

    def _keep(self, key: tuple[AccountId, MailboxKey], listing: Listing) -> None:
        before = self._kept.pop(key, None)
        if before is not None:
            self._cost -= len(before) + LISTING_COST
        self._kept[key] = listing
        self._cost += len(listing) + LISTING_COST
        while self._cost > KEPT_MESSAGES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._cost -= len(oldest) + LISTING_COST
