"""Makes an account's index anew from what lies on disk: `postroom mailbox rebuild`.

    bodies and their names   messages, UIDs, internal dates, sizes, Return-Path and Delivered-To (`found_bodies`)
    mailboxes.json           names of mailboxes, UIDVALIDITY, subscriptions
    flags.log                flags; UIDs of messages that were expunged
    spool/messages           what may be delivered once more, and is known to be here already

Guarantees: the old index is kept beside the new one; nobody uses the account meanwhile; broken off anywhere, it can be
begun again, and until it is whole nothing is delivered (`open_accounts`). No UID is given out twice: what is handed out
next is above all that is known, and so far above that what a power cut took from flags.log is below. MODSEQs grow, so
that clients look at every message again. All of it blocks.

What is derived from messages goes, and is made anew by and by. Not known afterwards: which of the messages that have
left the spool were delivered under which key; nobody delivers those again.
"""

import itertools
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from maillib.embedded import account_tables as tables
from maillib.embedded.account_lock import AccountLock
from maillib.embedded.account_mailboxes import WHOLE_MAILBOX
from maillib.embedded.account_notes import all_notes
from maillib.embedded.account_schema import SCHEMA
from maillib.embedded.blobs import account_path
from maillib.embedded.derived_file import DerivedFile, Openings
from maillib.embedded.files import DIRECTORY_MODE, os_errors, sync_directory
from maillib.embedded.found_bodies import FoundBody, MailboxFolder, mailbox_folder, queued_ids, uid_of
from maillib.embedded.sidecar import ListedMailbox, MailboxList, Noted, Sidecar
from maillib.embedded.sqlite import Database
from maillib.errors import NotFound, StoreUnusable
from maillib.ports.directory import AccountId
from maillib.ports.index import INBOX, MailboxId, ModSeq, Row, UidValidity, delivery_key

UID_MARGIN = 100_000
"""UIDs left out: more than one mailbox can get and expunge within the minute that a power cut may take from the log.
There are forty thousand times as many."""

USERS_TIMEOUT_S = 30.0
"""How long running calls may take to end; each waits at most 5 s for a lock itself."""

_PARTS = ("", "-wal", "-shm")
"""The main file first: what has been moved by halves then is a lost index, never an older one."""
_FOLDER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)

_TELL_EVERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    messages: int
    octets: int
    aside: str | None
    """The name of the old index, beside the new one; None: there was none."""
    remarks: tuple[str, ...]
    """What is not as it was, one sentence each."""


def rebuild(
    state_dir: Path, account: AccountId, address: str, *, tell: Callable[[int], None] = lambda _: None
) -> Rebuilt:
    """Replace the index of `account`, whose address is `address`; `tell` is called with the messages done so far.

    Raises NotFound (it has no folder), Transient (in use, or the system's error), StoreFull.
    """
    folder = account_path(state_dir, account)
    if not folder.is_dir():
        raise NotFound(f"{address} has no mail yet")
    with AccountLock(folder).alone(timeout_s=USERS_TIMEOUT_S):
        return _Rebuild(state_dir, account, address).run(tell)


