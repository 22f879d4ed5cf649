"""What is read from and written to the tables of an account's index, within a transaction of the caller's.

The columns `flags` and `keywords` of a message: bit 2**N for the Nth system flag, and the other flags as text, sorted,
separated by spaces.
"""

import functools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from maillib.errors import NotFound
from maillib.ports.flags import DELETED, SEEN, SYSTEM_FLAGS
from maillib.ports.index import (
    INBOX,
    Mailbox,
    MailboxId,
    MailboxKey,
    ModSeq,
    Row,
    Uid,
    Uids,
    UidValidity,
    Usage,
    canonical_name,
)

_MAILBOX_COLUMNS = "id, name, uid_validity, uid_next, highest_modseq, messages, octets, unseen, deleted, special_use"
_ROW_COLUMNS = "uid, modseq, size_octets, internal_date, flags, keywords"

_BITS = {flag: 1 << number for number, flag in enumerate(SYSTEM_FLAGS)}

IS_UNSEEN = f"flags & {_BITS[SEEN]} = 0"
IS_DELETED = f"flags & {_BITS[DELETED]} != 0"
"""Of a message, in SQL."""

_FLAG_SETS = 4096
"""Different sets of flags that are remembered; a mailbox has some dozens."""


class NewRow(NamedTuple):
    """A message to be added."""

    mailbox: MailboxId
    row: Row
    prefix: bytes


# Mailboxes


def mailboxes(transaction: sqlite3.Connection) -> list[Mailbox]:
    return [
        _as_mailbox(row)
        for row in transaction.execute(f"SELECT {_MAILBOX_COLUMNS} FROM mailbox ORDER BY id")  # noqa: S608
    ]


def last_mailbox(transaction: sqlite3.Connection) -> MailboxId:
    """The id that was given out last."""
    (last,) = transaction.execute("SELECT seq FROM sqlite_sequence WHERE name = 'mailbox'").fetchone()
    return MailboxId(last)


def mailbox(transaction: sqlite3.Connection, key: MailboxKey) -> Mailbox:
    """Raises NotFound."""
    column, value = ("name", canonical_name(key)) if isinstance(key, str) else ("id", key)
    row = None
    if not isinstance(key, str) or key.isprintable():  # as `check_name` has it; SQLite takes no half of a character
        row = transaction.execute(
            f"SELECT {_MAILBOX_COLUMNS} FROM mailbox WHERE {column} = ?",  # noqa: S608
            (value,),
        ).fetchone()
    if row is None:
        raise NotFound(f"no mailbox {key!r}")
    return _as_mailbox(row)


def _as_mailbox(row: tuple[int, str, int, int, int, int, int, int, int, str | None]) -> Mailbox:
    number, name, validity, uid_next, modseq, messages, octets, unseen, deleted, use = row
    return Mailbox(
        MailboxId(number),
        name,
        UidValidity(validity),
        Uid(uid_next),
        ModSeq(modseq),
        messages,
        octets,
        unseen,
        deleted,
        use,
    )


def remove_mailbox(transaction: sqlite3.Connection, mailbox: MailboxId) -> None:
    """With all that is in it; its number is never given out again."""
    for table in ("message", "content", "tombstone", "delivery"):
        transaction.execute(f"DELETE FROM {table} WHERE mailbox = ?", (mailbox,))  # noqa: S608
    transaction.execute("DELETE FROM mailbox WHERE id = ?", (mailbox,))


def usage(transaction: sqlite3.Connection) -> Usage:
    return Usage(*transaction.execute("SELECT sum(messages), sum(octets) FROM mailbox").fetchone())


