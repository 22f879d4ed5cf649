"""Making, renaming and deleting mailboxes of one account, and subscriptions; within a transaction of the caller's.

mailboxes.json is written before the commit (`sidecar`), and so is the folder of a new mailbox.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from maillib.embedded import account_tables as tables
from maillib.embedded.account_change import Change
from maillib.embedded.account_notes import mailbox_list
from maillib.embedded.files import DIRECTORY_MODE, os_errors
from maillib.embedded.sidecar import Gone, Sidecar
from maillib.errors import Conflict, NotFound
from maillib.ports.index import (
    EVERY_UID,
    INBOX,
    Mailbox,
    ModSeq,
    Uid,
    UidValidity,
    canonical_name,
    check_name,
    name_below,
)

WHOLE_MAILBOX = Uid(0)
"""In `leftover`: the folder, with whatever is in it."""


class Mailboxes:
    """The mailboxes of one account, within a transaction."""

    def __init__(self, change: Change, folder: Path, sidecar: Sidecar, now_s: int) -> None:
        self._change = change
        self._transaction: sqlite3.Connection = change.transaction
        self._folder = folder
        self._sidecar = sidecar
        self._now_s = now_s

    def furnish(self, mailboxes: Mapping[str, str]) -> None:
        """Nothing, where another process has been here first."""
        (inbox, *others) = tables.mailboxes(self._transaction)
        if others or tables.last_mailbox(self._transaction) != inbox.id:
            return
        made = [self._create(name, special_use) for name, special_use in mailboxes.items()]
        self._transaction.executemany(
            "INSERT OR IGNORE INTO subscription (name) VALUES (?)", [(box.name,) for box in (inbox, *made)]
        )
        self._listed()

    def create(self, name: str, special_use: str | None) -> Mailbox:
        made = self._create(name, special_use)
        self._listed()
        return made

    def _create(self, name: str, special_use: str | None) -> Mailbox:
        """Leaves `_listed` to the caller, which syncs the folder that both names are in."""
        name = canonical_name(name)
        check_name(name)
        self._refuse_taken(name)
        (last,) = self._transaction.execute("SELECT uid_validity FROM account").fetchone()
        uid_validity = UidValidity(max(self._now_s, last + 1))  # it only grows, whatever the clock does
        self._transaction.execute("UPDATE account SET uid_validity = ?", (uid_validity,))
        self._transaction.execute(
            "INSERT INTO mailbox (name, uid_validity, uid_next, highest_modseq, messages, octets, special_use)"
            " VALUES (?, ?, 1, 1, 0, 0, ?)",
            (name, uid_validity, special_use),
        )
        made = tables.mailbox(self._transaction, name)
        with os_errors():
            (self._folder / str(made.id)).mkdir(DIRECTORY_MODE, exist_ok=True)
        self._change.changed[made.id] = made.highest_modseq
        return made

    def rename(self, name: str, new_name: str) -> None:
        """Not for INBOX."""
        name, new_name = canonical_name(name), canonical_name(new_name)
        check_name(new_name)
        if name_below(new_name, name, "") is not None:
            raise Conflict(f"{new_name!r} is {name!r}, or below it")
        renamed = {
            box: target
            for box in tables.mailboxes(self._transaction)
            if (target := name_below(box.name, name, new_name)) is not None
        }
        if not renamed:
            raise NotFound(f"no mailbox {name!r}")
        for box, target in renamed.items():
            check_name(target)
            self._refuse_taken(target)
            self._transaction.execute("UPDATE mailbox SET name = ? WHERE id = ?", (target, box.id))
            self._change.changed[box.id] = box.highest_modseq
        self._listed()

    def delete(self, name: str) -> None:
        if canonical_name(name) == INBOX:
            raise Conflict("an account has an INBOX")
        box = tables.mailbox(self._transaction, name)
        uids = [row.uid for row in tables.rows(self._transaction, box.id, EVERY_UID)]
        tables.remove_mailbox(self._transaction, box.id)
        self._transaction.execute("INSERT INTO leftover (mailbox, uid) VALUES (?, ?)", (box.id, WHOLE_MAILBOX))
        modseq = ModSeq(box.highest_modseq + 1)
        if uids:
            self._change.notes.append(Gone(box.id, modseq, uids))
        self._change.changed[box.id] = modseq
        self._listed()

    def subscribe(self, name: str) -> None:
        name = canonical_name(name)
        check_name(name)
        self._transaction.execute("INSERT OR IGNORE INTO subscription (name) VALUES (?)", (name,))
        self._listed()

    def unsubscribe(self, name: str) -> None:
        self._transaction.execute("DELETE FROM subscription WHERE name = ?", (canonical_name(name),))
        self._listed()

    def _refuse_taken(self, name: str) -> None:
        if self._transaction.execute("SELECT 1 FROM mailbox WHERE name = ?", (name,)).fetchone():
            raise Conflict(f"there is a mailbox {name!r}")

    def _listed(self) -> None:
        self._sidecar.write_mailboxes(mailbox_list(self._transaction))
