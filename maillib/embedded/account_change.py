"""One write transaction on an account's index, and what is to be told about it once it is committed."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from maillib.embedded.sidecar import Flagged, Note
from maillib.ports.index import MailboxId, ModSeq, Row


@dataclass(slots=True)
class Change:
    transaction: sqlite3.Connection
    notes: list[Note] = field(default_factory=list)
    """For flags.log."""
    changed: dict[MailboxId, ModSeq] = field(default_factory=dict)
    """For hints: mailboxes, and their highest modseq now."""

    def note_flags(self, mailbox: MailboxId, rows: Iterable[Row]) -> None:
        """These messages have other flags than a rebuild would give them. `rows` have one modseq."""
        by_flags = sorted((sorted(row.flags), row.uid, row) for row in rows)
        for _, group in groupby(by_flags, key=lambda one: one[0]):
            same = [row for _, _, row in group]
            self.notes.append(Flagged(mailbox, same[0].modseq, [row.uid for row in same], same[0].flags))