def count(
    transaction: sqlite3.Connection,
    mailbox: MailboxId,
    modseq: ModSeq,
    *,
    added: Sequence[Row] = (),
    removed: Sequence[Row] = (),
) -> None:
    """Carry a change of the mailbox's rows over to its counters. A message with other flags is removed and added."""
    messages, octets, unseen, deleted = len(added) - len(removed), 0, 0, 0
    for rows, sign in ((added, 1), (removed, -1)):
        for row in rows:
            octets += sign * row.size_octets
            unseen += sign * (SEEN not in row.flags)
            deleted += sign * (DELETED in row.flags)
    transaction.execute(
        "UPDATE mailbox SET uid_next = max(uid_next, ?), highest_modseq = ?, messages = messages + ?,"
        " octets = octets + ?, unseen = unseen + ?, deleted = deleted + ? WHERE id = ?",
        (added[-1].uid + 1 if added else 0, modseq, messages, octets, unseen, deleted, mailbox),
    )


def recount(transaction: sqlite3.Connection) -> None:
    """Make the counters of all mailboxes from their rows."""
    transaction.execute(
        "UPDATE mailbox SET (messages, octets, unseen, deleted) ="  # noqa: S608
        f" (SELECT count(*), coalesce(sum(size_octets), 0), count(*) FILTER (WHERE {IS_UNSEEN}),"
        f" count(*) FILTER (WHERE {IS_DELETED}) FROM message WHERE mailbox = mailbox.id)"
    )


# Messages


def rows(transaction: sqlite3.Connection, mailbox: MailboxId, uids: Uids, limit: int | None = None) -> list[Row]:
    """In UID order."""
    condition, values = _among(uids)
    found = transaction.execute(
        f"SELECT {_ROW_COLUMNS} FROM message WHERE mailbox = ? AND {condition} ORDER BY uid LIMIT ?",  # noqa: S608
        (mailbox, *values, -1 if limit is None else limit),
    ).fetchall()
    return _as_rows(found)


def rows_after(transaction: sqlite3.Connection, mailbox: MailboxId, after: ModSeq, until: ModSeq) -> list[Row]:
    """Those whose modseq is in (after, until], in UID order."""
    found = transaction.execute(
        f"SELECT {_ROW_COLUMNS} FROM message WHERE mailbox = ? AND modseq > ? AND modseq <= ? ORDER BY uid",  # noqa: S608
        (mailbox, after, until),
    ).fetchall()
    return _as_rows(found)


def sizes(transaction: sqlite3.Connection, mailbox: MailboxId, uids: Uids) -> list[tuple[int, int]]:
    """UID and octets, in UID order."""
    condition, values = _among(uids)
    return transaction.execute(
        f"SELECT uid, size_octets FROM message WHERE mailbox = ? AND {condition} ORDER BY uid",  # noqa: S608
        (mailbox, *values),
    ).fetchall()


def contents(transaction: sqlite3.Connection, mailbox: MailboxId, uids: Uids) -> Iterator[tuple[Uid, bytes, int]]:
    """UID, prefix and size, in UID order."""
    condition, values = _among(uids)
    return transaction.execute(
        "SELECT uid, prefix, size_octets FROM message JOIN content USING (mailbox, uid)"  # noqa: S608
        f" WHERE mailbox = ? AND {condition} ORDER BY uid",
        (mailbox, *values),
    )


def insert(transaction: sqlite3.Connection, messages: Iterable[NewRow]) -> None:
    """The counters are the caller's, see `count`."""
    messages = list(messages)
    transaction.executemany(
        "INSERT INTO message (mailbox, uid, modseq, size_octets, internal_date, flags, keywords)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(mailbox, *row[:4], *encoded(row.flags)) for mailbox, row, _ in messages],
    )
    transaction.executemany(
        "INSERT INTO content (mailbox, uid, prefix) VALUES (?, ?, ?)",
        [(mailbox, row.uid, prefix) for mailbox, row, prefix in messages],
    )


