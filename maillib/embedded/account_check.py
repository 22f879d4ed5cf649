"""Comparing an account's rows with each other and with its files, for administrators and for tests after a crash."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from maillib.embedded.account_index import AccountIndex
from maillib.embedded.blobs import body_name
from maillib.embedded.files import os_errors
from maillib.ports.index import Uid

_COUNTERS = ("messages", "octets", "messages without \\Seen", "messages with \\Deleted")


def check_account(index: AccountIndex) -> list[str]:
    """What is wrong, one sentence each. Changes nothing; blocks, and keeps deliveries waiting meanwhile."""
    found = index.database.check()
    with index.database.write() as transaction, os_errors():
        found += _check_counters(transaction)
        mailboxes = transaction.execute("SELECT id, uid_next FROM mailbox ORDER BY id").fetchall()
        for mailbox, uid_next in mailboxes:
            found += _check_bodies(transaction, index.path / str(mailbox), mailbox, uid_next)
    return found


def _check_counters(transaction: sqlite3.Connection) -> Iterator[str]:
    for mailbox, *counted in transaction.execute(
        "SELECT mailbox.id, mailbox.messages, mailbox.octets, mailbox.unseen, mailbox.deleted,"
        " count(uid), coalesce(sum(size_octets), 0), count(uid) FILTER (WHERE flags & 1 = 0),"
        " count(uid) FILTER (WHERE flags & 8 != 0), coalesce(max(uid), 0) < uid_next"
        " FROM mailbox LEFT JOIN message ON mailbox = mailbox.id GROUP BY mailbox.id"
    ).fetchall():
        counters, real, below = counted[:4], counted[4:8], counted[8]
        for what, counter, number in zip(_COUNTERS, counters, real, strict=True):
            if counter != number:
                yield f"mailbox {mailbox} counts {counter} {what}, but holds {number}"
        if not below:
            yield f"mailbox {mailbox} has a UID that it has not given out yet"
    for mailbox, uid in transaction.execute(
        "SELECT mailbox, uid FROM message EXCEPT SELECT mailbox, uid FROM content"
    ).fetchall():
        yield f"message {uid} of mailbox {mailbox} has no content"


def _check_bodies(transaction: sqlite3.Connection, folder: Path, mailbox: int, uid_next: int) -> Iterator[str]:
    sizes = {path.name: path.lstat().st_size for path in folder.iterdir()}
    for uid, octets in transaction.execute(
        "SELECT uid, size_octets - length(prefix) FROM message JOIN content USING (mailbox, uid) WHERE mailbox = ?",
        (mailbox,),
    ):
        size = sizes.pop(body_name(Uid(uid)), None)
        if size is None:
            yield f"message {uid} of mailbox {mailbox} has no body"
        elif size != octets:
            yield f"message {uid} of mailbox {mailbox} has a body of {size} octets, not {octets}"
    for (uid,) in transaction.execute("SELECT uid FROM leftover WHERE mailbox = ?", (mailbox,)):
        sizes.pop(body_name(Uid(uid)), None)  # goes with the next expunge or opening
    for name in sorted(sizes):
        uid_text = name.partition(".")[0]
        if not (uid_text.isdecimal() and int(uid_text) >= uid_next):  # else: replaced by a later append
            yield f"{folder / name} belongs to no message"
