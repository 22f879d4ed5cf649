"""What an index says, in the form in which it is kept beside it (`sidecar`)."""

import sqlite3
from collections.abc import Iterator

from maillib.embedded.sidecar import Flagged, Gone, Issued, ListedMailbox, MailboxList, Note, Sidecar
from maillib.embedded.sqlite import Database
from maillib.ports.index import MailboxId, ModSeq, Uid, UidValidity


def begin(database: Database, sidecar: Sidecar) -> None:
    """Write down, for the first time, what an index holds that has nothing beside it. Raises StoreFull, Transient."""
    with database.read() as transaction:
        sidecar.rewrite(lambda: all_notes(transaction))
    with database.write() as transaction:
        sidecar.write_mailboxes(mailbox_list(transaction))  # the last one: while it is missing this is done again


def mailbox_list(transaction: sqlite3.Connection) -> MailboxList:
    """For mailboxes.json."""
    (last_uid_validity,) = transaction.execute("SELECT uid_validity FROM account").fetchone()
    (last_mailbox,) = transaction.execute("SELECT seq FROM sqlite_sequence WHERE name = 'mailbox'").fetchone()
    return MailboxList(
        last_uid_validity=UidValidity(last_uid_validity),
        last_mailbox=MailboxId(last_mailbox),
        mailboxes=tuple(
            ListedMailbox(id=MailboxId(number), name=name, uid_validity=UidValidity(uid_validity))
            for number, name, uid_validity in transaction.execute(
                "SELECT id, name, uid_validity FROM mailbox ORDER BY id"
            )
        ),
    )


def all_notes(transaction: sqlite3.Connection) -> Iterator[Note]:
    """For flags.log: all that it has to say of what is there now."""
    for number, uid_next, modseq in transaction.execute(
        "SELECT id, uid_next, highest_modseq FROM mailbox ORDER BY id"
    ).fetchall():
        box, seq = MailboxId(number), ModSeq(modseq)
        yield Issued(box, seq, Uid(uid_next))
        flagged: dict[str, list[Uid]] = {}
        for uid, flags in transaction.execute("SELECT uid, flags FROM state WHERE mailbox = ? AND flags != ''", (box,)):
            flagged.setdefault(flags, []).append(Uid(uid))
        for flags, uids in flagged.items():
            yield Flagged(box, seq, uids, frozenset(flags.split()))
        gone = [Uid(uid) for (uid,) in transaction.execute("SELECT uid FROM leftover WHERE mailbox = ?", (box,))]
        if gone:
            yield Gone(box, seq, gone)