def remove(transaction: sqlite3.Connection, mailbox: MailboxId, uids: Sequence[Uid], modseq: ModSeq) -> None:
    """Rows go, tombstones and notes of the files come; the counters are the caller's."""
    pairs = [(mailbox, uid) for uid in uids]
    transaction.executemany("DELETE FROM message WHERE mailbox = ? AND uid = ?", pairs)
    transaction.executemany("DELETE FROM content WHERE mailbox = ? AND uid = ?", pairs)
    transaction.executemany("INSERT INTO leftover (mailbox, uid) VALUES (?, ?)", pairs)
    transaction.executemany(
        "INSERT INTO tombstone (mailbox, modseq, uid) VALUES (?, ?, ?)", [(mailbox, modseq, uid) for uid in uids]
    )


def set_flags(transaction: sqlite3.Connection, mailbox: MailboxId, rows: Iterable[Row]) -> None:
    """Give the messages the flags and modseqs of `rows`; the counters are the caller's."""
    transaction.executemany(
        "UPDATE message SET modseq = ?, flags = ?, keywords = ? WHERE mailbox = ? AND uid = ?",
        [(row.modseq, *encoded(row.flags), mailbox, row.uid) for row in rows],
    )


def replace_flags(
    transaction: sqlite3.Connection,
    mailbox: MailboxId,
    uids: range,
    results: Mapping[frozenset[str], frozenset[str]],
    modseq: ModSeq,
) -> int:
    """Give all messages among `uids` that have a set of flags another one; where it is the same they stay as they are.

    How many have changed: fewer than there are when rows from an older schema have their keywords in another order.
    The counters are the caller's.
    """
    # What one statement has changed, the next ones pass over: it has the new modseq.
    return transaction.executemany(
        "UPDATE message SET modseq = ?, flags = ?, keywords = ?"
        " WHERE mailbox = ? AND uid BETWEEN ? AND ? AND flags = ? AND keywords = ? AND modseq < ?",
        [
            (modseq, *encoded(after), mailbox, uids.start, uids.stop - 1, *encoded(before), modseq)
            for before, after in results.items()
            if after != before
        ],
    ).rowcount


def flagged(transaction: sqlite3.Connection, mailbox: MailboxId) -> Iterator[tuple[Uid, frozenset[str]]]:
    """Messages with flags."""
    for uid, flags, keywords in transaction.execute(
        "SELECT uid, flags, keywords FROM message WHERE mailbox = ? AND (flags != 0 OR keywords != '')", (mailbox,)
    ):
        yield Uid(uid), decoded(flags, keywords)


def _among(uids: Uids) -> tuple[str, tuple[object, ...]]:
    """A condition on `uid`, and its values."""
    if isinstance(uids, range):
        return "uid BETWEEN ? AND ?", (uids.start, uids.stop - 1)
    if len(uids) == 1:
        return "uid = ?", tuple(uids)
    return "uid IN (SELECT value FROM json_each(?))", (json.dumps(list(uids)),)


def _as_rows(found: Iterable[tuple[int, int, int, int, int, str]]) -> list[Row]:
    new = tuple.__new__  # what `Row` itself calls, by a detour that would take a third of the time
    sets = _FlagSets()
    return [
        new(Row, (uid, modseq, size, date, sets[bits, keywords])) for uid, modseq, size, date, bits, keywords in found
    ]


class _FlagSets(dict[tuple[int, str], frozenset[str]]):
    def __missing__(self, columns: tuple[int, str]) -> frozenset[str]:
        flags = self[columns] = decoded(*columns)
        return flags


@functools.lru_cache(_FLAG_SETS)
def encoded(flags: frozenset[str]) -> tuple[int, str]:
    """As the two columns have them."""
    bits = sum(_BITS.get(flag, 0) for flag in flags)
    return bits, " ".join(sorted(flag for flag in flags if flag not in _BITS))


@functools.lru_cache(_FLAG_SETS)
def decoded(bits: int, keywords: str) -> frozenset[str]:
    return frozenset((*(flag for flag, bit in _BITS.items() if bits & bit), *keywords.split()))


