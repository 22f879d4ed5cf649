"""The index of one account: its tables, and the body files that they speak of.

    mail/ACCOUNT/index.sqlite3           the tables below
    mail/ACCOUNT/MAILBOX/UID.eml         a body; MAILBOX is a number, UID has ten digits

Guarantees: a message is there exactly when its row is committed; its body is on disk, under its name, before that; a
name of a mailbox never becomes a path. `docs/store.md` lists every combination of rows and files that a crash can
leave, and who moves it on. Everything here blocks.

Leaves to others: which accounts are open, threads (`index`); quotas (the caller says them); when a body that nobody
links any more is gone (the file system counts its names).
"""

import sqlite3
import time
from array import array
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from maillib import maillog
from maillib.embedded.blobs import account_path, body_name, body_size, mail_ref, path_of
from maillib.embedded.bodies import place_body
from maillib.embedded.files import DIRECTORY_MODE, os_errors, sync_directory
from maillib.embedded.sqlite import Database
from maillib.errors import NotFound, OverQuota, TemporaryError
from maillib.ports.directory import AccountId
from maillib.ports.index import (
    INBOX,
    Appended,
    Mailbox,
    MailboxId,
    ModSeq,
    NewMessage,
    Row,
    Sizes,
    StoredMessage,
    Uid,
    UidValidity,
    Usage,
)

SCHEMA = (
    (
        # One row. uid_validity: the last one given to a mailbox, so that a later one is larger whatever the clock says.
        """CREATE TABLE account (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            uid_validity INTEGER NOT NULL,
            messages INTEGER NOT NULL,
            octets INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE mailbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            uid_validity INTEGER NOT NULL,
            uid_next INTEGER NOT NULL,
            highest_modseq INTEGER NOT NULL,
            messages INTEGER NOT NULL,
            octets INTEGER NOT NULL
        ) STRICT""",
        # What never changes about a message. internal_date: seconds of the Unix epoch.
        """CREATE TABLE message (
            mailbox INTEGER NOT NULL REFERENCES mailbox,
            uid INTEGER NOT NULL,
            size_octets INTEGER NOT NULL,
            internal_date INTEGER NOT NULL,
            prefix BLOB NOT NULL,
            PRIMARY KEY (mailbox, uid)
        ) STRICT, WITHOUT ROWID""",
        # What changes often, apart, so that a change writes few pages. flags: sorted, separated by spaces.
        """CREATE TABLE state (
            mailbox INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            flags TEXT NOT NULL,
            PRIMARY KEY (mailbox, uid),
            FOREIGN KEY (mailbox, uid) REFERENCES message ON DELETE CASCADE
        ) STRICT, WITHOUT ROWID""",
        # The first answer to each delivery key. Outlives the message: a delivery repeated after an expunge is none.
        """CREATE TABLE delivery (
            mailbox INTEGER NOT NULL REFERENCES mailbox,
            key TEXT NOT NULL,
            uid INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            PRIMARY KEY (mailbox, key)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE tombstone (
            mailbox INTEGER NOT NULL REFERENCES mailbox,
            uid INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            PRIMARY KEY (mailbox, uid)
        ) STRICT, WITHOUT ROWID""",
        # Bodies whose rows are gone and whose files may still be there.
        """CREATE TABLE leftover (
            mailbox INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            PRIMARY KEY (mailbox, uid)
        ) STRICT, WITHOUT ROWID""",
    ),
)

_MAILBOX_COLUMNS = "id, name, uid_validity, uid_next, highest_modseq, messages, octets"


