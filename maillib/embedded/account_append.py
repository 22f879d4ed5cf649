"""Appends to the mailboxes of one account, several in one transaction.

Guarantees: what does not work is undone for that append alone, the others are not disturbed; every body is on disk
under its name in the mailbox, and the name too, before the transaction can be committed. The write lock is held from
the choice of the UIDs to the commit: nobody sees a larger UID before a smaller one, and a file that has one of these
names already is nobody's.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from maillib.embedded import account_tables as tables
from maillib.embedded.account_change import Change
from maillib.embedded.account_places import Places
from maillib.embedded.blobs import is_spooled, name_of
from maillib.embedded.bodies import body_status
from maillib.embedded.files import os_errors, sync_directory
from maillib.errors import MailError, OverQuota
from maillib.ports.flags import canonical
from maillib.ports.index import Appended, Mailbox, MailboxId, MailboxKey, ModSeq, NewMessage, Row, Uid


@dataclass(frozen=True, slots=True)
class Append:
    """One call of the port."""

    mailbox: MailboxKey
    messages: Sequence[NewMessage]
    owner: str
    """Whom an OverQuota names."""
    quota_octets: int | None


@dataclass(slots=True)
class _Box:
    """A mailbox that is appended to."""

    mailbox: Mailbox
    modseq: ModSeq
    """Of all that comes with this transaction."""
    uid_next: Uid
    rows: list[tables.NewRow] = field(default_factory=list)
    deliveries: dict[str, Uid] = field(default_factory=dict)
    """By key, those of this transaction."""


class Appending:
    """The appends of one transaction."""

    def __init__(self, change: Change, state_dir: Path, folder: Path) -> None:
        """`folder`: the account's."""
        self._transaction = change.transaction
        self._change = change
        self._state_dir = state_dir
        self._folder = folder
        self._boxes: dict[MailboxId, _Box] = {}
        self._used_octets: int | None = None
        """By the account, with what was added here; None: nobody has asked yet."""
        self._places = Places(folder, change.placing)

    def undone_on_error(self) -> AbstractContextManager[None]:
        """When the block raises, no file is left."""
        return undone_on_error(self._places.taken)

    def append(self, one: Append) -> list[Appended] | MailError:
        """The answer to it, or what to raise."""
        already = len(self._places.taken)
        try:
            return self._append(one)
        except MailError as error:
            _remove(self._places.taken[already:])
            del self._places.taken[already:]
            return error

    def finish(self, now_s: int) -> None:
        """Sync the names and write the rows. Raises StoreFull, Transient."""
        boxes = [box for box in self._boxes.values() if box.rows]
        with os_errors():
            for box in boxes:
                sync_directory(self._folder / str(box.mailbox.id))
        for box in boxes:
            mailbox, modseq, rows = box.mailbox.id, box.modseq, [new.row for new in box.rows]
            tables.insert(self._transaction, box.rows)
            self._transaction.executemany(
                "INSERT INTO delivery (mailbox, key, uid, modseq, since) VALUES (?, ?, ?, ?, ?)",
                [(mailbox, key, uid, modseq, now_s) for key, uid in box.deliveries.items()],
            )
            tables.count(self._transaction, mailbox, modseq, added=rows)
            self._change.note_flags(mailbox, [row for row in rows if row.flags])
            self._change.changed[mailbox] = modseq

    def _append(self, one: Append) -> list[Appended]:
        box = self._box(one.mailbox)
        known: dict[str, Appended] = {}
        fresh: list[NewMessage] = []
        keys: set[str] = set()
        for message in one.messages:
            key = message.delivery_key
            if key is None:
                fresh.append(message)
            elif key not in known and key not in keys:
                answer = self._first_answer(box, key)
                if answer is None:
                    keys.add(key)
                    fresh.append(message)
                else:
                    known[key] = answer
        uids = iter(self._place(box, one, fresh))
        return [self._answer(box, message, known, uids) for message in one.messages]

    def _box(self, key: MailboxKey) -> _Box:
        mailbox = tables.mailbox(self._transaction, key)
        box = self._boxes.get(mailbox.id)
        if box is None:
            box = self._boxes[mailbox.id] = _Box(mailbox, ModSeq(mailbox.highest_modseq + 1), mailbox.uid_next)
        return box

    def _first_answer(self, box: _Box, key: str) -> Appended | None:
        if key in box.deliveries:
            return Appended(box.deliveries[key], box.modseq, created=False)
        found = tables.known_delivery(self._transaction, box.mailbox.id, key)
        return None if found is None else Appended(*found, created=False)

    def _place(self, box: _Box, one: Append, messages: Sequence[NewMessage]) -> list[Uid]:
        """Add the messages; their UIDs."""
        bodies = [f"{self._state_dir}/{name_of(message.body)}" for message in messages]
        statuses = [body_status(body) for body in bodies]
        sizes = [len(message.prefix) + status.st_size for message, status in zip(messages, statuses, strict=True)]
        if messages:
            self._charge(one, sum(sizes))
        added: list[tables.NewRow] = []
        uid_next = box.uid_next
        with os_errors():
            for number, message in enumerate(messages):
                date = int(message.internal_date.timestamp() // 1)
                uid = self._places.place(
                    bodies[number],
                    statuses[number],
                    box.mailbox.id,
                    uid_next,
                    date,
                    is_spooled=is_spooled(message.body),
                )
                row = Row(uid, box.modseq, sizes[number], date, canonical(message.flags))
                added.append(tables.NewRow(box.mailbox.id, row, message.prefix))
                uid_next = Uid(uid + 1)
        if self._used_octets is not None:
            self._used_octets += sum(sizes)
        box.uid_next = uid_next
        box.rows += added
        uids = [new.row.uid for new in added]
        for message, uid in zip(messages, uids, strict=True):
            if message.delivery_key is not None:
                box.deliveries[message.delivery_key] = uid
        return uids

    def _charge(self, one: Append, octets: int) -> None:
        """Raises OverQuota."""
        if one.quota_octets is None:
            return
        if self._used_octets is None:
            before = sum(new.row.size_octets for box in self._boxes.values() for new in box.rows)
            self._used_octets = tables.usage(self._transaction).octets + before
        if self._used_octets + octets > one.quota_octets:
            raise OverQuota(one.owner, used_octets=self._used_octets, limit_octets=one.quota_octets)

    def _answer(self, box: _Box, message: NewMessage, known: dict[str, Appended], uids: Iterator[Uid]) -> Appended:
        """To one message, in turn; a key that comes twice in a call is known the second time."""
        if message.delivery_key in known:
            return known[message.delivery_key]
        answer = Appended(next(uids), box.modseq, created=True)
        if message.delivery_key is not None:
            known[message.delivery_key] = Appended(answer.uid, answer.modseq, created=False)
        return answer


@contextmanager
def undone_on_error(placed: Sequence[str]) -> Iterator[None]:
    """Remove these files when the block raises.

    The commit comes after it: when that fails nobody can say whether a crash right then would bring the rows back, so
    the files stay, to be replaced by the next append.
    """
    try:
        yield
    except BaseException:
        _remove(placed)
        raise


def _remove(files: Sequence[str]) -> None:
    for file in files:
        with suppress(OSError):  # what stays is replaced by the next append
            Path(file).unlink()
