"""Comparing an account's index with itself, with its files and with what lies beside it; and mending what can be.

What is derived from messages is compared, too: that goes where it is damaged, or its message has gone.

Guarantees: no octets are removed but those that are here under another name, and those whose message was expunged. What
can be mended without choosing between two truths is: counters; files of expunged messages and of copies that were
broken off; a list that differs from the index; a message whose body is gone goes, by name; a body that is no message's
becomes one. What cannot is named and left.

Blocks, and keeps deliveries to the account waiting meanwhile.
"""

import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from maillib.embedded import account_tables as tables
from maillib.embedded import derived_file, derived_tables
from maillib.embedded.account_index import AccountIndex
from maillib.embedded.account_mailboxes import WHOLE_MAILBOX
from maillib.embedded.account_notes import all_notes, mailbox_list
from maillib.embedded.account_unfinished import PREFIX as PLACING
from maillib.embedded.blobs import body_name
from maillib.embedded.files import os_errors
from maillib.embedded.found_bodies import FoundBody, MailboxFolder, loose_inodes, mailbox_folder, queued_ids, uid_of
from maillib.embedded.sidecar import Flagged, Noted, Sidecar
from maillib.errors import StoreDamaged, StoreUnusable
from maillib.ports.index import EVERY_UID, Mailbox, MailboxId, ModSeq, Row, Uid, delivery_key

_COUNTERS = ("messages", "octets", "messages without \\Seen", "messages with \\Deleted")

_OURS = frozenset({"index.sqlite3", "index.sqlite3-wal", "index.sqlite3-shm", "mailboxes.json", "flags.log"})
_REPLACED = frozenset({"flags.log.tmp", "mailboxes.json.tmp", "index.tmp"})
"""Of a crash, or being written right now; whoever writes the file the next time takes them away."""
_COPY = re.compile(r"([0-9]{10})\.tmp", re.ASCII)
_SET_ASIDE = "index.sqlite3.damaged-"
_UNFINISHED = "index.sqlite3.new"
"""Of a rebuild: while anybody uses the account none is running."""


@dataclass(frozen=True, slots=True)
class Finding:
    text: str
    """One sentence."""
    is_mended: bool


def check_account(index: AccountIndex) -> list[str]:
    """What is wrong, one sentence each. Changes nothing."""
    return [finding.text for finding in _examine(index, "", mend=False)]


def repair_account(index: AccountIndex, owner: str) -> list[Finding]:
    """What is wrong with the account of `owner` (its address), and what of it is no more."""
    return _examine(index, owner, mend=True)


def _examine(index: AccountIndex, owner: str, *, mend: bool) -> list[Finding]:
    damage = index.database.check()
    if damage:  # what it says about anything may be wrong
        return [Finding(f"the index is damaged: {line}", is_mended=False) for line in damage]
    examination = _Examination(index, owner, mend=mend)
    with index.database.write() as transaction:
        examination.examine(transaction)
    examination.remove_files()
    examination.examine_derived()
    if mend and examination.findings:
        with index.database.read() as transaction:
            Sidecar(index.path).rewrite(lambda: all_notes(transaction))
    return examination.findings


@dataclass(frozen=True, slots=True)
class _Box:
    """A mailbox that is compared with its folder."""

    mailbox: Mailbox
    path: Path
    files: dict[str, os.stat_result]
    """Those that are not accounted for yet."""


