"""What is derived from messages: made from their octets where the index does not know it, and told to the index.

Guarantees: of each message that is there and can be read it is to be had, whatever the index knows. A small message
takes a fifth of a millisecond, and others get their turn after `AT_ONCE` of them; of a large one a thread is busy.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from maillib.errors import MailError, NotFound
from maillib.message import text
from maillib.message.addresses import EnvelopeAddress
from maillib.message.dates import parse_date
from maillib.message.envelope import envelope
from maillib.message.fields import of_names
from maillib.message.mime import structure
from maillib.message.references import own_id, references
from maillib.message.text import fold
from maillib.message.words import decoded_words
from maillib.ports.derived import Derived, Heading, Shown, Texts, Values, View, values_of
from maillib.ports.directory import AccountId
from maillib.ports.index import Index, MailboxId, StoredMessage, Uid, Uids
from maillib.protocols.imap.quoting import string
from maillib.protocols.imap.rendering import render_body, render_envelope
from maillib.sessions.imap_bodies import Bodies, groups, is_large

_OF_HEADING = (b"date", b"message-id", b"references", b"in-reply-to")

AT_ONCE = 5
"""Small messages: a millisecond."""

_DENSE = 4
"""To look up one UID takes as long as to pass over so many."""


def derive(uid: Uid, octets: bytes) -> Derived:
    """Linear in the octets, and never raises."""
    tree = structure(octets)
    header = octets[: tree.body]
    shown = envelope(header)
    fields = of_names(header, _OF_HEADING)
    sent = next((parse_date(value) for name, value in reversed(fields) if name == b"date"), None)
    folded = text.header_text(header)
    return Derived(
        View(
            uid,
            render_envelope(shown),
            render_body(octets, tree, extended=False),
            render_body(octets, tree, extended=True),
            string(text.preview(octets, tree).encode()),
            header,
        ),
        Heading(
            uid,
            None if sent is None else int(sent.timestamp()),
            None if sent is None else sent.toordinal(),
            "\n".join(values_of(folded, "subject")),
            _local_part(shown.from_),
            _local_part(shown.to),
            _local_part(shown.cc),
            _display(shown.from_),
            _display(shown.to),
            own_id(fields) or "",
            "".join(f"{each} " for each in references(fields)),
        ),
        Texts(folded, text.part_headers_text(octets, tree), text.body_text(octets, tree)),
    )


def _local_part(addresses: Sequence[EnvelopeAddress]) -> str:
    return _folded(addresses[0].mailbox) if addresses else ""


def _display(addresses: Sequence[EnvelopeAddress]) -> str:
    """A group is called by its name. RFC 5957 §3."""
    if not addresses:
        return ""
    first = addresses[0]
    if first.name:
        return _folded(first.name)
    return _folded(first.mailbox) + (f"@{_folded(first.host)}" if first.host else "")


def _folded(value: bytes | None) -> str:
    return fold(decoded_words(value)) if value else ""


class Deriving:
    """One for all sessions of a process. UIDs ascend. Methods raise NotFound, Transient, StoreUnusable."""

    def __init__(self, index: Index, bodies: Bodies) -> None:
        self._index = index
        self._bodies = bodies

    async def views(
        self, account: AccountId, mailbox: MailboxId, uids: Sequence[Uid], shown: Sequence[Shown]
    ) -> dict[Uid, Values | MailError]:
        """Of those that are there; of one that cannot be read, why. Maybe of others, too; in no order."""
        rows = await self._index.views(account, mailbox, asked(uids), shown)
        views: dict[Uid, Values | MailError] = {row[0]: row[1:] for row in rows}
        if missing := [uid for uid in uids if uid not in views]:
            async for uid, made in self.anew(account, mailbox, missing):
                views[uid] = made if isinstance(made, MailError) else made.view.values(shown)
        return views

    async def headings(self, account: AccountId, mailbox: MailboxId, uids: Sequence[Uid]) -> dict[Uid, Heading]:
        """Of those that are there and can be read. Maybe of others, too; in no order."""
        headings = {heading.uid: heading for heading in await self._index.headings(account, mailbox, asked(uids))}
        if missing := [uid for uid in uids if uid not in headings]:
            async for uid, made in self.anew(account, mailbox, missing):
                if isinstance(made, Derived):
                    headings[uid] = made.heading
        return headings

    async def anew(
        self, account: AccountId, mailbox: MailboxId, uids: Sequence[Uid]
    ) -> AsyncIterator[tuple[Uid, Derived | MailError]]:
        """From the octets. Messages that are gone are passed over."""
        async for made in self.in_groups(account, mailbox, uids):
            for one in made.items():
                yield one

    async def in_groups(
        self, account: AccountId, mailbox: MailboxId, uids: Sequence[Uid]
    ) -> AsyncIterator[Mapping[Uid, Derived | MailError]]:
        """As `anew`, some at a time; the index knows each before the next octets are read."""
        stored = await self._index.messages(account, mailbox, uids)
        for group in groups(stored):
            made = await self._of_group({uid: stored[uid] for uid in group})
            await self._index.put_derived(account, mailbox, [one for one in made.values() if isinstance(one, Derived)])
            lost = [uid for uid, one in made.items() if isinstance(one, NotFound)]
            there = await self._index.messages(account, mailbox, lost) if lost else {}
            yield {uid: one for uid, one in made.items() if uid not in lost or uid in there}

    async def _of_group(self, stored: dict[Uid, StoredMessage]) -> dict[Uid, Derived | MailError]:
        (uid, first), *others = stored.items()
        if not others and is_large(first):
            async with self._bodies.large(first) as message:
                if isinstance(message, MailError):
                    return {uid: message}
                return {uid: await asyncio.to_thread(derive, uid, message)}
        made: dict[Uid, Derived | MailError] = {}
        for uid, message in zip(stored, await self._bodies.read(list(stored.values())), strict=True):
            made[uid] = message if isinstance(message, MailError) else derive(uid, message)
            if len(made) % AT_ONCE == 0:
                await asyncio.sleep(0)
        return made


def asked(uids: Sequence[Uid]) -> Uids:
    """Ascending UIDs as the index is asked quickest: as a range, where not much else is in it."""
    if uids and uids[-1] - uids[0] < _DENSE * len(uids):
        return range(uids[0], uids[-1] + 1)
    return uids
