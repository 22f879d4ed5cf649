"""What each command of an IMAP client does, once it has logged in: the table of them."""

from maillib.dialog import Output
from maillib.protocols.imap.commands import (
    Command,
    Copy,
    Create,
    Delete,
    Enable,
    Expunge,
    Fetch,
    GetQuota,
    GetQuotaRoot,
    List,
    Lsub,
    Move,
    Plain,
    Rename,
    Search,
    Select,
    SetQuota,
    Sort,
    Status,
    Store,
    Subscribe,
    Thread,
    Unsubscribe,
)
from maillib.sessions import (
    imap_capabilities,
    imap_fetch,
    imap_listing,
    imap_mailboxes,
    imap_search,
    imap_select,
    imap_sort,
    imap_store,
)
from maillib.sessions.imap_client import Client, Done
from maillib.sessions.imap_replies import Bad, Refused


async def serve(client: Client, tag: str, command: Command, output: Output) -> Done:
    """Raises Refused, TemporaryError, PermanentError, Conflict; MailboxGone."""
    match command:
        case Fetch():
            return await imap_fetch.fetch(client, command, output)
        case Store():
            return await imap_store.store(client, command, output)
        case Search():
            return await imap_search.search(client, tag, command, output)
        case Sort():
            return await imap_sort.sort(client, command, output)
        case Thread():
            return await imap_sort.thread(client, command, output)
        case Copy():
            return await imap_store.copy(client, command)
        case Move():
            return await imap_store.move(client, command, output)
        case Expunge():
            return await imap_store.expunge(client, command)
        case Select():
            return await imap_select.select(client, command, output)
        case Plain.CLOSE:
            return await imap_select.close(client)
        case Plain.UNSELECT:
            return imap_select.unselect(client)
        case Plain.NOOP | Plain.CHECK:
            if command is Plain.CHECK:
                client.selected  # noqa: B018 - raises Bad
            return Done("done", has_changed=True)
        case Enable(names):
            return await imap_capabilities.enable(client, names, output)
        case List():
            return await imap_listing.list_(client, command, output)
        case Lsub():
            return await imap_listing.lsub(client, command, output)
        case Status():
            return await imap_mailboxes.status(client, command, output)
        case Create():
            return await imap_mailboxes.create(client, command)
        case Delete():
            return await imap_mailboxes.delete(client, command, output)
        case Rename():
            return await imap_mailboxes.rename(client, command)
        case Subscribe():
            return await imap_mailboxes.subscribe(client, command)
        case Unsubscribe():
            return await imap_mailboxes.unsubscribe(client, command)
        case Plain.NAMESPACE:
            return await imap_mailboxes.namespace(output)
        case GetQuota():
            return await imap_mailboxes.get_quota(client, command, output)
        case GetQuotaRoot():
            return await imap_mailboxes.get_quota_root(client, command, output)
        case SetQuota():
            raise Refused("only an administrator sets quotas", code="NOPERM")
        case _:
            raise Bad("unknown command")


def is_by_number(command: Command) -> bool:
    """Messages are meant by numbers, which have to stay as they are. RFC 9051 §7.5.1."""
    return isinstance(command, Fetch | Store | Search | Sort | Thread) and not command.uid