class AccountIndex:
    """One account's index, open. Safe to call from several threads, one transaction at a time."""

    def __init__(self, state_dir: Path, account: AccountId) -> None:
        """Open or create it, with its INBOX. Raises Transient, StoreFull, StoreUnusable."""
        self.account = account
        self.path = account_path(state_dir, account)
        self._state_dir = state_dir
        with os_errors():
            self.path.mkdir(DIRECTORY_MODE, exist_ok=True)
        self.database = Database(self.path / "index.sqlite3", SCHEMA)
        try:
            self._make_inbox()
            self._remove_leftovers()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent."""
        self.database.close()

    def mailboxes(self) -> list[Mailbox]:
        with self.database.read() as transaction:
            return [
                _as_mailbox(row)
                for row in transaction.execute(f"SELECT {_MAILBOX_COLUMNS} FROM mailbox ORDER BY id")  # noqa: S608
            ]

    def usage(self) -> Usage:
        with self.database.read() as transaction:
            return _usage(transaction)

    def rows(self, mailbox: str) -> list[Row]:
        with self.database.read() as transaction:
            found = transaction.execute(
                "SELECT uid, modseq, size_octets, internal_date, flags"
                " FROM message JOIN state USING (mailbox, uid) WHERE mailbox = ? ORDER BY uid",
                (_mailbox(transaction, mailbox).id,),
            )
            return [
                Row(Uid(uid), ModSeq(modseq), size, datetime.fromtimestamp(date, UTC), frozenset(flags.split()))
                for uid, modseq, size, date, flags in found
            ]

    def sizes(self, mailbox: str, since: Uid) -> Sizes:
        with self.database.read() as transaction:
            box = _mailbox(transaction, mailbox)
            found = transaction.execute(
                "SELECT uid, size_octets FROM message WHERE mailbox = ? AND uid >= ? ORDER BY uid", (box.id, since)
            ).fetchall()
        uids, octets = zip(*found, strict=True) if found else ((), ())
        return Sizes(box, array("I", uids), array("Q", octets))

    def messages(self, mailbox: str, uids: Collection[Uid]) -> dict[Uid, StoredMessage]:
        found: dict[Uid, StoredMessage] = {}
        with self.database.read() as transaction:
            box = _mailbox(transaction, mailbox)
            for uid in uids:
                row = transaction.execute(
                    "SELECT prefix, size_octets FROM message WHERE mailbox = ? AND uid = ?", (box.id, uid)
                ).fetchone()
                if row is not None:
                    found[uid] = StoredMessage(row[0], mail_ref(self.account, box.id, uid), row[1])
        return found

    def message(self, mailbox: str, uid: Uid) -> StoredMessage:
        with self.database.read() as transaction:
            box = _mailbox(transaction, mailbox)
            row = transaction.execute(
                "SELECT prefix, size_octets FROM message WHERE mailbox = ? AND uid = ?", (box.id, uid)
            ).fetchone()
        if row is None:
            raise NotFound(f"account {self.account} has no message {uid} in {mailbox!r}")
        return StoredMessage(row[0], mail_ref(self.account, box.id, uid), row[1])

    def append(
        self, mailbox: str, messages: Sequence[NewMessage], *, owner: str, quota_octets: int | None
    ) -> list[Appended]:
        """As the port says. The write lock is held from the choice of the UIDs to the commit: nobody sees a larger UID
        before a smaller one, and a file that has one of these names already is nobody's.
        """
        with self.database.write() as transaction:
            box = _mailbox(transaction, mailbox)
            answers = _known_deliveries(transaction, box.id, [message.delivery_key for message in messages])
            fresh: dict[str, NewMessage] = {}
            for message in messages:
                if message.delivery_key not in answers:
                    fresh.setdefault(message.delivery_key, message)
            if fresh:
                sizes = [
                    len(message.prefix) + body_size(path_of(self._state_dir, message.body))
                    for message in fresh.values()
                ]
                used = _usage(transaction)
                if quota_octets is not None and used.octets + sum(sizes) > quota_octets:
                    raise OverQuota(owner, used_octets=used.octets, limit_octets=quota_octets)
                with self._bodies_in_place(box, list(fresh.values())):
                    answers |= _insert(transaction, box, list(fresh.values()), sizes)
        # Of several equal keys in one call the first one has created the message.
        return [
            Appended(*answers[message.delivery_key], created=fresh.pop(message.delivery_key, None) is not None)
            for message in messages
        ]

    def expunge(self, mailbox: str, uids: Collection[Uid]) -> list[Uid]:
        """As the port says. Files go after the commit: a crash between leaves notes in `leftover`, never rows without
        octets.
        """
        with self.database.write() as transaction:
            box = _mailbox(transaction, mailbox)
            removed: list[Uid] = []
            octets = 0
            for uid in sorted(set(uids)):
                row = transaction.execute(
                    "DELETE FROM message WHERE mailbox = ? AND uid = ? RETURNING size_octets", (box.id, uid)
                ).fetchone()
                if row is not None:
                    removed.append(uid)
                    octets += row[0]
            if not removed:
                return []
            modseq = box.highest_modseq + 1
            transaction.executemany(
                "INSERT INTO tombstone (mailbox, uid, modseq) VALUES (?, ?, ?)",
                [(box.id, uid, modseq) for uid in removed],
            )
            transaction.executemany(
                "INSERT INTO leftover (mailbox, uid) VALUES (?, ?)", [(box.id, uid) for uid in removed]
            )
            _count(transaction, box.id, messages=-len(removed), octets=-octets, uid_next=box.uid_next, modseq=modseq)
        self._remove_leftovers()
        return removed

    def _make_inbox(self) -> None:
        """Give a new account its INBOX. Whoever sees this commit may rely on the account's folders being on disk."""
        with self.database.read() as transaction:
            if transaction.execute("SELECT 1 FROM account").fetchone():
                return
        with self.database.write() as transaction:
            if transaction.execute("SELECT 1 FROM account").fetchone():  # another process was faster
                return
            uid_validity = int(time.time())
            transaction.execute("INSERT INTO account VALUES (1, ?, 0, 0)", (uid_validity,))
            made = transaction.execute(
                "INSERT INTO mailbox (name, uid_validity, uid_next, highest_modseq, messages, octets)"
                " VALUES (?, ?, 1, 1, 0, 0)",
                (INBOX, uid_validity),
            )
            with os_errors():
                (self.path / str(made.lastrowid)).mkdir(DIRECTORY_MODE, exist_ok=True)
                sync_directory(self.path)
                sync_directory(self.path.parent)

    @contextmanager
    def _bodies_in_place(self, box: Mailbox, messages: Sequence[NewMessage]) -> Iterator[None]:
        """Give each body its name in the mailbox, on disk before the block runs; take all away when it raises.

        The write lock is held. The commit comes after the block: when it fails nobody can say whether a crash right
        then would bring the rows back, so the files stay, to be replaced by the next append.
        """
        folder = self.path / str(box.id)
        targets = [folder / body_name(Uid(box.uid_next + number)) for number in range(len(messages))]
        try:
            with os_errors():
                for message, target in zip(messages, targets, strict=True):
                    place_body(path_of(self._state_dir, message.body), target, _seconds(message.internal_date))
                sync_directory(folder)
            yield
        except BaseException:
            for target in targets:
                with suppress(OSError):  # what stays is replaced by the next append
                    target.unlink(missing_ok=True)
            raise

    def _remove_leftovers(self) -> None:
        """Remove the files of expunged messages, then the notes about them. UIDs never return, so no lock is needed."""
        try:
            with self.database.read() as transaction:
                notes = transaction.execute("SELECT mailbox, uid FROM leftover").fetchall()
            if not notes:
                return
            with os_errors():
                for mailbox, uid in notes:
                    (self.path / str(mailbox) / body_name(uid)).unlink(missing_ok=True)
                for mailbox in {mailbox for mailbox, _ in notes}:
                    sync_directory(self.path / str(mailbox))
            with self.database.write() as transaction:
                transaction.executemany("DELETE FROM leftover WHERE mailbox = ? AND uid = ?", notes)
        except TemporaryError as error:
            maillog.problem(what="files of expunged messages stay until the next expunge or opening", error=str(error))


