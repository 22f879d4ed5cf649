"""STORE, COPY, MOVE and EXPUNGE. RFC 9051 §6.4.3 to §6.4.8, RFC 4315, RFC 6851, RFC 7162 §3.1.3.

Guarantees: each command is one change of the index: all of it or nothing, durable before its OK.
"""

from collections.abc import Sequence

from maillib import maillog
from maillib.dialog import Output
from maillib.errors import NotFound
from maillib.ports.flags import FlagChange
from maillib.ports.index import Copied, ModSeq, Row, Uid, Uids
from maillib.protocols.imap import replies
from maillib.protocols.imap.commands import Copy, Expunge, Move, Store
from maillib.sessions.imap_client import Client, Done, check_flags
from maillib.sessions.imap_mailboxes import described
from maillib.sessions.imap_replies import MailboxGone, Refused
from maillib.sessions.imap_view import ROWS_AT_ONCE, Places, Selected


def _uids(selected: Selected, places: Places) -> Uids:
    """As one argument for the index."""
    if len(places.ranges) == 1:
        return selected.in_order(places.ranges[0])
    return selected.in_order(list(places))


async def store(client: Client, command: Store, output: Output) -> Done:
    selected = client.writable()
    check_flags(command.flags)
    await selected.load()
    places = selected.places(command.messages, uid=command.uid)
    if command.unchanged_since is not None:
        client.condstore = True
    if not places:
        return Done("nothing to change")
    changed = await selected.set_flags(
        _uids(selected, places),
        FlagChange(command.how),
        frozenset(command.flags),
        unchanged_since=None if command.unchanged_since is None else ModSeq(command.unchanged_since),
    )
    is_known = True
    if not command.silent:
        refused = set(changed.refused)
        for batch in places.batches(ROWS_AT_ONCE):
            rows = changed.rows if len(changed.rows) == len(batch) == len(places) else await selected.rows(batch)
            is_known = is_known and len(rows) == len(batch)
            told = [each for each in selected.numbered(batch, rows) if each[1].uid not in refused]
            await client.tell_flags(told, output, uid=command.uid or client.qresync)
    elif client.condstore:
        await _tell_modseqs(client, changed.rows, output)
    if changed.rows:
        selected.told(changed.modseq, whole=not command.silent)
    if changed.refused:
        numbers = changed.refused if command.uid else [_number(selected, uid) for uid in changed.refused]
        return Done("the others have changed meanwhile", code=replies.modified(numbers), has_changed=True)
    if not is_known and not command.uid:
        return Done("some messages are not there any more", code="EXPUNGEISSUED")
    return Done("stored")


async def _tell_modseqs(client: Client, changed: Sequence[Row], output: Output) -> None:
    """Also where the client wants to hear of no flags. RFC 7162 §3.1.3."""
    lines = [
        b"* %d FETCH (UID %d MODSEQ (%d))\r\n" % (_number(client.selected, row.uid), row.uid, row.modseq)
        for row in changed
    ]
    for start in range(0, len(lines), ROWS_AT_ONCE):
        await output.send(b"".join(lines[start : start + ROWS_AT_ONCE]))


def _number(selected: Selected, uid: Uid) -> int:
    at = selected.place(uid)
    assert at is not None, "only messages with numbers were named"
    return at + 1


async def copy(client: Client, command: Copy) -> Done:
    selected = client.selected
    await selected.load()
    places = selected.places(command.messages, uid=command.uid)
    if not places:
        return Done("nothing to copy")
    try:
        copied = await client.index.copy(client.account.id, selected.id, _uids(selected, places), command.mailbox)
    except NotFound as error:
        raise await _missing(client, command.mailbox, error) from None
    return Done("copied", code=_code(copied), has_changed=True)


async def move(client: Client, command: Move, output: Output) -> Done:
    """UIDs first: a client may know what it has moved before it hears that it is gone. RFC 6851 §4.3."""
    selected = client.writable()
    await selected.load()
    places = selected.places(command.messages, uid=command.uid)
    if not places:
        return Done("nothing to move")
    try:
        moved = await client.index.move(client.account.id, selected.id, _uids(selected, places), command.mailbox)
    except NotFound as error:
        raise await _missing(client, command.mailbox, error) from None
    if moved.uids:
        await output.send(replies.untagged("OK", "moved", code=_code(moved)))
    return Done("moved", has_changed=True, tells_modseq=True)


async def _missing(client: Client, name: str, error: NotFound) -> Refused | MailboxGone:
    """What to raise when `name`, the mailbox that is selected, or a body is not there. RFC 9051 §6.4.7."""
    try:
        await described(client, name)
    except NotFound:
        return Refused("there is no such mailbox", code="TRYCREATE")
    try:
        await described(client, client.selected.id)
    except NotFound:
        return MailboxGone(str(error))
    maillog.problem(what=f"messages of {client.account.address}", error=str(error))
    return Refused("some messages cannot be read now", code="UNAVAILABLE")


def _code(copied: Copied) -> str | None:
    if not copied.uids:
        return None
    return replies.copy_uid(copied.uid_validity, list(copied.uids), list(copied.uids.values()))


async def expunge(client: Client, command: Expunge) -> Done:
    selected = client.writable()
    removed = 0
    if command.uids is None:
        removed = await selected.expunge(None)
    else:
        await selected.load()
        places = selected.places(command.uids, uid=True)
        if places:
            removed = await selected.expunge(_uids(selected, places))
    if removed:
        maillog.expunged(user=str(client.account.address), messages=removed)
    return Done("expunged", has_changed=True, tells_modseq=True)
