"""What rows answer to a FETCH of a whole mailbox, kept as octets for the next who asks: most clients ask for all flags.

Guarantees: what is sent is what the index has at that moment: each time it is asked what has changed since, and only
blocks with changes in them are read and rendered again; a block is used only where it has the same UIDs at the same
numbers. All that is kept stays within KEPT_OCTETS.

Theory of operation. A block is LINES messages that follow one another. What is rendered while another session finds
changes may be older than these, so it is kept only if none were found meanwhile.
"""

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from maillib.errors import TooOld
from maillib.ports.directory import AccountId
from maillib.ports.index import MailboxId, ModSeq, Row
from maillib.protocols.imap.fetch_items import FetchItem
from maillib.sessions.imap_view import Selected

LINES = 1000

KEPT_OCTETS = 16 * 1024 * 1024
"""The flags of some 400,000 messages."""

Key = tuple[AccountId, MailboxId, tuple[FetchItem, ...]]

Render = Callable[[list[tuple[int, Row]]], bytes]


@dataclass(frozen=True, slots=True)
class Block:
    uids: "array[int]"
    lines: bytes
    flags: frozenset[str]
    """All that are in it."""
    is_whole: bool
    """None of the messages is gone."""


@dataclass(slots=True)
class _Kept:
    """Of one mailbox, for one list of items."""

    modseq: ModSeq
    """The blocks that are there are as the mailbox was by then, or later."""
    blocks: list[Block | None] = field(default_factory=list)

    @property
    def octets(self) -> int:
        return sum(len(block.lines) + 4 * len(block.uids) for block in self.blocks if block is not None)


class Blocks:
    """One for all sessions of a process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        """The least recently used one first."""

    async def of(
        self, selected: Selected, places: range, items: Sequence[FetchItem], render: Render
    ) -> AsyncIterator[Block]:
        """What is to be said of these places, which begin where a block does.

        Raises MailboxGone, Transient, StoreUnusable.
        """
        key = (selected.account, selected.id, tuple(items))
        kept = self._kept.setdefault(key, _Kept(selected.modseq))
        self._kept.move_to_end(key)
        await _refresh(kept, selected)
        for start in range(places.start, places.stop, LINES):
            uids = selected.uids[start : min(start + LINES, places.stop)]
            number = start // LINES
            block = kept.blocks[number] if number < len(kept.blocks) else None
            if block is None or block.uids != uids:
                modseq = kept.modseq
                block = await _rendered(selected, range(start, start + len(uids)), render)
                if kept.modseq == modseq:
                    kept.blocks += [None] * (number + 1 - len(kept.blocks))
                    kept.blocks[number] = block
            yield block
        self._make_room()

    def _make_room(self) -> None:
        octets = sum(kept.octets for kept in self._kept.values())
        while octets > KEPT_OCTETS:
            _, oldest = self._kept.popitem(last=False)
            octets -= oldest.octets


async def _refresh(kept: _Kept, selected: Selected) -> None:
    """Forget the blocks in which something has changed."""
    complete = False
    while not complete:
        try:
            changes = await selected.changes(kept.modseq)
        except TooOld:
            kept.blocks.clear()
            kept.modseq = selected.modseq
            return
        touched = sorted([*(row.uid for row in changes.rows), *changes.vanished])
        for number, block in enumerate(kept.blocks):
            if block is not None:
                at = bisect_left(touched, block.uids[0])
                if at < len(touched) and touched[at] <= block.uids[-1]:
                    kept.blocks[number] = None
        kept.modseq = max(kept.modseq, changes.modseq)
        complete = changes.complete


async def _rendered(selected: Selected, places: range, render: Render) -> Block:
    rows = await selected.rows(places)
    flags: frozenset[str] = frozenset().union(*{row.flags for row in rows})
    lines = render(list(selected.numbered(places, rows)))
    return Block(selected.uids[places.start : places.stop], lines, flags, is_whole=len(rows) == len(places))
