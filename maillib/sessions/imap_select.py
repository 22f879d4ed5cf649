"""SELECT and EXAMINE, and what a client that was here before is told of the time between. RFC 9051 §6.3.2, RFC 7162.

QRESYNC: a client says what it knows; it is told which UIDs have gone and which messages are new or have other flags,
and nothing of the rest.
"""

from maillib import maillog
from maillib.dialog import Output
from maillib.ports.flags import SYSTEM_FLAGS
from maillib.ports.index import SEPARATOR, Mailbox
from maillib.protocols.imap import replies
from maillib.protocols.imap.commands import Qresync, Select
from maillib.protocols.imap.sequences import SequenceSet
from maillib.sessions import imap_changes, imap_fetch
from maillib.sessions.imap_client import Client, Done
from maillib.sessions.imap_mailboxes import described
from maillib.sessions.imap_replies import Bad, MailboxGone
from maillib.sessions.imap_view import Selected


async def select(client: Client, command: Select, output: Output) -> Done:
    """What was selected before is not any more, also when this fails. RFC 9051 §6.3.2."""
    if command.qresync is not None and not client.qresync:
        raise Bad("QRESYNC has to be enabled first")  # RFC 7162 §3.2.5
    if client.has_selected:
        client.unselect()
        await output.send(replies.untagged("OK", "the mailbox from before is closed", code="CLOSED"))
    if command.condstore:
        client.condstore = True
    mailbox = await described(client, command.mailbox)
    selected = Selected(client.index, client.shared.listings, client.account.id, mailbox, read_only=command.read_only)
    client.select(selected)
    permanent = () if command.read_only else (*SYSTEM_FLAGS, "\\*")
    await output.send(
        b"".join(
            (
                client.flags_line(),
                replies.untagged("OK", "flags that are kept", code=replies.permanent_flags(permanent)),
                replies.counted(mailbox.messages, "EXISTS"),
                _name(mailbox) if client.rev2 else replies.counted(0, "RECENT"),
                replies.untagged("OK", "UIDs are good", code=f"UIDVALIDITY {mailbox.uid_validity}"),
                replies.untagged("OK", "the next UID", code=f"UIDNEXT {mailbox.uid_next}"),
                replies.untagged("OK", "the last change", code=f"HIGHESTMODSEQ {mailbox.highest_modseq}"),
            )
        )
    )
    if command.qresync is not None and command.qresync.uid_validity == mailbox.uid_validity:
        await _resync(client, selected, command.qresync, output)
    return Done(
        "selected read-only" if command.read_only else "selected",
        code="READ-ONLY" if command.read_only else "READ-WRITE",
    )


def _name(mailbox: Mailbox) -> bytes:
    """Which mailbox that is. RFC 9051 §6.3.2."""
    return replies.list_line(mailbox.name, (), separator=SEPARATOR, utf8=True)


async def close(client: Client) -> Done:
    """Nothing is told of what is removed. RFC 9051 §6.4.1."""
    selected = client.selected
    if not selected.read_only:
        try:
            removed = await selected.expunge(None)
            if removed:
                maillog.expunged(user=str(client.account.address), messages=removed)
        except MailboxGone:
            pass  # and all that was in it
    client.unselect()
    return Done("closed")


def unselect(client: Client) -> Done:
    client.selected  # noqa: B018 - raises Bad
    client.unselect()
    return Done("closed, nothing is removed")


async def _resync(client: Client, selected: Selected, known: Qresync, output: Output) -> None:
    """RFC 7162 §3.2.5."""
    await selected.load()
    last = selected.mailbox.uid_next - 1
    uids = (range(1, last + 1),) if known.known_uids is None else known.known_uids.ranges(last)
    since = await imap_changes.since(selected, known.modseq)
    if since.vanished is None:
        matched = imap_changes.matched_uid(selected, known)
        uids = tuple(range(max(each.start, matched + 1), each.stop) for each in uids if each[-1] > matched)
    await imap_changes.tell_vanished(selected, since.vanished, [each for each in uids if each], output)
    wanted = SequenceSet(((1, last),)) if known.known_uids is None else known.known_uids
    places = imap_changes.narrowed(selected, selected.places(wanted, uid=True), since.changed)
    await imap_fetch.tell_flags(client, places, output, changed_since=known.modseq)
