"""FETCH: rows, structures and octets of messages. RFC 9051 §6.4.5, RFC 7162 §3.1.4, RFC 3516, RFC 8970.

Guarantees: what rows can answer costs one look at the index for ten thousand messages and is sent in a few joined
writes; octets are read some messages at a time, and whole messages pass in pieces however large they are; an octet
count is right, or the connection ends. Messages that are gone are left out; the tagged OK says so ([EXPUNGEISSUED])
where they were meant by numbers.

Leaves to others: which messages are meant (`imap_view`), what parts are (`maillib.message`).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext

from maillib import maillog
from maillib.dialog import Output
from maillib.errors import MailError, NotFound, PeerError, PermanentError, TemporaryError
from maillib.message.sections import UnknownEncoding
from maillib.ports.derived import Shown, Values
from maillib.ports.flags import SEEN, FlagChange
from maillib.ports.index import Row, StoredMessage, Uid
from maillib.protocols.imap import replies
from maillib.protocols.imap.commands import Fetch
from maillib.protocols.imap.fetch_items import Binary, BodySection, FetchItem, Item
from maillib.protocols.imap.sequences import Saved
from maillib.sessions import imap_bodies, imap_changes
from maillib.sessions.imap_blocks import LINES as BLOCK
from maillib.sessions.imap_bodies import WHOLE_OCTETS
from maillib.sessions.imap_client import LINES_AT_ONCE, Client, Done
from maillib.sessions.imap_content import (
    Answers,
    Content,
    Opened,
    cut,
    is_made,
    is_of_header,
    is_whole,
    without_nul,
)
from maillib.sessions.imap_derive import asked
from maillib.sessions.imap_fetch_lines import ROW_ITEMS, VIEW_ITEMS, Lines, row_item
from maillib.sessions.imap_replies import Bad, Refused
from maillib.sessions.imap_view import ROWS_AT_ONCE, Places, mailbox_still_there

PIECE_OCTETS = 64 * 1024
"""Of a long answer: more is not held twice for a client that reads slowly."""

PLACES_AT_ONCE = 500
"""Messages whose octets' whereabouts are looked up in one go."""


async def fetch(client: Client, command: Fetch, output: Output) -> Done:
    selected = client.selected
    if command.vanished and not client.qresync:
        raise Bad("QRESYNC has to be enabled first")  # RFC 7162 §3.2.6
    items = _wanted(client, command)
    await selected.load_for(command.messages, uid=command.uid or command.changed_since is not None)
    places = selected.places(command.messages, uid=command.uid)
    if command.changed_since is not None:
        since = await imap_changes.since(selected, command.changed_since)
        if command.vanished:
            await imap_changes.tell_vanished(selected, since.vanished, _known_uids(client, command), output)
        places = imap_changes.narrowed(selected, places, since.changed)
    task = _Fetching(client, items, output, changed_since=command.changed_since)
    await task.run(places)
    return task.done(by_number=not command.uid and command.changed_since is None)


async def tell_flags(client: Client, places: Places, output: Output, *, changed_since: int) -> None:
    """UID, FLAGS and MODSEQ of those that have changed since."""
    await _Fetching(client, [Item.UID, Item.FLAGS, Item.MODSEQ], output, changed_since=changed_since).run(places)


def _wanted(client: Client, command: Fetch) -> list[FetchItem]:
    """Each once. Raises Bad."""
    items: list[FetchItem] = [Item.UID] if command.uid else []
    if command.changed_since is not None:
        items.append(Item.MODSEQ)  # RFC 7162 §3.1.4.1
    items = list(dict.fromkeys([*items, *command.items]))
    if Item.MODSEQ in items:
        client.condstore = True
    if not items or not all(item in ROW_ITEMS or item in VIEW_ITEMS or isinstance(item, Content) for item in items):
        raise Bad("FETCH has no such item here")
    return items


def _known_uids(client: Client, command: Fetch) -> Sequence[range]:
    """Of the client, for VANISHED: what it named, messages that are gone too."""
    selected = client.selected
    last = max(selected.mailbox.uid_next - 1, selected.uids[-1] if selected.uids else 0)
    if isinstance(command.messages, Saved):
        return [range(uid, uid + 1) for uid in selected.saved]
    return command.messages.ranges(last)


