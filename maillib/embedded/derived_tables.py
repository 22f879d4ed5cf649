"""What is derived from an account's messages as tables, and the statements on them.

    heading   what is searched most, sorted and put into threads by
    view      what lists of messages are made of
    header    the same, for clients that ask for fields of the header instead
    text      the rest of what is searched: long, and read by nobody else; `derived_words` tells where to look

The key of each is one number, `_key`: so the rows of a mailbox lie side by side, in UID order.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from maillib.embedded import derived_words
from maillib.embedded.sqlite import Schema
from maillib.ports.derived import Derived, Heading, Shown, ShownRow, Where, values_of
from maillib.ports.index import MailboxId, Uid, Uids

SCHEMA: Schema = (
    (
        """CREATE TABLE heading (
            key INTEGER PRIMARY KEY,
            from_text TEXT,
            to_text TEXT,
            cc_text TEXT,
            bcc_text TEXT,
            subject TEXT,
            sent_s INTEGER,
            sent_day INTEGER,
            from_ TEXT NOT NULL,
            to_ TEXT NOT NULL,
            cc TEXT NOT NULL,
            display_from TEXT NOT NULL,
            display_to TEXT NOT NULL,
            message_id TEXT NOT NULL,
            earlier TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE view (
            key INTEGER PRIMARY KEY,
            envelope BLOB NOT NULL,
            body BLOB NOT NULL,
            structure BLOB NOT NULL,
            preview BLOB NOT NULL
        ) STRICT""",
        """CREATE TABLE header (
            key INTEGER PRIMARY KEY,
            header BLOB NOT NULL
        ) STRICT""",
        """CREATE TABLE text (
            key INTEGER PRIMARY KEY,
            header TEXT NOT NULL,
            part_headers TEXT NOT NULL,
            body TEXT NOT NULL
        ) STRICT""",
        *derived_words.SCHEMA,
    ),
)
"""Its one step is never extended: with a new `ports.derived.VERSION` a file is made anew."""

_COLUMNS = {
    "heading": "from_text, to_text, cc_text, bcc_text, subject, sent_s, sent_day, from_, to_, cc, display_from,"
    " display_to, message_id, earlier",
    "view": "envelope, body, structure, preview",
    "header": "header",
    "text": "header, part_headers, body",
}
"""Of each table but for the key."""

_IN_HEADING = {
    Where.FROM: "from_text", Where.TO: "to_text", Where.CC: "cc_text", Where.BCC: "bcc_text", Where.SUBJECT: "subject"
}  # fmt: skip
_IN_TEXT = {Where.HEADER: ("header",), Where.BODY: ("body",), Where.TEXT: ("header", "part_headers", "body")}

_UID_BITS = 32


def _key(mailbox: MailboxId, uid: int) -> int:
    return mailbox << _UID_BITS | uid


def put(transaction: sqlite3.Connection, mailbox: MailboxId, derived: Iterable[Derived]) -> None:
    """Of messages of which nothing is known yet."""
    fresh = []
    for view, heading, texts in derived:
        key = _key(mailbox, view.uid)
        if not transaction.execute("INSERT OR IGNORE INTO text VALUES (?, ?, ?, ?)", (key, *texts)).rowcount:
            continue
        fresh.append(key)
        found = [values_of(texts.header, where.value) for where in _IN_HEADING]
        transaction.execute(
            "INSERT INTO heading VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, *["\n".join(values) if values else None for values in found], *heading[1:3], *heading[4:]),
        )
        transaction.execute("INSERT INTO view VALUES (?, ?, ?, ?, ?)", (key, *view[1:5]))
        transaction.execute("INSERT INTO header VALUES (?, ?)", (key, view.header))
    derived_words.put(transaction, fresh)


def uids(transaction: sqlite3.Connection, mailbox: MailboxId, among: Uids) -> list[Uid]:
    """Of the messages that have been derived, in order."""
    condition, values = _among(mailbox, among)
    (found,) = transaction.execute(  # as one text: a third of the time that so many rows would take
        f"SELECT json_group_array(key - ?) FROM (SELECT key FROM heading WHERE {condition} ORDER BY key)",  # noqa: S608
        (_key(mailbox, 0), *values),
    ).fetchone()
    known: list[Uid] = json.loads(found)
    return known


def views(transaction: sqlite3.Connection, mailbox: MailboxId, among: Uids, shown: Sequence[Shown]) -> list[ShownRow]:
    condition, values = _among(mailbox, among)
    columns = "".join([f", {each.value}" for each in shown])
    tables = " JOIN ".join(dict.fromkeys("header" if each is Shown.HEADER else "view" for each in shown)) or "view"
    using = " USING (key)" if " " in tables else ""
    return transaction.execute(
        f"SELECT key - ?{columns} FROM {tables}{using} WHERE {condition} ORDER BY key",  # noqa: S608
        (_key(mailbox, 0), *values),
    ).fetchall()


def headings(transaction: sqlite3.Connection, mailbox: MailboxId, among: Uids) -> list[Heading]:
    condition, values = _among(mailbox, among)
    found = transaction.execute(
        "SELECT key - ?, sent_s, sent_day, coalesce(subject, ''), from_, to_, cc, display_from, display_to, message_id,"  # noqa: S608
        f" earlier FROM heading WHERE {condition} ORDER BY key",
        (_key(mailbox, 0), *values),
    )
    new = tuple.__new__
    return [new(Heading, row) for row in found]


def containing(
    transaction: sqlite3.Connection, mailbox: MailboxId, among: Uids, where: Where | str, text: str
) -> list[Uid]:
    """In order. It is SQLite that goes through the texts: other threads of the process run meanwhile."""
    if isinstance(where, str):
        return _in_field(transaction, mailbox, among, where, text)
    if where in _IN_HEADING:
        return _found(transaction, "heading", f" AND instr({_IN_HEADING[where]}, ?)", mailbox, among, text)
    columns = _IN_TEXT[where]
    condition = " OR ".join(f"instr({column}, ?)" for column in columns)
    source, first = _source(mailbox, text)
    return _found(transaction, source, f" AND ({condition})", mailbox, among, *[text] * len(columns), first=first)


def _source(mailbox: MailboxId, text: str) -> tuple[str, tuple[object, ...]]:
    """Of the texts those that may contain `text`, as a table and its values."""
    query = derived_words.candidates(_key(mailbox, 0), _key(MailboxId(mailbox + 1), 0) - 1, text)
    if query is None:
        return "text", ()
    return f"({query[0]}) CROSS JOIN text USING (key)", query[1]


def _in_field(transaction: sqlite3.Connection, mailbox: MailboxId, among: Uids, name: str, text: str) -> list[Uid]:
    condition, values = _among(mailbox, among)
    source, first = _source(mailbox, text)
    candidates = transaction.execute(
        f"SELECT key - ?, header FROM {source} WHERE {condition} AND instr(header, ?) AND instr(header, ?)"  # noqa: S608
        " ORDER BY key",
        (_key(mailbox, 0), *first, *values, text, f"\n{name}:"),
    )
    return [Uid(uid) for uid, header in candidates if any(text in value for value in values_of(header, name))]


def _found(
    transaction: sqlite3.Connection,
    source: str,
    more: str,
    mailbox: MailboxId,
    among: Uids,
    *texts: str,
    first: tuple[object, ...] = (),
) -> list[Uid]:
    condition, values = _among(mailbox, among)
    found = transaction.execute(
        f"SELECT key - ? FROM {source} WHERE {condition}{more} ORDER BY key",  # noqa: S608
        (_key(mailbox, 0), *first, *values, *texts),
    )
    return [Uid(uid) for (uid,) in found]


def copy(
    transaction: sqlite3.Connection, source: MailboxId, destination: MailboxId, copies: Iterable[tuple[Uid, Uid]]
) -> None:
    """What is derived from messages holds for their copies, too, unless it is known of these already."""
    fresh = []
    for uid, its_copy in copies:
        keys = _key(destination, its_copy), _key(source, uid)
        if not _copy_row(transaction, "text", keys):
            continue
        for table in ("heading", "view", "header"):
            _copy_row(transaction, table, keys)
        fresh.append(keys[0])
    derived_words.put(transaction, fresh)


def _copy_row(transaction: sqlite3.Connection, table: str, keys: tuple[int, int]) -> bool:
    """To the first key from the second. False: there is one already, or none to copy."""
    statement = f"INSERT OR IGNORE INTO {table} SELECT ?, {_COLUMNS[table]} FROM {table} WHERE key = ?"  # noqa: S608
    return transaction.execute(statement, keys).rowcount > 0


def remove(transaction: sqlite3.Connection, messages: Iterable[tuple[MailboxId, Uid]]) -> None:
    keys = [(_key(mailbox, uid),) for mailbox, uid in messages]
    for (key,) in keys:
        derived_words.remove(transaction, key, key)
    for table in _COLUMNS:
        transaction.executemany(f"DELETE FROM {table} WHERE key = ?", keys)  # noqa: S608


def remove_mailbox(transaction: sqlite3.Connection, mailbox: MailboxId) -> None:
    low, high = _key(mailbox, 0), _key(MailboxId(mailbox + 1), 0) - 1
    derived_words.remove(transaction, low, high)
    for table in _COLUMNS:
        transaction.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", (low, high))  # noqa: S608


def messages(transaction: sqlite3.Connection) -> list[tuple[MailboxId, Uid]]:
    """All that anything is kept of."""
    keys = {key for table in _COLUMNS for (key,) in transaction.execute(f"SELECT key FROM {table}")}  # noqa: S608
    return [(MailboxId(key >> _UID_BITS), Uid(key & (1 << _UID_BITS) - 1)) for key in sorted(keys)]


def _among(mailbox: MailboxId, uids: Uids) -> tuple[str, tuple[object, ...]]:
    """A condition on `key`, and its values."""
    if isinstance(uids, range):
        return "key BETWEEN ? AND ?", (_key(mailbox, uids.start), _key(mailbox, uids.stop - 1))
    if len(uids) == 1:
        (uid,) = uids
        return "key = ?", (_key(mailbox, uid),)
    return "key IN (SELECT value + ? FROM json_each(?))", (_key(mailbox, 0), json.dumps(list(uids)))