class _Rebuild:
    def __init__(self, state_dir: Path, account: AccountId, address: str) -> None:
        self._state_dir = state_dir
        self._account = account
        self._address = address
        self._folder = account_path(state_dir, account)
        self._file = self._folder / "index.sqlite3"
        self._new = self._folder / "index.sqlite3.new"
        self._sidecar = Sidecar(self._folder)
        self._remarks: list[str] = []
        self._deleted: list[MailboxId] = []
        """Mailboxes whose folders go with the next opening."""
        self._messages = self._octets = 0

    def run(self, tell: Callable[[int], None]) -> Rebuilt:
        notes = self._sidecar.read_notes()
        listed = self._list(notes)
        self._remove_unfinished()
        with closing(Database(self._new, SCHEMA)) as database:  # closing it leaves one file, whole and synced
            with database.write() as transaction:
                self._fill(transaction, listed, notes, tell)
            with database.read() as transaction:
                self._sidecar.rewrite(lambda: all_notes(transaction))
        self._sidecar.write_mailboxes(listed)
        DerivedFile(self._folder, Openings()).remove()
        return Rebuilt(
            messages=self._messages, octets=self._octets, aside=self._exchange(), remarks=tuple(self._remarks)
        )

    def _remove_unfinished(self) -> None:
        """Of a rebuild that was broken off."""
        with os_errors():
            for suffix in _PARTS:
                self._new.with_name(f"{self._new.name}{suffix}").unlink(missing_ok=True)

    # Mailboxes

    def _list(self, notes: Mapping[MailboxId, Noted]) -> MailboxList:
        """The mailboxes that there are, those too of which only the folder is left; each has its folder."""
        listed = self._kept_list()
        mailboxes = list(listed.mailboxes)
        names = {one.name for one in mailboxes}
        numbers = {one.id for one in mailboxes}
        with os_errors():
            numbers |= {
                MailboxId(int(path.name))
                for path in self._folder.iterdir()
                if _FOLDER.fullmatch(path.name)
                and path.is_dir()
                and not path.is_symlink()
                and not self._was_deleted(path, listed, notes)
            }
        last_mailbox = max(listed.last_mailbox, *numbers, MailboxId(0))
        unlisted = sorted(numbers - {one.id for one in mailboxes})
        if INBOX not in names and not unlisted:  # an account has one, be it empty
            last_mailbox = MailboxId(last_mailbox + 1)
            unlisted = [last_mailbox]
        last_uid_validity = listed.last_uid_validity
        for number in unlisted:
            last_uid_validity = UidValidity(max(int(time.time()), last_uid_validity + 1))
            name = INBOX if INBOX not in names else _free_name(number, names)
            names.add(name)
            mailboxes.append(ListedMailbox(id=number, name=name, uid_validity=last_uid_validity))
            self._remarks.append(f"mailbox {number} is in no list: it is called {name} now, with a new UIDVALIDITY")
        with os_errors():
            for mailbox in mailboxes:
                self._folder_of(mailbox.id).mkdir(DIRECTORY_MODE, exist_ok=True)
            sync_directory(self._folder)
        return MailboxList(
            last_uid_validity=last_uid_validity,
            last_mailbox=last_mailbox,
            mailboxes=tuple(sorted(mailboxes, key=lambda one: one.id)),
            subscriptions=listed.subscriptions,
        )

    def _was_deleted(self, folder: Path, listed: MailboxList, notes: Mapping[MailboxId, Noted]) -> bool:
        """Whether it is what a deletion of a mailbox has left that was broken off."""
        number = MailboxId(int(folder.name))
        if number > listed.last_mailbox or any(one.id == number for one in listed.mailboxes):
            return False
        gone = notes.get(number, Noted()).gone
        if not all(uid_of(path.name) in gone for path in folder.iterdir()):
            return False
        self._deleted.append(number)
        return True

    def _kept_list(self) -> MailboxList:
        try:
            kept = self._sidecar.read_mailboxes()
        except StoreUnusable as error:
            self._remarks.append(str(error))
            kept = None
        return kept or MailboxList(last_uid_validity=UidValidity(0), last_mailbox=MailboxId(0), mailboxes=())

    def _folder_of(self, mailbox: MailboxId) -> Path:
        return self._folder / str(mailbox)

    # Rows

    def _fill(
        self,
        transaction: sqlite3.Connection,
        listed: MailboxList,
        notes: Mapping[MailboxId, Noted],
        tell: Callable[[int], None],
    ) -> None:
        queued = queued_ids(self._state_dir)
        now_s = int(time.time())
        transaction.execute("INSERT INTO account (one, uid_validity) VALUES (1, ?)", (listed.last_uid_validity,))
        transaction.executemany(
            "INSERT INTO mailbox (id, name, uid_validity, special_use, uid_next, highest_modseq, messages, octets)"
            " VALUES (?, ?, ?, ?, 1, 1, 0, 0)",
            [(one.id, one.name, one.uid_validity, one.special_use) for one in listed.mailboxes],
        )
        transaction.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'mailbox'", (listed.last_mailbox,))
        transaction.executemany(
            "INSERT OR IGNORE INTO subscription (name) VALUES (?)", [(name,) for name in listed.subscriptions]
        )
        for mailbox in listed.mailboxes:
            noted = notes.get(mailbox.id, Noted())
            with mailbox_folder(self._folder_of(mailbox.id)) as folder:
                names = folder.names()
                uids = [uid for name in names if (uid := uid_of(name)) is not None]
                uid_next = max([noted.uid_next, *(uid + 1 for uid in uids[-1:])])
                # Each delivery since the last note has raised it by one at most.
                modseq = ModSeq(noted.modseq + uid_next)
                for body in self._bodies(folder, names):
                    if body.uid in noted.gone:
                        transaction.execute("INSERT INTO leftover VALUES (?, ?)", (mailbox.id, body.uid))
                        continue
                    _, flags = noted.flags.get(body.uid, (0, frozenset[str]()))
                    row = Row(body.uid, modseq, body.size_octets, body.internal_date_s, flags)
                    tables.insert(transaction, [tables.NewRow(mailbox.id, row, body.prefix)])
                    if body.queue_id in queued:
                        key = delivery_key(body.queue_id, self._account)
                        tables.adopt_delivery(transaction, key, body.uid, modseq, now_s)
                    self._messages += 1
                    self._octets += body.size_octets
                    if self._messages % _TELL_EVERY == 0:
                        tell(self._messages)
            transaction.execute(  # what was expunged is forgotten: who knew it reads all anew
                "UPDATE mailbox SET uid_next = ?, highest_modseq = ?, forgotten_modseq = ? WHERE id = ?",
                (uid_next + UID_MARGIN, modseq, modseq, mailbox.id),
            )
        transaction.executemany("INSERT INTO leftover VALUES (?, ?)", [(one, WHOLE_MAILBOX) for one in self._deleted])
        tables.recount(transaction)

    def _bodies(self, folder: MailboxFolder, names: Iterable[str]) -> Iterator[FoundBody]:
        for name in names:
            body = folder.body(name, self._address)
            if body is not None:
                yield body
            elif not name.endswith(".tmp"):  # of a copy that was broken off
                self._remarks.append(f"{folder.path / name} is no message")

    # Files

    def _exchange(self) -> str | None:
        """Give the new index the name; that of the old one."""
        with os_errors():
            taken = {path.name for path in self._folder.iterdir()}
            aside = next(name for name in _asides(self._file.name) if not any(one.startswith(name) for one in taken))
            had_one = self._file.name in taken
            for suffix in _PARTS:
                if f"{self._file.name}{suffix}" in taken:
                    (self._folder / f"{self._file.name}{suffix}").rename(self._folder / f"{aside}{suffix}")
            sync_directory(self._folder)  # an old -wal must never be found beside the new index
            self._new.rename(self._file)
            sync_directory(self._folder)
        return aside if had_one else None


def _free_name(number: MailboxId, taken: Collection[str]) -> str:
    name = f"Recovered-{number}"
    while name in taken:
        name += "-again"
    return name


def _asides(name: str) -> Iterator[str]:
    return (f"{name}.damaged-{number}" for number in itertools.count(1))
