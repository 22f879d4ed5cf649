"""What an index says, in the form in which it is kept beside it (`sidecar`)."""

import sqlite3
from collections.abc import Iterator

from maillib.embedded import account_tables as tables
from maillib.embedded.sidecar import Flagged, Gone, Issued, ListedMailbox, MailboxList, Note, Sidecar
from maillib.embedded.sqlite import Database
from maillib.ports.index import MailboxId, Uid, UidValidity


def begin(database: Database, sidecar: Sidecar) -> None:
    """Write down, for the first time, what an index holds that has nothing beside it. Raises StoreFull, Transient."""
    with database.read() as transaction:
        sidecar.rewrite(lambda: all_notes(transaction))
    with database.write() as transaction:
        sidecar.write_mailboxes(mailbox_list(transaction))  # the last one: while it is missing this is done again


def mailbox_list(transaction: sqlite3.Connection) -> MailboxList:
    """For mailboxes.json."""
    (last_uid_validity,) = transaction.execute("SELECT uid_validity FROM account").fetchone()
    return MailboxList(
        last_uid_validity=UidValidity(last_uid_validity),
        last_mailbox=tables.last_mailbox(transaction),
        mailboxes=tuple(
            ListedMailbox(id=box.id, name=box.name, uid_validity=box.uid_validity, special_use=box.special_use)
            for box in tables.mailboxes(transaction)
        ),
        subscriptions=tuple(name for (name,) in transaction.execute("SELECT name FROM subscription ORDER BY name")),
    )


def all_notes(transaction: sqlite3.Connection) -> Iterator[Note]:
    """For flags.log: all that it has to say of what is there now."""
    gone: dict[MailboxId, list[Uid]] = {}
    for mailbox, uid in tables.leftovers(transaction):
        gone.setdefault(mailbox, []).append(uid)
    for box in tables.mailboxes(transaction):
        yield Issued(box.id, box.highest_modseq, box.uid_next)
        flagged: dict[frozenset[str], list[Uid]] = {}
        for uid, flags in tables.flagged(transaction, box.id):
            flagged.setdefault(flags, []).append(uid)
        for flags, uids in flagged.items():
            yield Flagged(box.id, box.highest_modseq, uids, flags)
        if box.id in gone:
            yield Gone(box.id, box.highest_modseq, gone[box.id])
