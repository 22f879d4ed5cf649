"""One write transaction on an account's index, and what is to be told about it once it is committed."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from maillib.embedded.account_unfinished import Placing
from maillib.embedded.sidecar import Flagged, Note
from maillib.ports.index import MailboxId, ModSeq, Row


@dataclass(slots=True)
class Change:
    transaction: sqlite3.Connection
    placing: Placing
    """Notes of the bodies that get names in it."""
    notes: list[Note] = field(default_factory=list)
    """For flags.log."""
    changed: dict[MailboxId, ModSeq] = field(default_factory=dict)
    """For hints: mailboxes, and their highest modseq now."""

    def note_flags(self, mailbox: MailboxId, rows: Iterable[Row]) -> None:
        """These messages have other flags than a rebuild would give them. `rows` have one modseq."""
        by_flags: dict[frozenset[str], list[Row]] = {}
        for row in rows:
            by_flags.setdefault(row.flags, []).append(row)
        for flags, same in by_flags.items():
            self.notes.append(Flagged(mailbox, same[0].modseq, [row.uid for row in same], flags))
