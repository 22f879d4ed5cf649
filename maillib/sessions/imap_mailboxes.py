"""Mailboxes made, renamed, removed, subscribed and counted; quotas. RFC 9051 §6.3, RFC 9208.

Leaves to others: LIST (`imap_listing`), selecting one (`imap_select`).
"""

from collections.abc import Collection, Iterable, Mapping

from maillib.dialog import Output
from maillib.errors import Conflict, NotFound
from maillib.ports.flags import DELETED
from maillib.ports.index import (
    INBOX,
    LAST_UID,
    SEPARATOR,
    Mailbox,
    MailboxKey,
    canonical_name,
    check_name,
)
from maillib.protocols.imap import replies
from maillib.protocols.imap.commands import (
    Create,
    Delete,
    GetQuota,
    GetQuotaRoot,
    Rename,
    Status,
    StatusItem,
    Subscribe,
    Unsubscribe,
)
from maillib.sessions.imap_client import Client, Done
from maillib.sessions.imap_replies import Refused
from maillib.sessions.imap_view import ROWS_AT_ONCE

QUOTA_ROOT = ""
"""All that an account stores."""

STORAGE_UNIT = 1024
"""Octets. RFC 9208 §5.1."""

KEPT_USES = ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")
"""What a mailbox here can be for. Those of \\All and \\Flagged would fill by themselves. RFC 6154 §2."""


async def described(client: Client, mailbox: MailboxKey) -> Mailbox:
    """Raises NotFound, Transient."""
    return (await client.index.sizes(client.account.id, mailbox, LAST_UID)).mailbox


async def create(client: Client, command: Create) -> Done:
    """Levels above it that are not there come with it. RFC 9051 §6.3.4."""
    account = client.account.id
    name = canonical_name(command.mailbox.removesuffix(SEPARATOR))
    check_name(name)
    mailboxes = {mailbox.name: mailbox for mailbox in await client.index.mailboxes(account)}
    if name in mailboxes:
        raise Conflict(f"there is a mailbox {name!r}")
    use = _special_use(command.special_use, mailboxes.values())
    await _make_levels_above(client, name, mailboxes)
    await client.index.create(account, name, special_use=use)
    return Done("created")


async def _make_levels_above(client: Client, name: str, known: Collection[str]) -> None:
    """As far as they are not `known`."""
    levels = name.split(SEPARATOR)
    for depth in range(1, len(levels)):
        above = canonical_name(SEPARATOR.join(levels[:depth]))
        if above not in known:
            try:
                await client.index.create(client.account.id, above)
            except Conflict:
                pass  # somebody else was as quick


def _special_use(wanted: tuple[str, ...], mailboxes: Iterable[Mailbox]) -> str | None:
    """Raises Refused. RFC 6154 §3."""
    if not wanted:
        return None
    spelled = {use.lower(): use for use in KEPT_USES}.get(wanted[0].lower())
    if len(wanted) > 1 or spelled is None:
        raise Refused("a mailbox has one use here, of " + ", ".join(KEPT_USES), code="USEATTR")
    if any(mailbox.special_use == spelled for mailbox in mailboxes):
        raise Refused("there is a mailbox with that use", code="USEATTR")
    return spelled


async def delete(client: Client, command: Delete, output: Output) -> Done:
    """What is below it stays. RFC 9051 §6.3.5."""
    name = canonical_name(command.mailbox)
    if name == INBOX:
        raise Refused("INBOX cannot be deleted", code="CANNOT")
    gone = await described(client, name)
    await client.index.delete(client.account.id, name)
    if client.has_selected and client.selected.id == gone.id:
        client.unselect()
        await output.send(replies.untagged("OK", "the mailbox that was selected is deleted", code="CLOSED"))
    return Done("deleted")


async def rename(client: Client, command: Rename) -> Done:
    """Levels above the new name come with it, too. RFC 9051 §6.3.6."""
    name, new_name = canonical_name(command.mailbox), canonical_name(command.new_name.removesuffix(SEPARATOR))
    if new_name == name or (new_name.startswith(name + SEPARATOR) and name != INBOX):
        raise Refused("a mailbox cannot be below itself", code="CANNOT")
    check_name(new_name)
    names = {mailbox.name for mailbox in await client.index.mailboxes(client.account.id)}
    if not any(each == name or each.startswith(name + SEPARATOR) for each in names):
        raise NotFound(f"no mailbox {name!r}")
    if new_name in names:
        raise Conflict(f"there is a mailbox {new_name!r}")
    await client.index.rename(client.account.id, name, new_name)  # first, so that nothing stays of one that is refused
    await _make_levels_above(client, new_name, names)
    return Done("renamed", has_changed=True)