# Changes


def forgotten_modseq(transaction: sqlite3.Connection, mailbox: MailboxId) -> ModSeq:
    """What was expunged up to there may have no tombstone any more."""
    (modseq,) = transaction.execute("SELECT forgotten_modseq FROM mailbox WHERE id = ?", (mailbox,)).fetchone()
    return ModSeq(modseq)


def modseq_of_change(transaction: sqlite3.Connection, mailbox: MailboxId, after: ModSeq, number: int) -> ModSeq | None:
    """The modseq of the `number`th change after `after`, counted from 1 by messages; None: there are not so many."""
    row = transaction.execute(
        "SELECT modseq FROM message WHERE mailbox = ? AND modseq > ?"
        " UNION ALL SELECT modseq FROM tombstone WHERE mailbox = ? AND modseq > ?"
        " ORDER BY modseq LIMIT 1 OFFSET ?",
        (mailbox, after, mailbox, after, number - 1),
    ).fetchone()
    return None if row is None else ModSeq(row[0])


def tombstones_after(transaction: sqlite3.Connection, mailbox: MailboxId, after: ModSeq, until: ModSeq) -> list[Uid]:
    """UIDs that were expunged at a modseq in (after, until], in order."""
    found = transaction.execute(
        "SELECT uid FROM tombstone WHERE mailbox = ? AND modseq > ? AND modseq <= ? ORDER BY uid",
        (mailbox, after, until),
    )
    return [Uid(uid) for (uid,) in found]


def forget_tombstones(transaction: sqlite3.Connection, mailbox: MailboxId, *, keep: int) -> None:
    """All but about the `keep` last ones: what one call has expunged is kept or forgotten as one."""
    row = transaction.execute(
        "SELECT modseq FROM tombstone WHERE mailbox = ? ORDER BY modseq DESC LIMIT 1 OFFSET ?", (mailbox, keep)
    ).fetchone()
    if row is not None:
        transaction.execute("DELETE FROM tombstone WHERE mailbox = ? AND modseq <= ?", (mailbox, *row))
        transaction.execute("UPDATE mailbox SET forgotten_modseq = ? WHERE id = ?", (*row, mailbox))


# Deliveries


def known_delivery(transaction: sqlite3.Connection, mailbox: MailboxId, key: str) -> tuple[Uid, ModSeq] | None:
    """The first answer to it."""
    row = transaction.execute(
        "SELECT uid, modseq FROM delivery WHERE mailbox = ? AND key = ?", (mailbox, key)
    ).fetchone()
    return None if row is None else (Uid(row[0]), ModSeq(row[1]))


def adopt_delivery(transaction: sqlite3.Connection, key: str, uid: Uid, modseq: ModSeq, now_s: int) -> None:
    """A message that has been found is the answer to this key, unless there is one: to INBOX was it delivered, wherever
    its reader has moved it.
    """
    transaction.execute(
        "INSERT OR IGNORE INTO delivery (mailbox, key, uid, modseq, since)"
        " SELECT id, ?, ?, ?, ? FROM mailbox WHERE name = ?",
        (key, uid, modseq, now_s, INBOX),
    )


def forget_deliveries(transaction: sqlite3.Connection, *, before_s: int) -> None:
    transaction.execute("DELETE FROM delivery WHERE since < ?", (before_s,))


# Files


def leftovers(transaction: sqlite3.Connection) -> list[tuple[MailboxId, Uid]]:
    """Files whose rows are gone. UID 0: all of the mailbox, with its folder."""
    return [(MailboxId(mailbox), Uid(uid)) for mailbox, uid in transaction.execute("SELECT mailbox, uid FROM leftover")]


def forget_leftovers(transaction: sqlite3.Connection, notes: Iterable[tuple[MailboxId, Uid]]) -> None:
    transaction.executemany("DELETE FROM leftover WHERE mailbox = ? AND uid = ?", notes)