def _seconds(when: datetime) -> int:
    return int(when.timestamp())


def _as_mailbox(row: tuple[int, str, int, int, int, int, int]) -> Mailbox:
    number, name, uid_validity, uid_next, modseq, messages, octets = row
    return Mailbox(MailboxId(number), name, UidValidity(uid_validity), Uid(uid_next), ModSeq(modseq), messages, octets)


def _mailbox(transaction: sqlite3.Connection, name: str) -> Mailbox:
    row = transaction.execute(f"SELECT {_MAILBOX_COLUMNS} FROM mailbox WHERE name = ?", (name,)).fetchone()  # noqa: S608
    if row is None:
        raise NotFound(f"no mailbox {name!r}")
    return _as_mailbox(row)


def _usage(transaction: sqlite3.Connection) -> Usage:
    return Usage(*transaction.execute("SELECT messages, octets FROM account").fetchone())


def _known_deliveries(
    transaction: sqlite3.Connection, mailbox: MailboxId, keys: Sequence[str]
) -> dict[str, tuple[Uid, ModSeq]]:
    """The first answers to those of `keys` that were delivered before."""
    known: dict[str, tuple[Uid, ModSeq]] = {}
    for key in keys:
        row = transaction.execute(
            "SELECT uid, modseq FROM delivery WHERE mailbox = ? AND key = ?", (mailbox, key)
        ).fetchone()
        if row is not None:
            known[key] = (Uid(row[0]), ModSeq(row[1]))
    return known


def _insert(
    transaction: sqlite3.Connection, box: Mailbox, messages: Sequence[NewMessage], sizes: Sequence[int]
) -> dict[str, tuple[Uid, ModSeq]]:
    """Write the rows of `messages`, whose bodies are in place; the answers by delivery key."""
    modseq = ModSeq(box.highest_modseq + 1)
    answers: dict[str, tuple[Uid, ModSeq]] = {}
    for number, (message, size) in enumerate(zip(messages, sizes, strict=True)):
        uid = Uid(box.uid_next + number)
        transaction.execute(
            "INSERT INTO message (mailbox, uid, size_octets, internal_date, prefix) VALUES (?, ?, ?, ?, ?)",
            (box.id, uid, size, _seconds(message.internal_date), message.prefix),
        )
        transaction.execute(
            "INSERT INTO state (mailbox, uid, modseq, flags) VALUES (?, ?, ?, ?)",
            (box.id, uid, modseq, " ".join(sorted(message.flags))),
        )
        transaction.execute(
            "INSERT INTO delivery (mailbox, key, uid, modseq) VALUES (?, ?, ?, ?)",
            (box.id, message.delivery_key, uid, modseq),
        )
        answers[message.delivery_key] = (uid, modseq)
    uid_next = Uid(box.uid_next + len(messages))
    _count(transaction, box.id, messages=len(messages), octets=sum(sizes), uid_next=uid_next, modseq=modseq)
    return answers


def _count(
    transaction: sqlite3.Connection, mailbox: MailboxId, *, messages: int, octets: int, uid_next: Uid, modseq: int
) -> None:
    """Carry a change of the mailbox's content over to its counters and the account's."""
    transaction.execute(
        "UPDATE mailbox SET uid_next = ?, highest_modseq = ?, messages = messages + ?, octets = octets + ?"
        " WHERE id = ?",
        (uid_next, modseq, messages, octets, mailbox),
    )
    transaction.execute("UPDATE account SET messages = messages + ?, octets = octets + ?", (messages, octets))