class _Examination:
    def __init__(self, index: AccountIndex, owner: str, *, mend: bool) -> None:
        self._index = index
        self._state_dir = index.path.parents[1]
        self._owner = owner
        self._mend = mend
        self._sidecar = Sidecar(index.path)
        self._inodes: set[tuple[int, int]] = set()
        """Of the bodies of all messages of the account."""
        self._to_remove: list[tuple[MailboxId, str]] = []
        self.findings: list[Finding] = []

    def examine(self, transaction: sqlite3.Connection) -> None:
        """All that is within the transaction."""
        self._counters(transaction)
        boxes = [box for mailbox in tables.mailboxes(transaction) if (box := self._box(mailbox)) is not None]
        for box in boxes:
            self._messages(transaction, box)
        whole = set()
        by_number = {box.mailbox.id: box for box in boxes}
        for number, uid in tables.leftovers(transaction):  # they go with the next expunge or opening
            if uid == WHOLE_MAILBOX:
                whole.add(str(number))
            elif number in by_number:
                by_number[number].files.pop(body_name(uid), None)
        for box in boxes:
            if box.files:
                with mailbox_folder(box.path) as folder:
                    self._other_files(transaction, box, folder)
        self._beside(transaction)
        self._account_folder({str(number) for (number,) in transaction.execute("SELECT id FROM mailbox")} | whole)

    def remove_files(self) -> None:
        """What the transaction has made nobody's. Raises StoreFull, Transient."""
        for number in dict.fromkeys(number for number, _ in self._to_remove):
            with mailbox_folder(self._index.path / str(number)) as folder:
                for mailbox, name in self._to_remove:
                    if mailbox == number:
                        folder.remove(name)
                folder.sync()

    def examine_derived(self) -> None:
        """What is derived from messages, while it is being filled and messages are being removed."""
        derived = self._index.derived
        try:
            damage = derived.check()
        except StoreDamaged as error:
            damage = [str(error)]
        if damage:
            self._tell(f"what is derived from the messages is damaged: {damage[0]}", derived.remove)
            return
        known = self._derived_of()
        with self._index.database.read() as transaction:
            known -= set(
                transaction.execute("SELECT mailbox, uid FROM message UNION SELECT mailbox, uid FROM leftover")
            )
        gone = sorted(known & self._derived_of())  # of one that was removed just now it is not there any more
        if gone:
            self._tell(
                f"there is something derived from {len(gone)} messages that are gone",
                lambda: derived.write(lambda transaction: derived_tables.remove(transaction, gone), create=False),
            )

    def _derived_of(self) -> set[tuple[MailboxId, Uid]]:
        """Messages."""
        nothing: list[tuple[MailboxId, Uid]] = []
        return set(self._index.derived.read(derived_tables.messages, otherwise=nothing))

    def _tell(self, text: str, mend: Callable[[], None] | None = None) -> None:
        is_mended = self._mend and mend is not None
        if is_mended and mend is not None:
            mend()
        self.findings.append(Finding(text, is_mended))

    def _box(self, mailbox: Mailbox) -> _Box | None:
        path = self._index.path / str(mailbox.id)
        if not path.is_dir() or path.is_symlink():
            self._tell(f"the folder of mailbox {mailbox.id} ({mailbox.name}) is missing")
            return None
        with mailbox_folder(path) as folder:
            files = {}
            for name in folder.names():
                with suppress(FileNotFoundError):
                    files[name] = folder.status(name)
            return _Box(mailbox, path, files)

    # Rows

    def _counters(self, transaction: sqlite3.Connection) -> None:
        for mailbox, uid_next, *numbers in transaction.execute(
            "SELECT mailbox.id, uid_next, coalesce(max(uid), 0) + 1,"  # noqa: S608
            " mailbox.messages, mailbox.octets, mailbox.unseen, mailbox.deleted,"
            f" count(uid), coalesce(sum(size_octets), 0), count(uid) FILTER (WHERE {tables.IS_UNSEEN}),"
            f" count(uid) FILTER (WHERE {tables.IS_DELETED})"
            " FROM mailbox LEFT JOIN message ON mailbox = mailbox.id GROUP BY mailbox.id"
        ).fetchall():
            least, counters, real = numbers[0], numbers[1:5], numbers[5:]
            for what, counter, number in zip(_COUNTERS, counters, real, strict=True):
                if counter != number:
                    text = f"mailbox {mailbox} counts {counter} {what}, but holds {number}"
                    self._tell(text, partial(tables.recount, transaction))
            if uid_next < least:
                self._tell(
                    f"mailbox {mailbox} has a UID that it has not given out yet",
                    partial(_set_uid_next, transaction, mailbox, least),
                )
        for mailbox, uid in transaction.execute(
            "SELECT mailbox, uid FROM message EXCEPT SELECT mailbox, uid FROM content"
        ).fetchall():
            self._tell(f"message {uid} of mailbox {mailbox} has no content")

    def _messages(self, transaction: sqlite3.Connection, box: _Box) -> None:
        found = tables.contents(transaction, box.mailbox.id, EVERY_UID)
        for uid, octets in [(uid, size_octets - len(prefix)) for uid, prefix, size_octets in found]:
            status = box.files.pop(body_name(uid), None)
            if status is None or not stat.S_ISREG(status.st_mode):
                self._tell(
                    f"message {uid} of mailbox {box.mailbox.id} has no body",
                    partial(self._drop, transaction, box.mailbox.id, uid),
                )
                continue
            self._inodes.add((status.st_dev, status.st_ino))
            if status.st_size != octets:
                self._tell(
                    f"message {uid} of mailbox {box.mailbox.id} has a body of {status.st_size} octets, not {octets}"
                )

    def _drop(self, transaction: sqlite3.Connection, mailbox: MailboxId, uid: Uid) -> None:
        modseq = _next_modseq(transaction, mailbox)
        removed = tables.rows(transaction, mailbox, [uid])
        tables.remove(transaction, mailbox, [uid], modseq)
        tables.count(transaction, mailbox, modseq, removed=removed)

    # Files

    def _other_files(self, transaction: sqlite3.Connection, box: _Box, folder: MailboxFolder) -> None:
        """Those that are no message's."""
        broken_off: list[tuple[str, FoundBody]] = []
        for name, status in box.files.items():
            path = box.path / name
            body = folder.body(name, self._owner)
            if body is None:
                copy = _COPY.fullmatch(name)
                if copy is None or not stat.S_ISREG(status.st_mode):
                    self._tell(f"{path} belongs to no message")
                elif int(copy[1]) < box.mailbox.uid_next:  # else the next copy to this name replaces it
                    self._tell(f"{path} is a copy that was broken off", self._removal(box, name))
            elif self._was_expunged(transaction, box, body.uid):
                self._tell(f"{path} is of a message that was expunged", self._removal(box, name))
            elif body.uid >= box.mailbox.uid_next and self._is_elsewhere(body):
                broken_off.append((name, body))  # an append or copy: the next one takes the name
            elif body.inode in self._inodes:
                self._tell(f"{path} is one more name of a message", self._removal(box, name))
            else:
                self._tell(
                    f"{path} is a whole message that the index does not know",
                    partial(self._adopt, transaction, box, folder, name, body),
                )
        if tables.mailbox(transaction, box.mailbox.id).uid_next > box.mailbox.uid_next:
            for name, body in broken_off:  # not any more: UIDs have been adopted beyond
                if body.inode in self._inodes or body.inode in self._loose:
                    self._to_remove.append((box.mailbox.id, name))
                else:
                    self._adopt(transaction, box, folder, name, body)

    def _removal(self, box: _Box, name: str) -> Callable[[], None]:
        return partial(self._to_remove.append, (box.mailbox.id, name))

    def _was_expunged(self, transaction: sqlite3.Connection, box: _Box, uid: Uid) -> bool:
        known = transaction.execute("SELECT 1 FROM tombstone WHERE mailbox = ? AND uid = ?", (box.mailbox.id, uid))
        return uid in self._noted_of(box).gone or known.fetchone() is not None

    def _is_elsewhere(self, body: FoundBody) -> bool:
        """Whoever was appending it still has it: the spool, a process that put it, another mailbox of the account."""
        return body.queue_id in self._queued or body.inode in self._loose or body.inode in self._inodes

    def _adopt(
        self, transaction: sqlite3.Connection, box: _Box, folder: MailboxFolder, name: str, body: FoundBody
    ) -> None:
        """Under its UID where the index is older than the body; else that UID is one that clients know to be gone."""
        mailbox = tables.mailbox(transaction, box.mailbox.id)
        uid = body.uid
        if uid < box.mailbox.uid_next:
            taken = [known for other in box.files if (known := uid_of(other)) is not None]
            uid = Uid(max(mailbox.uid_next, *(other + 1 for other in taken)))
            folder.link(name, body_name(uid))
            self._to_remove.append((mailbox.id, name))
        modseq = ModSeq(mailbox.highest_modseq + 1)
        _, flags = self._noted_of(box).flags.get(body.uid, (0, frozenset[str]()))
        row = Row(uid, modseq, body.size_octets, body.internal_date_s, flags)
        tables.insert(transaction, [tables.NewRow(mailbox.id, row, body.prefix)])
        tables.count(transaction, mailbox.id, modseq, added=[row])
        self._inodes.add(body.inode)
        if body.queue_id in self._queued:
            key = delivery_key(body.queue_id, self._index.account)
            tables.adopt_delivery(transaction, key, uid, modseq, int(time.time()))

    def _noted_of(self, box: _Box) -> Noted:
        return self._noted.get(box.mailbox.id, Noted())

    # What is asked for where a file is no message's, and else not worth a look

    @cached_property
    def _noted(self) -> dict[MailboxId, Noted]:
        return self._sidecar.read_notes()

    @cached_property
    def _queued(self) -> set[str]:
        return queued_ids(self._state_dir)

    @cached_property
    def _loose(self) -> set[tuple[int, int]]:
        return loose_inodes(self._state_dir)

    # Beside the index

    def _beside(self, transaction: sqlite3.Connection) -> None:
        wanted = mailbox_list(transaction)
        write = partial(self._sidecar.write_mailboxes, wanted)
        try:
            kept = self._sidecar.read_mailboxes()
        except StoreUnusable as error:
            self._tell(str(error), write)
        else:
            if kept != wanted:
                self._tell(
                    "mailboxes.json is missing" if kept is None else "mailboxes.json is not what the index says", write
                )
        if not self._sidecar.has_notes() and any(isinstance(note, Flagged) for note in all_notes(transaction)):
            self._tell("flags.log is missing", lambda: None)  # written whenever something was found

    def _account_folder(self, folders: Iterable[str]) -> None:
        known = {*_OURS, *_REPLACED, *folders}
        with os_errors():
            for path in sorted(self._index.path.iterdir()):
                if path.name in known or path.name.startswith((_SET_ASIDE, PLACING)):
                    continue
                if derived_file.is_folder(path.name) and path.is_dir() and not path.is_symlink():
                    continue
                if path.name.startswith(_UNFINISHED):
                    self._tell(f"{path} is of a rebuild that was broken off", path.unlink)
                elif path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                    self._tell(f"{path} is an empty folder", path.rmdir)
                else:
                    self._tell(f"{path} belongs to no mailbox")


def _set_uid_next(transaction: sqlite3.Connection, mailbox: MailboxId, uid_next: Uid) -> None:
    transaction.execute("UPDATE mailbox SET uid_next = ? WHERE id = ?", (uid_next, mailbox))


def _next_modseq(transaction: sqlite3.Connection, mailbox: MailboxId) -> ModSeq:
    return ModSeq(tables.mailbox(transaction, mailbox).highest_modseq + 1)