async def subscribe(client: Client, command: Subscribe) -> Done:
    await client.index.subscribe(client.account.id, command.mailbox.removesuffix(SEPARATOR))
    return Done("subscribed")


async def unsubscribe(client: Client, command: Unsubscribe) -> Done:
    await client.index.unsubscribe(client.account.id, command.mailbox.removesuffix(SEPARATOR))
    return Done("unsubscribed")


async def namespace(output: Output) -> Done:
    await output.send(replies.namespace(SEPARATOR))
    return Done("done")


# Counts


async def status(client: Client, command: Status, output: Output) -> Done:
    mailbox = await described(client, command.mailbox)
    values = await status_values(client, mailbox, command.items)
    await output.send(replies.status_line(canonical_name(command.mailbox), values, utf8=client.utf8))
    return Done("done")


async def status_values(client: Client, mailbox: Mailbox, items: Iterable[StatusItem]) -> Mapping[StatusItem, int]:
    """RFC 9051 §6.3.11. Raises Bad, NotFound, Transient."""
    values: dict[StatusItem, int] = {}
    for item in items:
        match item:
            case StatusItem.MESSAGES:
                values[item] = mailbox.messages
            case StatusItem.RECENT:  # no session is told first of a message, RFC 9051 has none of it any more
                values[item] = 0
            case StatusItem.UIDNEXT:
                values[item] = mailbox.uid_next
            case StatusItem.UIDVALIDITY:
                values[item] = mailbox.uid_validity
            case StatusItem.UNSEEN:
                values[item] = mailbox.unseen
            case StatusItem.DELETED:
                values[item] = mailbox.deleted
            case StatusItem.DELETED_STORAGE:
                values[item] = await _deleted_octets(client, mailbox)
            case StatusItem.SIZE:
                values[item] = mailbox.octets
            case StatusItem.HIGHESTMODSEQ:
                client.condstore = True  # RFC 7162 §3.1
                values[item] = mailbox.highest_modseq
            case StatusItem.APPENDLIMIT:
                values[item] = client.settings.max_message_size
    return values


async def _deleted_octets(client: Client, mailbox: Mailbox) -> int:
    """RFC 9208 §5.1: what an EXPUNGE would give back."""
    octets, next_uid = 0, 1
    while mailbox.deleted and (
        rows := await client.index.rows(
            client.account.id, mailbox.id, range(next_uid, LAST_UID + 1), limit=ROWS_AT_ONCE
        )
    ):
        octets += sum(row.size_octets for row in rows if DELETED in row.flags)
        next_uid = rows[-1].uid + 1
    return octets


# Quotas


async def get_quota(client: Client, command: GetQuota, output: Output) -> Done:
    if command.root != QUOTA_ROOT:
        raise Refused("there is no such quota root", code="NONEXISTENT")
    await _tell_quota(client, output)
    return Done("done")


async def get_quota_root(client: Client, command: GetQuotaRoot, output: Output) -> Done:
    """Raises NotFound."""
    await described(client, command.mailbox)
    name = canonical_name(command.mailbox)
    await output.send(replies.quota_root(name, (QUOTA_ROOT,), utf8=client.utf8))
    await _tell_quota(client, output)
    return Done("done")


async def _tell_quota(client: Client, output: Output) -> None:
    limit = await quota_octets(client)
    resources = []
    if limit is not None:
        used = (await client.index.usage(client.account.id)).octets
        resources.append(("STORAGE", -(-used // STORAGE_UNIT), limit // STORAGE_UNIT))
    await output.send(replies.quota(QUOTA_ROOT, resources))


async def quota_octets(client: Client) -> int | None:
    """The account's limit as it is now."""
    try:
        return (await client.shared.directory.account(client.account.id)).quota_octets
    except NotFound:  # removed a moment ago
        return 0
