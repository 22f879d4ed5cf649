"""Which messages a search key means. RFC 9051 §6.4.4, RFC 5032.

Guarantees: every message that has a number and is still there is looked at; what a row can decide costs no octets, and
the octets of the others are read some messages at a time. Text is compared decoded and folded (`maillib.message.text`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property

from maillib import maillog
from maillib.errors import MailError
from maillib.message import text
from maillib.message.dates import sent_date
from maillib.message.mime import Part, header_end, structure
from maillib.ports.index import Row, Uid
from maillib.protocols.imap.search_keys import (
    All,
    And,
    Body,
    Dated,
    DateOf,
    EmailId,
    Flag,
    Header,
    Key,
    Larger,
    Leaf,
    ModSeqFrom,
    Not,
    Numbers,
    Older,
    Or,
    Recent,
    SaveDateSupported,
    Smaller,
    Text,
    ThreadId,
    When,
    Younger,
)
from maillib.protocols.imap.sequences import Saved
from maillib.sessions import imap_bodies
from maillib.sessions.imap_client import Client
from maillib.sessions.imap_replies import Bad
from maillib.sessions.imap_view import Places, Selected

ROWS_AT_ONCE = 2000
"""Before others get their turn, where a search has up to KEYS keys; of one with more, so many fewer."""

KEYS = 8


def leaves(key: Key) -> Iterator[Leaf]:
    """All keys in it that have none in them."""
    left = [key]
    while left:
        match left.pop():
            case And(keys):
                left += keys
            case Or(either, other):
                left += (either, other)
            case Not(inner):
                left.append(inner)
            case leaf:
                yield leaf


async def matching(client: Client, key: Key) -> AsyncIterator[tuple[int, Row]]:
    """Numbers and rows, ascending. Raises Bad, MailboxGone, Transient, StoreUnusable."""
    for leaf in leaves(key):
        if isinstance(leaf, EmailId | ThreadId | SaveDateSupported) or (
            isinstance(leaf, Dated) and leaf.what is DateOf.SAVED
        ):
            raise Bad("SEARCH has no such key here")
    selected = client.selected
    question = _Question(selected, key)
    most = ROWS_AT_ONCE * KEYS // max(KEYS, sum(1 for _ in leaves(key)))
    for batch in question.candidates.batches(max(1, most)):
        rows = list(selected.numbered(batch, await selected.rows(batch)))
        answers = {row.uid: question.by_row(key, number, row) for number, row in rows}
        open_ones = [number - 1 for number, row in rows if answers[row.uid] is None]
        if open_ones:
            await _read(client, question, {row.uid: (number, row) for number, row in rows}, open_ones, answers)
        await asyncio.sleep(0)
        for number, row in rows:
            if answers[row.uid]:
                yield number, row


async def _read(
    client: Client,
    question: "_Question",
    rows: Mapping[Uid, tuple[int, Row]],
    places: Sequence[int],
    answers: dict[Uid, bool | None],
) -> None:
    """Answer by octets what rows do not tell."""
    bodies = client.shared.bodies
    stored = await client.selected.stored(places)
    for group in imap_bodies.groups(stored):
        if imap_bodies.is_large(stored[group[0]]):
            async with bodies.large(stored[group[0]]) as message:
                messages: Sequence[bytes | MailError] = (message,)
        else:
            messages = await bodies.read([stored[uid] for uid in group])
        for uid, message in zip(group, messages, strict=True):
            if isinstance(message, MailError):
                maillog.problem(what=f"message with UID {uid} of {client.account.address}", error=str(message))
                message = b""
            answers[uid] = question.by_octets(question.key, *rows[uid], _Opened(message))
        await asyncio.sleep(0)


class _Opened:
    """What SEARCH can want of a message's octets."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    @cached_property
    def header(self) -> bytes:
        return self._octets[: header_end(self._octets)]

    @cached_property
    def _tree(self) -> Part:
        return structure(self._octets)

    @cached_property
    def body_text(self) -> str:
        return text.body_text(self._octets, self._tree)

    @cached_property
    def all_text(self) -> str:
        return "\n".join(
            (text.header_text(self.header), text.part_headers_text(self._octets, self._tree), self.body_text)
        )


class _Question:
    """A search key, with the numbers in it as places of the selected mailbox."""

    def __init__(self, selected: Selected, key: Key) -> None:
        self.key = key
        self._now = time.time()
        self._selected = selected
        self._numbers = {leaf: self._places(leaf) for leaf in leaves(key) if isinstance(leaf, Numbers)}
        everything = Places((range(len(selected.uids)),) if selected.uids else ())
        keys = key.keys if isinstance(key, And) else (key,)
        self.candidates = next((self._numbers[each] for each in keys if isinstance(each, Numbers)), everything)
        """Only these can be meant."""

    def _places(self, numbers: Numbers) -> Places:
        """Numbers that no message has mean none here."""
        if numbers.uid or isinstance(numbers.messages, Saved):
            return self._selected.places(numbers.messages, uid=True)
        return Places(
            tuple(range(each.start - 1, each.stop - 1) for each in numbers.messages.ranges(len(self._selected.uids)))
        )

    def by_row(self, key: Key, number: int, row: Row) -> bool | None:
        """None: the octets have to tell."""
        match key:
            case Not(inner):
                answer = self.by_row(inner, number, row)
                return None if answer is None else not answer
            case And(keys):
                answers = [self.by_row(each, number, row) for each in keys]
                return False if False in answers else None if None in answers else True
            case Or(either, other):
                answers = [self.by_row(each, number, row) for each in (either, other)]
                return True if True in answers else None if None in answers else False
            case _:
                return self._leaf_by_row(key, number, row)

    def _leaf_by_row(self, key: Leaf, number: int, row: Row) -> bool | None:
        match key:
            case All():
                return True
            case Recent():  # no session is the first to be told
                return False
            case Flag(flag):
                return flag in row.flags or any(flag.lower() == each.lower() for each in row.flags)
            case Larger(octets):
                return row.size_octets > octets
            case Smaller(octets):
                return row.size_octets < octets
            case Older(seconds):
                return self._now - row.internal_date_s >= seconds
            case Younger(seconds):
                return self._now - row.internal_date_s <= seconds
            case ModSeqFrom(modseq):
                return row.modseq >= modseq
            case Numbers():
                return number - 1 in self._numbers[key]
            case Dated(DateOf.INTERNAL, when, day):
                return _is_when(row.internal_date.date(), when, day)
            case _:
                return None

    def by_octets(self, key: Key, number: int, row: Row, message: _Opened) -> bool:
        known = self.by_row(key, number, row)
        if known is not None:
            return known
        match key:
            case Not(inner):
                return not self.by_octets(inner, number, row, message)
            case And(keys):
                return all(self.by_octets(each, number, row, message) for each in keys)
            case Or(either, other):
                return self.by_octets(either, number, row, message) or self.by_octets(other, number, row, message)
            case Header(field, wanted):
                folded = text.fold(wanted)
                return any(folded in text.fold(value) for value in text.field_values(message.header, field))
            case Body(wanted):
                return text.fold(wanted) in message.body_text
            case Text(wanted):
                return text.fold(wanted) in message.all_text
            case Dated(DateOf.SENT, when, day):
                sent = sent_date(message.header)
                return sent is not None and _is_when(sent.date(), when, day)
            case _:
                return False


def _is_when(found: date, when: When, day: date) -> bool:
    match when:
        case When.BEFORE:
            return found < day
        case When.ON:
            return found == day
        case When.SINCE:
            return found >= day
