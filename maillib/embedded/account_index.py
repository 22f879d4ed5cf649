"""The index of one account, and the body files that it speaks of.

    mail/ACCOUNT/index.sqlite3           the tables of `account_schema`
    mail/ACCOUNT/MAILBOX/UID.eml         a body; MAILBOX is a number, UID has ten digits
    mail/ACCOUNT/mailboxes.json, flags.log   what else a rebuild needs to know (`sidecar`)
    mail/ACCOUNT/derived-VERSION/            what is derived from the messages (`derived_file`)

Guarantees: a message is there exactly when its row is committed; its body is on disk, under its name, before that; a
name of a mailbox never becomes a path. `docs/store.md` lists every combination of rows and files that a crash can
leave, and who moves it on. Everything here blocks.

Leaves to others: which accounts are open (`open_accounts`), threads (`index`); quotas (the caller says them); when a
body that nobody links any more is gone (the file system counts its names).
"""

import os
import shutil
import sqlite3
import time
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from maillib import maillog
from maillib.embedded import account_messages, derived_tables, derived_words
from maillib.embedded import account_tables as tables
from maillib.embedded.account_append import Append, Appending
from maillib.embedded.account_change import Change
from maillib.embedded.account_lock import AccountLock
from maillib.embedded.account_mailboxes import WHOLE_MAILBOX, Mailboxes
from maillib.embedded.account_notes import all_notes
from maillib.embedded.account_schema import SCHEMA, new_database
from maillib.embedded.account_unfinished import Placing, remove_broken_off
from maillib.embedded.blobs import account_path, body_name, mail_ref
from maillib.embedded.derived_file import DerivedFile, Openings
from maillib.embedded.files import DIRECTORY_MODE, FILE_MODE, os_errors, sync_directory, write_all
from maillib.embedded.sidecar import ListedMailbox, MailboxList, Note, Sidecar
from maillib.embedded.sqlite import BUSY_TIMEOUT_S, Database
from maillib.errors import MailError, NotFound, TemporaryError
from maillib.ports.derived import Derived, Found, Heading, Shown, ShownRow, Where
from maillib.ports.directory import AccountId
from maillib.ports.flags import FlagChange
from maillib.ports.index import (
    EVERY_UID,
    INBOX,
    LAST_UID,
    Appended,
    Changes,
    Copied,
    Expunged,
    FlagsChanged,
    Mailbox,
    MailboxId,
    MailboxKey,
    ModSeq,
    NewMessage,
    Retention,
    Row,
    Sizes,
    StoredMessage,
    Uid,
    Uids,
    UidValidity,
    Usage,
    canonical_name,
)

_INBOX_ID = MailboxId(1)
"""As `new_database` has it."""

_SETTLED_AT_ONCE = 16
"""Texts: ten milliseconds."""

_PRUNE_EVERY_S = 24 * 3600
"""Looking through the delivery keys of a month takes some milliseconds."""


