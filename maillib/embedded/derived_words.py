"""Which texts may contain something: three characters at a time, so that a search need not go through all of them.

    trigram   for each three characters that stand somewhere side by side, the keys of the texts where they do
    waiting   keys of texts that are not in it yet; texts that are not there any more, and are still to be taken out

To put a text in takes three times as long as to derive it, so that is done later, by who has time (`settle`). Until
then a search goes through what waits, and finds no less. Texts longer than LONGEST wait for ever: they are few, contain
most of what is looked for, and would keep the index busy for seconds.
"""

import sqlite3
from collections.abc import Sequence

SCHEMA = (
    """CREATE VIRTUAL TABLE trigram USING fts5(
        text, content='', columnsize=0, detail='none', tokenize='trigram'
    )""",
    "CREATE TABLE waiting (key INTEGER PRIMARY KEY, gone TEXT) STRICT",
)

LONGEST = 256 * 1024
"""Characters of a text; a step ends with the one that makes so many, too."""

_STAYS = ""
"""As what is `gone`: this text is too long."""

_LETTERS = 3
_MOST = 24
"""Of the trigrams of a long text that are asked for: with few of them hardly anything is left."""


def candidates(low: int, high: int, text: str) -> tuple[str, tuple[object, ...]] | None:
    """A query for the keys from `low` to `high` whose texts may contain `text`, and its values; None: any may."""
    if len(text) < _LETTERS or "\0" in text:
        return None
    trigrams = dict.fromkeys(text[at : at + _LETTERS] for at in range(len(text) - _LETTERS + 1))
    quoted = " ".join('"' + each.replace('"', '""') + '"' for each in list(trigrams)[:_MOST])
    return (
        "SELECT rowid AS key FROM trigram WHERE trigram MATCH ? AND rowid BETWEEN ? AND ?"
        " UNION SELECT key FROM waiting WHERE key BETWEEN ? AND ?",
        (quoted, low, high, low, high),
    )


def put(transaction: sqlite3.Connection, keys: Sequence[int]) -> None:
    """Texts that are new."""
    transaction.executemany("INSERT INTO waiting VALUES (?, NULL)", [(key,) for key in keys])


def remove(transaction: sqlite3.Connection, low: int, high: int) -> None:
    """Texts that go from `text` next."""
    transaction.execute(
        "INSERT OR IGNORE INTO waiting SELECT key, header || char(10) || part_headers || char(10) || body FROM text"
        " WHERE key BETWEEN ? AND ?",
        (low, high),
    )
    transaction.execute(
        "DELETE FROM waiting WHERE key BETWEEN ? AND ? AND (gone IS NULL OR gone = ?)", (low, high, _STAYS)
    )


def settle(transaction: sqlite3.Connection, most: int) -> bool:
    """Put in and take out at most so many texts; False: nothing waits any more."""
    waiting = transaction.execute(
        "SELECT key, gone FROM waiting WHERE gone IS NOT ? LIMIT ?", (_STAYS, most)
    ).fetchall()
    characters = 0
    for key, gone in waiting:
        if characters >= LONGEST:
            return True
        if gone is not None:
            transaction.execute(
                "INSERT INTO trigram (trigram, rowid, text) VALUES ('delete', ?, ?)", (key, _readable(gone))
            )
            characters += len(gone)
        elif text := _text(transaction, key):
            characters += len(text)
            if len(text) > LONGEST:
                transaction.execute("UPDATE waiting SET gone = ? WHERE key = ?", (_STAYS, key))
                continue
            transaction.execute("INSERT INTO trigram (rowid, text) VALUES (?, ?)", (key, _readable(text)))
        transaction.execute("DELETE FROM waiting WHERE key = ?", (key,))
    return len(waiting) == most


def _text(transaction: sqlite3.Connection, key: int) -> str:
    """Empty: it is not there any more."""
    found = transaction.execute(
        "SELECT header || char(10) || part_headers || char(10) || body FROM text WHERE key = ?", (key,)
    ).fetchone()
    return "" if found is None else str(found[0])


def _readable(text: str) -> str:
    """FTS5 reads no further than to the first NUL."""
    return text.replace("\0", " ")