class _Fetching:
    """One FETCH."""

    def __init__(
        self, client: Client, items: Sequence[FetchItem], output: Output, *, changed_since: int | None
    ) -> None:
        self._client = client
        self._selected = client.selected
        self._items = items
        self._output = output
        self._changed_since = changed_since
        self._content = [item for item in items if isinstance(item, Content)]
        self._shown = list(dict.fromkeys([VIEW_ITEMS[item][1] for item in items if item in VIEW_ITEMS]))
        if self._content and all(is_of_header(item) for item in self._content):  # no need for the rest
            self._content = []
            self._shown.append(Shown.HEADER)
        self._lines = Lines(items, self._shown)
        self._sets_seen = not self._selected.read_only and any(
            isinstance(item, BodySection | Binary) and not item.peek for item in items
        )
        self._needs_rows = (
            self._sets_seen
            or changed_since is not None
            or any(item in ROW_ITEMS and item is not Item.UID for item in items)
        )
        self._views: Mapping[Uid, Values | MailError] = {}
        """Of the messages in hand."""
        self._newly_seen: set[Uid] = set()
        self._is_gone = False
        """Some of the messages are not there any more."""
        self._failed: Refused | None = None
        """Some could not be read."""

    async def run(self, places: Places) -> None:
        """Raises PeerError in the middle of a message that cannot be read to its end; MailboxGone, Transient."""
        in_blocks = self._changed_since is None and len(places) > LINES_AT_ONCE and places.ranges[0].start % BLOCK == 0
        if self._content or self._shown:
            if in_blocks and self._needs_rows and not (self._content or self._sets_seen):
                await self._view_blocks(places.ranges[0])
                places = Places(places.ranges[1:])
            for batch in places.batches(PLACES_AT_ONCE if self._content else LINES_AT_ONCE):
                await self._batch(batch)
        elif in_blocks:
            await self._blocks(places.ranges[0])
            await self._rows_of(Places(places.ranges[1:]))
        else:
            await self._rows_of(places)

    def done(self, *, by_number: bool) -> Done:
        """Raises Refused when some messages could not be read."""
        if self._failed is not None:
            raise self._failed
        if by_number and self._is_gone:
            return Done("some messages are not there any more", code="EXPUNGEISSUED")
        return Done("fetched")

    # What rows answer

    async def _read_rows(self, batch: Sequence[int]) -> list[tuple[int, Row]]:
        rows = await self._selected.rows(batch)
        self._is_gone = self._is_gone or len(rows) < len(batch)
        numbered = self._selected.numbered(batch, rows)
        since = self._changed_since
        found = list(numbered) if since is None else [(number, row) for number, row in numbered if row.modseq > since]
        if Item.FLAGS in self._items:
            await self._client.announce({row.flags for _, row in found}, self._output)
        return found

    async def _blocks(self, places: range) -> None:
        def render(rows: list[tuple[int, Row]]) -> bytes:
            return b"".join(self._lines.of_rows(rows))

        async for block in self._client.shared.blocks.of(self._selected, places, self._items, render):
            self._is_gone = self._is_gone or not block.is_whole
            if Item.FLAGS in self._items:
                await self._client.announce((block.flags,), self._output)
            await self._output.send(block.lines)

    async def _rows_of(self, places: Places) -> None:
        for batch in places.batches(ROWS_AT_ONCE):
            await self._rows(batch)

    async def _rows(self, batch: Sequence[int]) -> None:
        found = await self._read_rows(batch)
        lines = self._lines.of_rows(found)
        for start in range(0, len(lines), LINES_AT_ONCE):
            await self._output.send(b"".join(lines[start : start + LINES_AT_ONCE]))
            await asyncio.sleep(0)

    # What octets answer

    async def _batch(self, batch: Sequence[int]) -> None:
        selected = self._selected
        rows: dict[Uid, Row] = {}
        if self._needs_rows:
            found = await self._read_rows(batch)
            rows = {row.uid: row for _, row in found}
            batch = [number - 1 for number, _ in found]
            if self._sets_seen:
                await self._set_seen(rows)
        if self._shown:
            await self._read_views(batch)
        if not self._content:
            await self._send_views(batch, rows)
            return
        if len(batch) == 1 and not self._shown:
            await self._one(batch[0], rows)
            return
        stored = await selected.stored(batch)
        self._is_gone = self._is_gone or len(stored) < len(batch)
        for group in imap_bodies.groups(stored):
            await self._group({uid: stored[uid] for uid in group}, rows)

    async def _one(self, at: int, rows: Mapping[Uid, Row]) -> None:
        selected, uid = self._selected, Uid(self._selected.uids[at])
        with mailbox_still_there():
            stored = await self._client.shared.whereabouts.of(selected.account, selected.id, uid)
        if stored is None:
            self._is_gone = True
        else:
            await self._group({uid: stored}, rows)

    async def _set_seen(self, rows: dict[Uid, Row]) -> None:
        """Messages whose text is sent are seen; where that cannot be kept they are sent all the same."""
        unseen = [uid for uid, row in rows.items() if SEEN not in row.flags]
        if not unseen:
            return
        try:
            changed = await self._selected.set_flags(unseen, FlagChange.ADD, frozenset((SEEN,)))
        except TemporaryError as error:
            maillog.problem(what="\\Seen", error=str(error))
            return
        if changed.rows:
            self._selected.told(changed.modseq, whole=True)
            rows.update((row.uid, row) for row in changed.rows)
            self._newly_seen.update(row.uid for row in changed.rows)
            await self._client.announce({row.flags for row in changed.rows}, self._output)

    async def _read_views(self, batch: Sequence[int]) -> None:
        selected = self._selected
        uids = [Uid(selected.uids[at]) for at in batch]
        with mailbox_still_there():
            self._views = await self._client.shared.deriving.views(selected.account, selected.id, uids, self._shown)

    async def _view_blocks(self, places: range) -> None:
        """What is derived, behind what rows answer."""

        def render(rows: list[tuple[int, Row]]) -> bytes:
            return b"\n".join(self._lines.beginnings(rows))

        selected, start = self._selected, places.start
        async for block in self._client.shared.blocks.of(selected, places, self._items, render):
            here = range(start, start + len(block.uids))
            start = here.stop
            uids = [Uid(uid) for uid in block.uids]
            with mailbox_still_there():
                rows = await self._client.index.views(selected.account, selected.id, asked(uids), self._shown)
            if not block.is_whole or [row[0] for row in rows] != uids:  # gone, or not derived yet
                await self._batch(here)
                continue
            if Item.FLAGS in self._items:
                await self._client.announce((block.flags,), self._output)
            lines = self._lines.endings(block.lines.split(b"\n"), [row[1:] for row in rows])
            await self._output.send(b"".join(lines))

    async def _send_views(self, batch: Sequence[int], rows: Mapping[Uid, Row]) -> None:
        uids = self._selected.uids
        numbers: list[int] = []
        views: list[Values] = []
        for at in batch:
            view = self._views.get(Uid(uids[at]))
            if view is None:
                self._is_gone = True
            elif isinstance(view, MailError):
                await self._miss(Uid(uids[at]), view)
            else:
                numbers.append(at + 1)
                views.append(view)
        found = [Uid(uids[number - 1]) for number in numbers]
        if self._newly_seen:
            lines = [
                self._line(number, uid, rows.get(uid), None, view)
                for number, uid, view in zip(numbers, found, views, strict=True)
            ]
        else:
            lines = self._lines.of_views(
                numbers, found, [rows[uid] for uid in found] if self._needs_rows else (), views
            )
        await self._output.send(b"".join(lines))
        await asyncio.sleep(0)

    async def _group(self, stored: Mapping[Uid, StoredMessage], rows: Mapping[Uid, Row]) -> None:
        bodies = self._client.shared.bodies
        (uid, first), *others = stored.items()
        if others or not imap_bodies.is_large(first):
            for uid, message in zip(stored, await bodies.read(list(stored.values())), strict=True):
                await self._send_read(uid, rows.get(uid), message)
            await asyncio.sleep(0)
        else:
            await self._large(uid, rows.get(uid), first)

    async def _large(self, uid: Uid, row: Row | None, stored: StoredMessage) -> None:
        """A client may take its time to read, so what it asks for is sent from the store, and all octets are in memory
        only as long as it takes to find where sections are.
        """
        view = self._view(uid)
        if isinstance(view, MailError):
            await self._miss(uid, view)
            return
        made = self._client.shared.bodies.made
        async with made() if any(is_made(item) for item in self._content) else nullcontext():
            try:
                answers = await self._answers(stored)
            except (UnknownEncoding, Refused) as error:
                self._fail(uid, error)
            except MailError as error:
                await self._miss(uid, error)
            else:
                await self._send_in_pieces(uid, row, stored, view, answers)

    async def _answers(self, stored: StoredMessage) -> Answers:
        """Of a large message. Raises UnknownEncoding, Refused, and what is wrong when it cannot be read."""
        if all(is_whole(item) for item in self._content):
            return {item: cut(range(stored.size_octets), item) for item in self._content}
        async with self._client.shared.bodies.large(stored) as message:
            if isinstance(message, MailError):
                raise message
            return Opened(message).answers(self._content)

    def _view(self, uid: Uid) -> Values | MailError | None:
        """None: nothing is needed of it."""
        return self._views.get(uid, NotFound(f"no message {uid}")) if self._shown else None

    async def _send_read(self, uid: Uid, row: Row | None, message: bytes | MailError) -> None:
        view = self._view(uid)
        if isinstance(message, MailError):
            await self._miss(uid, message)
        elif isinstance(view, MailError):
            await self._miss(uid, view)
        else:
            await self._send(uid, row, Opened(message), view)

    async def _miss(self, uid: Uid, error: MailError) -> None:
        """The octets cannot be read: most likely the message was removed meanwhile."""
        if isinstance(error, NotFound) and not await self._selected.stored([self._number(uid) - 1]):
            self._is_gone = True
        else:
            self._fail(uid, error)

    def _fail(self, uid: Uid, error: MailError) -> None:
        if isinstance(error, Refused):
            self._failed = error
            return
        maillog.problem(what=f"message with UID {uid} of {self._client.account.address}", error=str(error))
        self._failed = (
            Refused("a part has an unknown encoding", code="UNKNOWN-CTE")
            if isinstance(error, UnknownEncoding)
            else Refused("some messages cannot be read now", code="UNAVAILABLE")
        )

    async def _send(self, uid: Uid, row: Row | None, message: "Opened", view: Values | None) -> None:
        """Many sections of a message may be far more than it is: then item by item."""
        try:
            if len(self._content) * message.size_octets <= WHOLE_OCTETS:
                await self._output.send(self._line(self._number(uid), uid, row, message, view))
                return
            message.check(self._content)
        except UnknownEncoding as error:
            self._fail(uid, error)
            return
        before = b"* %d FETCH (" % self._number(uid)
        for item in self._items:
            await self._output.send(before + self._lines.item(item, uid, row, message, view))
            before = b" "
        await self._output.send(b"".join(b" " + news for news in self._news_of(uid, row)) + b")\r\n")

    def _line(self, number: int, uid: Uid, row: Row | None, message: "Opened | None", view: Values | None) -> bytes:
        """Raises UnknownEncoding."""
        items = [self._lines.item(item, uid, row, message, view) for item in self._items]
        return replies.fetched(number, [*items, *self._news_of(uid, row)])

    def _number(self, uid: Uid) -> int:
        at = self._selected.place(uid)
        assert at is not None, "what is fetched has a number"
        return at + 1

    def _news_of(self, uid: Uid, row: Row | None) -> Iterable[bytes]:
        """What a client has not asked for, and has brought about. RFC 9051 §6.4.5, RFC 7162 §3.2.4."""
        if uid in self._newly_seen and row is not None:
            if Item.FLAGS not in self._items:
                yield row_item(Item.FLAGS, row)
            if self._client.condstore and Item.MODSEQ not in self._items:
                yield row_item(Item.MODSEQ, row)

    async def _send_in_pieces(
        self, uid: Uid, row: Row | None, stored: StoredMessage, view: Values | None, answers: Answers
    ) -> None:
        """Once a literal has begun, its octets follow or the connection ends."""
        text = b"* %d FETCH (" % self._number(uid)
        has_begun = False
        try:
            for number, item in enumerate(self._items):
                text += b" " if number else b""
                answer = answers.get(item)
                if isinstance(answer, range):
                    assert isinstance(item, BodySection), "only of sections places are known"
                    text += item.name + b" {%d}\r\n" % len(answer)
                    async for piece in self._client.shared.bodies.pieces(stored, answer.start, len(answer)):
                        await self._output.send(text + without_nul(piece))
                        text, has_begun = b"", True
                elif answer is not None:
                    for start in range(0, len(answer), PIECE_OCTETS):
                        await self._output.send(text + answer[start : start + PIECE_OCTETS])
                        text, has_begun = b"", True
                else:
                    text += self._lines.item(item, uid, row, None, view)
            await self._output.send(text + b"".join(b" " + news for news in self._news_of(uid, row)) + b")\r\n")
        except (TemporaryError, PermanentError) as error:
            await self._miss(uid, error)
            if has_begun:
                raise PeerError("failed") from None