def _tell_nobody(account: AccountId, mailbox: MailboxId, modseq: ModSeq) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all accounts of a process."""

    publish: Callable[[AccountId, MailboxId, ModSeq], None] = _tell_nobody
    """Called after each commit, from any thread."""
    retention: Retention = Retention()  # noqa: RUF009 - immutable
    clock: Callable[[], float] = time.time
    openings: Openings = field(default_factory=Openings)


class AccountIndex:
    """One account's index, open. Safe to call from several threads, one transaction at a time."""

    def __init__(self, state_dir: Path, account: AccountId, terms: Terms = Terms()) -> None:
        """Open or create it, with its INBOX. Raises Transient, StoreFull, StoreUnusable."""
        self.account = account
        self.path = account_path(state_dir, account)
        self._state_dir = state_dir
        self._terms = terms
        self._sidecar = Sidecar(self.path)
        self.derived = DerivedFile(self.path, terms.openings)
        self._prune_at = 0.0
        file = self.path / "index.sqlite3"
        if not _is_made(file):
            self._create(file)
        self.database = Database(file, SCHEMA)
        try:
            remove_broken_off(self.path, self.database)
            self._remove_leftovers()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent."""
        self.derived.close()
        self.database.close()

    # Reading

    def mailboxes(self) -> list[Mailbox]:
        with self.database.read() as transaction:
            return tables.mailboxes(transaction)

    def subscriptions(self) -> frozenset[str]:
        with self.database.read() as transaction:
            return frozenset(name for (name,) in transaction.execute("SELECT name FROM subscription"))

    def usage(self) -> Usage:
        with self.database.read() as transaction:
            return tables.usage(transaction)

    def rows(self, mailbox: MailboxKey, uids: Uids = EVERY_UID, limit: int | None = None) -> list[Row]:
        with self.database.read() as transaction:
            return tables.rows(transaction, tables.mailbox(transaction, mailbox).id, uids, limit)

    def sizes(self, mailbox: MailboxKey, since: Uid) -> Sizes:
        with self.database.read() as transaction:
            box = tables.mailbox(transaction, mailbox)
            found = tables.sizes(transaction, box.id, range(since, LAST_UID + 1))
        uids, octets = zip(*found, strict=True) if found else ((), ())
        return Sizes(box, array("I", uids), array("Q", octets))

    def messages(self, mailbox: MailboxKey, uids: Uids) -> dict[Uid, StoredMessage]:
        with self.database.read() as transaction:
            box = tables.mailbox(transaction, mailbox)
            return {
                uid: StoredMessage(prefix, mail_ref(self.account, box.id, uid), size)
                for uid, prefix, size in tables.contents(transaction, box.id, uids)
            }

    def changes(self, mailbox: MailboxKey, since: ModSeq, limit: int) -> Changes:
        with self.database.read() as transaction:
            return account_messages.changes(transaction, mailbox, since, limit)

    # What is derived

    def views(self, mailbox: MailboxKey, uids: Uids, shown: Sequence[Shown]) -> list[ShownRow]:
        number = self._number(mailbox)
        return self.derived.read(
            lambda transaction: derived_tables.views(transaction, number, uids, shown), otherwise=[]
        )

    def headings(self, mailbox: MailboxKey, uids: Uids) -> list[Heading]:
        number = self._number(mailbox)
        return self.derived.read(lambda transaction: derived_tables.headings(transaction, number, uids), otherwise=[])

    def containing(self, mailbox: MailboxKey, uids: Uids, where: Where | str, text: str) -> Found:
        number = self._number(mailbox)
        return self.derived.read(
            lambda transaction: Found(
                derived_tables.uids(transaction, number, uids),
                derived_tables.containing(transaction, number, uids, where, text),
            ),
            otherwise=Found([], []),
        )

    def put_derived(self, mailbox: MailboxKey, derived: Sequence[Derived]) -> None:
        number = self._number(mailbox)

        def put(transaction: sqlite3.Connection) -> None:
            # Asked for while nobody can remove anything from this file: what is expunged later is removed later.
            with self.database.read() as rows:
                there = {uid for uid, _ in tables.sizes(rows, number, [one.view.uid for one in derived])}
            derived_tables.put(transaction, number, [one for one in derived if one.view.uid in there])

        self.derived.write(put, create=True)

    def settle(self) -> bool:
        """As the port says."""
        left = False

        def some(transaction: sqlite3.Connection) -> None:
            nonlocal left
            left = derived_words.settle(transaction, _SETTLED_AT_ONCE)

        self.derived.write(some, create=False)
        return left

    def _copy_derived(self, source: MailboxKey, destination: MailboxKey, copied: Copied) -> None:
        try:
            numbers = self._number(source), self._number(destination)
        except NotFound:  # it has been deleted meanwhile
            return
        self.derived.write(
            lambda transaction: derived_tables.copy(transaction, *numbers, copied.uids.items()), create=False
        )

    def _number(self, mailbox: MailboxKey) -> MailboxId:
        with self.database.read() as transaction:
            return tables.mailbox(transaction, mailbox).id

    # Mailboxes

    def create(self, name: str, special_use: str | None) -> Mailbox:
        with self._changing_mailboxes() as boxes:
            return boxes.create(name, special_use)

    def furnish(self, mailboxes: Mapping[str, str]) -> None:
        with self.database.read() as transaction:
            if tables.last_mailbox(transaction) != _INBOX_ID:
                return
        with self._changing_mailboxes() as boxes:
            boxes.furnish(mailboxes)

    def rename(self, name: str, new_name: str) -> None:
        if canonical_name(name) != INBOX:
            with self._changing_mailboxes() as boxes:
                boxes.rename(name, new_name)
            return
        with self._changing() as change:
            made = self._mailboxes(change).create(new_name, None)
            self._move(change, INBOX, EVERY_UID, made.id)
        self._remove_leftovers()

    def delete(self, name: str) -> None:
        with self._changing_mailboxes() as boxes:
            boxes.delete(name)
        self._remove_leftovers()

    def subscribe(self, name: str) -> None:
        with self._changing_mailboxes() as boxes:
            boxes.subscribe(name)

    def unsubscribe(self, name: str) -> None:
        with self._changing_mailboxes() as boxes:
            boxes.unsubscribe(name)

    # Messages

    def append(
        self, mailbox: MailboxKey, messages: Sequence[NewMessage], *, owner: str, quota_octets: int | None
    ) -> list[Appended]:
        """As the port says."""
        (answer,) = self.append_all([Append(mailbox, messages, owner, quota_octets)])
        if isinstance(answer, MailError):
            raise answer
        return answer

    def append_all(self, appends: Sequence[Append]) -> list[list[Appended] | MailError]:
        """Several appends in one transaction: the answer to each, or what to raise to its caller."""
        with self._changing() as change:
            appending = Appending(change, self._state_dir, self.path)
            with appending.undone_on_error():
                answers = [appending.append(one) for one in appends]
                now_s = int(self._terms.clock())
                appending.finish(now_s)
                self._prune(change, now_s)
        return answers

    def set_flags(
        self,
        mailbox: MailboxKey,
        uids: Uids,
        how: FlagChange,
        flags: frozenset[str],
        unchanged_since: ModSeq | None = None,
    ) -> FlagsChanged:
        with self._changing() as change:
            return account_messages.set_flags(change, mailbox, uids, how, flags, unchanged_since)

    def expunge(self, mailbox: MailboxKey, uids: Uids, *, only_deleted: bool = False) -> Expunged:
        """In one transaction; the files go after it, then the notes about them."""
        with self._changing() as change:
            expunged = account_messages.expunge(
                change, mailbox, uids, only_deleted=only_deleted, keep_tombstones=self._terms.retention.tombstones
            )
        if expunged.uids:
            self._remove_leftovers()
        return expunged

    def copy(
        self, source: MailboxKey, uids: Uids, destination: MailboxKey, *, owner: str, quota_octets: int | None
    ) -> Copied:
        with self._changing() as change:
            copied = account_messages.copy(
                change, self.path, source, uids, destination, owner=owner, quota_octets=quota_octets
            )
        self._copy_derived(source, destination, copied)
        return copied

    def move(self, source: MailboxKey, uids: Uids, destination: MailboxKey) -> Copied:
        with self._changing() as change:
            moved = self._move(change, source, uids, destination)
        if moved.uids:
            self._copy_derived(source, destination, moved)
            self._remove_leftovers()
        return moved

    def _move(self, change: Change, source: MailboxKey, uids: Uids, destination: MailboxKey) -> Copied:
        keep = self._terms.retention.tombstones
        return account_messages.move(change, self.path, source, uids, destination, keep_tombstones=keep)

    # How

    @contextmanager
    def _changing(self) -> Iterator[Change]:
        """A write transaction; once it is committed, flags.log and whoever watches are told."""
        placing = Placing(self.path)
        try:
            with self.database.write() as transaction:
                change = Change(transaction, placing)
                yield change
        except BaseException:
            placing.close(is_committed=False)
            raise
        placing.close(is_committed=True)
        if change.notes:
            self._sidecar.note(change.notes, self._everything)
        for mailbox, modseq in change.changed.items():
            self._terms.publish(self.account, mailbox, modseq)

    @contextmanager
    def _changing_mailboxes(self) -> Iterator[Mailboxes]:
        with self._changing() as change:
            yield self._mailboxes(change)

    def _mailboxes(self, change: Change) -> Mailboxes:
        return Mailboxes(change, self.path, self._sidecar, int(self._terms.clock()))

    def _everything(self) -> Collection[Note]:
        with self.database.read() as transaction:
            return list(all_notes(transaction))

    def _prune(self, change: Change, now_s: int) -> None:
        """Forget old delivery keys, once a day."""
        if now_s < self._prune_at:
            return
        self._prune_at = now_s + _PRUNE_EVERY_S
        (pruned,) = change.transaction.execute("SELECT pruned FROM account").fetchone()
        if now_s < pruned + _PRUNE_EVERY_S:
            self._prune_at = pruned + _PRUNE_EVERY_S
            return
        tables.forget_deliveries(change.transaction, before_s=now_s - self._terms.retention.keys_s)
        change.transaction.execute("UPDATE account SET pruned = ?", (now_s,))

    def _create(self, file: Path) -> None:
        """Make a new account's files; of several processes one does. Whoever sees `file` has all the others on disk."""
        uid_validity = UidValidity(int(self._terms.clock()))
        inbox = ListedMailbox(id=_INBOX_ID, name=INBOX, uid_validity=uid_validity)
        unfinished = file.with_suffix(".tmp")
        with os_errors():
            self.path.mkdir(DIRECTORY_MODE, exist_ok=True)
            sync_directory(self.path.parent)
            folder = self.path / str(_INBOX_ID)
            folder.mkdir(DIRECTORY_MODE, exist_ok=True)
        with AccountLock(folder).alone(timeout_s=BUSY_TIMEOUT_S):
            if _is_made(file):
                return
            with os_errors():
                unfinished.unlink(missing_ok=True)  # of a crash
                fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
                try:
                    write_all(fd, new_database(uid_validity))
                    os.fsync(fd)
                finally:
                    os.close(fd)
            self._sidecar.write_mailboxes(
                MailboxList(last_uid_validity=uid_validity, last_mailbox=_INBOX_ID, mailboxes=(inbox,))
            )
            with os_errors():
                unfinished.rename(file)
                sync_directory(self.path)

    def _remove_leftovers(self) -> None:
        """Remove the files of expunged messages, then the notes about them. UIDs never return, so no lock is needed."""
        try:
            with self.database.read() as transaction:
                notes = tables.leftovers(transaction)
            if not notes:
                return
            whole = {mailbox for mailbox, uid in notes if uid == WHOLE_MAILBOX}
            self.derived.write(lambda transaction: _forget_derived(transaction, notes), create=False)
            with os_errors():
                for mailbox, uid in notes:
                    if mailbox not in whole:
                        (self.path / str(mailbox) / body_name(uid)).unlink(missing_ok=True)
                for mailbox in whole:
                    with suppress(FileNotFoundError):
                        shutil.rmtree(self.path / str(mailbox))
                for mailbox in {mailbox for mailbox, _ in notes} - whole:
                    sync_directory(self.path / str(mailbox))
                if whole:
                    sync_directory(self.path)
            with self.database.write() as transaction:
                tables.forget_leftovers(transaction, notes)
        except TemporaryError as error:
            maillog.problem(what="files of expunged messages stay until the next expunge or opening", error=str(error))


def _forget_derived(transaction: sqlite3.Connection, notes: Sequence[tuple[MailboxId, Uid]]) -> None:
    derived_tables.remove(transaction, notes)
    for mailbox, uid in notes:
        if uid == WHOLE_MAILBOX:
            derived_tables.remove_mailbox(transaction, mailbox)


def _is_made(file: Path) -> bool:
    """An empty one is what a crash has left of an earlier version's first opening."""
    with os_errors(), suppress(FileNotFoundError):
        return file.stat().st_size > 0
    return False
