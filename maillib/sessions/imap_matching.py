"""Which messages a search key means. RFC 9051 §6.4.4, RFC 5032.

A key is answered for thousands of messages at a time, as a set of UIDs: by their rows where these can tell, else by
what is derived from them (`imap_derive`). Of several keys that must all hold the cheap ones come first, and the others
are asked about what is left. Text is compared decoded and folded (`maillib.message.text`).

Guarantees: every message that has a number and is still there is looked at, whatever has been derived before. Of one
that cannot be read the log tells; its text has nothing in it.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from maillib import maillog
from maillib.errors import MailError
from maillib.message.text import fold
from maillib.ports.derived import Where, contains
from maillib.ports.index import ModSeq, Row, Uid
from maillib.protocols.imap.search_keys import (
    All,
    And,
    Body,
    Dated,
    DateOf,
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
    Smaller,
    Text,
    When,
    Younger,
)
from maillib.protocols.imap.sequences import Saved
from maillib.sessions.imap_client import Client
from maillib.sessions.imap_derive import asked
from maillib.sessions.imap_view import Places, Selected, mailbox_still_there

MESSAGES_AT_ONCE = 10_000
"""Whose rows and UIDs are held; texts stay where they are."""

_OFTEN = {where.value: where for where in (Where.FROM, Where.TO, Where.CC, Where.BCC, Where.SUBJECT)}
_FIELD_NAME = re.compile(r"[!-9;-~]+", re.ASCII)

_Test = Callable[[Row], bool]


class Match(NamedTuple):
    number: int
    uid: Uid
    modseq: ModSeq
    """0 unless rows were needed, or wanted."""


async def matching(client: Client, key: Key, *, with_modseqs: bool = False) -> AsyncIterator[Sequence[Match]]:
    """Ascending, some thousand at a time. Raises Bad, MailboxGone, Transient, StoreUnusable."""
    selected = client.selected
    await selected.load()
    search = _Search(selected, key)
    needs_rows = with_modseqs or any(_needs_row(leaf) for leaf in leaves(key))
    for places in search.candidates.batches(MESSAGES_AT_ONCE):
        uids = [Uid(uid) for uid in _uids_at(selected, places)]
        rows: Mapping[Uid, Row] = {}
        if needs_rows:
            rows = {row.uid: row for row in await selected.rows(places)}
        batch = _Batch(client, search, uids, rows)
        there = (
            {uid for uid in uids if uid in rows} if needs_rows else {uid for uid in uids if not selected.is_gone(uid)}
        )
        found = await batch.meant(key, there) - batch.gone
        yield [
            Match(at + 1, uid, rows[uid].modseq if needs_rows else ModSeq(0))
            for at, uid in zip(places, uids, strict=True)
            if uid in found
        ]


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


def _uids_at(selected: Selected, places: Sequence[int]) -> Sequence[int]:
    if isinstance(places, range):
        return selected.uids[places.start : places.stop]
    return [selected.uids[at] for at in places]


class _Search:
    """A search key, with the numbers in it as places of the selected mailbox."""

    def __init__(self, selected: Selected, key: Key) -> None:
        self.now_s = time.time()
        self._selected = selected
        self.numbers = {leaf: self._places(leaf) for leaf in leaves(key) if isinstance(leaf, Numbers)}
        everything = Places((range(len(selected.uids)),) if selected.uids else ())
        keys = key.keys if isinstance(key, And) else (key,)
        self.candidates = next((self.numbers[each] for each in keys if isinstance(each, Numbers)), everything)
        """Only these can be meant."""

    def _places(self, numbers: Numbers) -> Places:
        """Numbers that no message has mean none here."""
        if numbers.uid or isinstance(numbers.messages, Saved):
            return self._selected.places(numbers.messages, uid=True)
        return Places(
            tuple(range(each.start - 1, each.stop - 1) for each in numbers.messages.ranges(len(self._selected.uids)))
        )


class _Batch:
    """Some messages, and which of them a key means."""

    def __init__(self, client: Client, search: _Search, uids: Sequence[Uid], rows: Mapping[Uid, Row]) -> None:
        self._client = client
        self._selected = client.selected
        self._search = search
        self._uids = uids
        self._rows = rows
        self.gone: set[Uid] = set()
        """Messages that turned out not to be there any more."""

    async def meant(self, key: Key, among: Set[Uid]) -> Set[Uid]:
        """Which of these. As deep as keys may be nested, which is 50."""
        if not among:
            return among
        match key:
            case And(keys):
                for each in sorted(keys, key=_cost):
                    among = await self.meant(each, among)
                return among
            case Or(either, other):
                first, second = sorted((either, other), key=_cost)
                found = await self.meant(first, among)
                return found | await self.meant(second, among - found)
            case Not(inner):
                return among - await self.meant(inner, among)
            case _:
                await asyncio.sleep(0)  # others get their turn, however many keys there are
                return await self._leaf(key, among)

    async def _leaf(self, key: Leaf, among: Set[Uid]) -> Set[Uid]:
        match key:
            case All():
                return among
            case Numbers():
                return self._numbered(key) & among
            case Header(name, text):
                return await self._in_header(name.lower(), fold(text), among)
            case Body(text):
                return await self._containing(Where.BODY, fold(text), among)
            case Text(text):
                return await self._containing(Where.TEXT, fold(text), among)
            case Dated(DateOf.SENT, when, day):
                return await self._sent(when, day.toordinal(), among)
            case _:
                test = _row_test(key, self._search.now_s)
                return {uid for uid in among if test(self._rows[uid])}

    def _numbered(self, key: Numbers) -> set[Uid]:
        first, last = self._selected.place(self._uids[0]), self._selected.place(self._uids[-1])
        assert first is not None and last is not None, "they have numbers"
        found: set[Uid] = set()
        for each in self._search.numbers[key].ranges:
            if each.start <= last and first < each.stop:
                found.update(map(Uid, self._selected.uids[max(each.start, first) : min(each.stop, last + 1)]))
        return found

    # By what is derived

    async def _in_header(self, name: str, text: str, among: Set[Uid]) -> Set[Uid]:
        if not _FIELD_NAME.fullmatch(name) or "\n" in text:
            return set()
        return await self._containing(_OFTEN.get(name, name), text, among)

    async def _containing(self, where: Where | str, text: str, among: Set[Uid]) -> Set[Uid]:
        selected, shared = self._selected, self._client.shared
        uids = self._ascending(among)
        with mailbox_still_there():
            found = await shared.index.containing(selected.account, selected.id, asked(uids), where, text)
            meant = set(found.uids).intersection(among)
            if missing := sorted(among - set(found.known)):
                self.gone.update(missing)
                async for uid, made in shared.deriving.anew(selected.account, selected.id, missing):
                    self.gone.discard(uid)
                    if isinstance(made, MailError):
                        self._tell(uid, made)
                    elif contains(made.texts, where, text):
                        meant.add(uid)
        return meant

    async def _sent(self, when: When, day: int, among: Set[Uid]) -> Set[Uid]:
        selected = self._selected
        with mailbox_still_there():
            headings = await self._client.shared.deriving.headings(
                selected.account, selected.id, self._ascending(among)
            )
        return {
            uid
            for uid in among
            if (heading := headings.get(uid)) and heading.sent_day is not None and _is_when(heading.sent_day, when, day)
        }

    def _ascending(self, among: Set[Uid]) -> Sequence[Uid]:
        return self._uids if len(among) == len(self._uids) else sorted(among)

    def _tell(self, uid: Uid, error: MailError) -> None:
        maillog.problem(what=f"message with UID {uid} of {self._client.account.address}", error=str(error))


def _cost(key: Key) -> int:
    """How long it takes to answer it, compared with others."""
    return max(map(_leaf_cost, leaves(key)))


def _leaf_cost(leaf: Leaf) -> int:
    match leaf:
        case Text():
            return 5
        case Body():
            return 4
        case Header(name):
            return 1 if name.lower() in _OFTEN else 3
        case Dated(DateOf.SENT):
            return 2
        case _:
            return 0


def _needs_row(leaf: Leaf) -> bool:
    return _leaf_cost(leaf) == 0 and not isinstance(leaf, All | Numbers)


def _row_test(key: Leaf, now_s: float) -> _Test:
    match key:
        case Flag(flag):
            return _FlagTest(flag.lower())
        case Larger(octets):
            return lambda row: row.size_octets > octets
        case Smaller(octets):
            return lambda row: row.size_octets < octets
        case Older(seconds):
            return lambda row: row.internal_date_s <= now_s - seconds
        case Younger(seconds):
            return lambda row: row.internal_date_s >= now_s - seconds
        case ModSeqFrom(modseq):
            return lambda row: row.modseq >= modseq
        case Dated(DateOf.INTERNAL, when, day):
            wanted = day.toordinal()
            return lambda row: _is_when(_DAY_OF_EPOCH + row.internal_date_s // _DAY_S, when, wanted)
        case Recent():  # no session is the first to be told
            return lambda _: False
    raise AssertionError(f"{key} is answered elsewhere")


class _FlagTest(dict[frozenset[str], bool]):
    """Answers for each set of flags once: a mailbox has some dozens."""

    def __init__(self, flag: str) -> None:
        self._flag = flag

    def __missing__(self, flags: frozenset[str]) -> bool:
        answer = self[flags] = any(each.lower() == self._flag for each in flags)
        return answer

    def __call__(self, row: Row) -> bool:
        return self[row.flags]


_DAY_S = 24 * 3600
_DAY_OF_EPOCH = 719_163
"""1970-01-01, as `date.toordinal` counts. Internal dates are in UTC."""


def _is_when(found: int, when: When, day: int) -> bool:
    match when:
        case When.BEFORE:
            return found < day
        case When.ON:
            return found == day
        case When.SINCE:
            return found >= day
