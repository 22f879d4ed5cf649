"""SORT and THREAD: what a search has found, in another order. RFC 5256, RFC 5957.

Texts are compared as i;unicode-casemap has it (RFC 5051): decoded, decomposed, without case. Messages that are alike in
all that was asked for stay in the order of the mailbox.
"""

import asyncio
from collections.abc import Mapping, Sequence

from maillib.dialog import Output
from maillib.message.subjects import subject
from maillib.ports.derived import Heading
from maillib.ports.index import Row, Uid
from maillib.protocols.imap import replies, threads
from maillib.protocols.imap.commands import Sort, Thread
from maillib.protocols.imap.search_keys import ModSeqFrom, SortBy, SortKey, ThreadAlgorithm
from maillib.protocols.imap.threads import Threaded
from maillib.sessions.imap_client import Client, Done
from maillib.sessions.imap_derive import asked
from maillib.sessions.imap_matching import Match, leaves, matching
from maillib.sessions.imap_view import mailbox_still_there

_NO_HEADING = Heading(Uid(0), None, None, "", "", "", "", "", "", "", "")
"""Of a message that cannot be read."""


async def sort(client: Client, command: Sort, output: Output) -> Done:
    tells_modseq = any(isinstance(leaf, ModSeqFrom) for leaf in leaves(command.key))
    if tells_modseq:
        client.condstore = True
    found = [one async for some in matching(client, command.key, with_modseqs=tells_modseq) for one in some]
    headings, rows = await _about(client, found)
    ordered = await asyncio.to_thread(_sorted, command.by, found, headings, rows)
    numbers = [one.uid if command.uid else one.number for one in ordered]
    modseq = max((one.modseq for one in found), default=None) if tells_modseq else None
    await output.send(replies.numbers_found("SORT", numbers, highest_modseq=modseq))
    return Done("sorted")


async def thread(client: Client, command: Thread, output: Output) -> Done:
    found = [one async for some in matching(client, command.key) for one in some]
    headings, rows = await _about(client, found)
    await output.send(await asyncio.to_thread(_threads, command, found, headings, rows))
    return Done("threaded")


async def _about(client: Client, found: Sequence[Match]) -> tuple[Mapping[Uid, Heading], Mapping[Uid, Row]]:
    selected = client.selected
    uids = [one.uid for one in found]
    with mailbox_still_there():
        headings = await client.shared.deriving.headings(selected.account, selected.id, uids)
        rows = await client.index.rows(selected.account, selected.id, asked(uids))
    return headings, {row.uid: row for row in rows}


def _sorted(
    by: Sequence[SortBy], found: Sequence[Match], headings: Mapping[Uid, Heading], rows: Mapping[Uid, Row]
) -> list[Match]:
    """Messages that have gone meanwhile are left out."""
    ordered = [one for one in found if one.uid in rows]
    for criterion in reversed(by):  # each sorts what is alike in those before it
        key = criterion.key
        ordered.sort(
            key=lambda one: _value(key, headings.get(one.uid, _NO_HEADING), rows[one.uid]), reverse=criterion.reverse
        )
    return ordered


def _value(key: SortKey, heading: Heading, row: Row) -> str | int:
    match key:
        case SortKey.ARRIVAL:
            return row.internal_date_s
        case SortKey.SIZE:
            return row.size_octets
        case SortKey.DATE:
            return _sent_s(heading, row)
        case SortKey.SUBJECT:
            return subject(heading.subject).base.upper()
        case SortKey.FROM:
            return heading.from_.upper()
        case SortKey.TO:
            return heading.to.upper()
        case SortKey.CC:
            return heading.cc.upper()
        case SortKey.DISPLAYFROM:
            return heading.display_from.upper()
        case SortKey.DISPLAYTO:
            return heading.display_to.upper()


def _sent_s(heading: Heading, row: Row) -> int:
    """RFC 5256 §2.2."""
    return row.internal_date_s if heading.sent_s is None else heading.sent_s


def _threads(
    command: Thread, found: Sequence[Match], headings: Mapping[Uid, Heading], rows: Mapping[Uid, Row]
) -> bytes:
    messages = []
    for one in found:
        row = rows.get(one.uid)
        if row is None:  # gone meanwhile
            continue
        heading = headings.get(one.uid, _NO_HEADING)
        messages.append(
            Threaded(
                one.uid if command.uid else one.number,
                _sent_s(heading, row),
                subject(heading.subject),
                heading.message_id,
                heading.references.split(),
            )
        )
    put = threads.by_subject if command.algorithm is ThreadAlgorithm.ORDEREDSUBJECT else threads.by_references
    return threads.render(put(messages))
