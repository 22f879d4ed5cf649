"""The tables of an index: what an older one becomes, and what a new account begins with."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from maillib.embedded.account_check import check_account
from maillib.embedded.account_index import AccountIndex
from maillib.embedded.account_schema import SCHEMA, new_database
from maillib.embedded.open_accounts import OpenAccounts
from maillib.embedded.sqlite import Database
from maillib.ports.directory import AccountId
from maillib.ports.index import INBOX, ModSeq, Uid, Usage

ALICE = AccountId(1)
DATE_S = 1_700_000_000

FIRST_VERSION = """
    INSERT INTO account VALUES (1, 50, 3, 60);
    INSERT INTO mailbox VALUES (1, 'INBOX', 50, 6, 9, 3, 60);
    INSERT INTO message VALUES (1, 1, 20, 1700000000, X'50'), (1, 2, 20, 1700000000, X'50');
    INSERT INTO message VALUES (1, 5, 20, 1700000000, X'50');
    INSERT INTO state VALUES (1, 1, 2, ''), (1, 2, 3, '$Junk \\Deleted \\Seen a'), (1, 5, 9, '\\Seen');
    INSERT INTO delivery VALUES (1, 'k1', 1, 2), (1, 'k4', 4, 7);
    INSERT INTO tombstone VALUES (1, 3, 8), (1, 4, 8);
"""


def schema_of(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
    ).fetchall()


def test_an_index_of_the_first_version_goes_on(tmp_path: Path) -> None:
    """Messages, flags, counters, delivery keys and tombstones are there after the migration, and nothing is wrong."""
    folder = tmp_path / "mail" / "1"
    (folder / "1").mkdir(parents=True)
    for uid in (1, 2, 5):
        body = folder / "1" / f"{uid:010d}.eml"
        body.write_bytes(b"x" * 19)
        os.utime(body, (DATE_S, DATE_S))
    first = Database(folder / "index.sqlite3", SCHEMA[:1])
    with first.write() as transaction:
        for statement in FIRST_VERSION.split(";")[:-1]:
            transaction.execute(statement)
    first.close()
    accounts = OpenAccounts(tmp_path)
    with accounts.use(ALICE) as index:
        is_as_it_was(index)
    accounts.close()


def is_as_it_was(index: AccountIndex) -> None:
    assert check_account(index) == []
    (inbox,) = index.mailboxes()
    assert (inbox.name, inbox.uid_validity, inbox.uid_next, inbox.highest_modseq) == (INBOX, 50, 6, 9)
    assert (inbox.messages, inbox.octets, inbox.unseen, inbox.deleted) == (3, 60, 1, 1)
    assert index.usage() == Usage(3, 60)
    assert [
        (row.uid, row.modseq, row.size_octets, row.internal_date_s, set(row.flags)) for row in index.rows(INBOX)
    ] == [
        (1, 2, 20, DATE_S, set()),
        (2, 3, 20, DATE_S, {"$Junk", "\\Deleted", "\\Seen", "a"}),
        (5, 9, 20, DATE_S, {"\\Seen"}),
    ]
    assert index.messages(INBOX, [Uid(2)])[Uid(2)].prefix == b"P"
    changes = index.changes(INBOX, ModSeq(7), limit=10)
    assert ([row.uid for row in changes.rows], changes.vanished) == ([5], [3, 4])
    with index.database.read() as transaction:
        keys = transaction.execute("SELECT key, uid, modseq, since > 1700000000 FROM delivery ORDER BY key").fetchall()
        migrated = schema_of(transaction)
    assert keys == [("k1", 1, 2, 1), ("k4", 4, 7, 1)]
    with closing(sqlite3.connect(":memory:")) as new:
        new.deserialize(in_memory(new_database(1)))
        assert schema_of(new) == migrated


def in_memory(database: bytes) -> bytes:
    """Not in WAL mode, which there is only on disk."""
    return database[:18] + b"\x01\x01" + database[20:]


def test_a_new_account(tmp_path: Path) -> None:
    """It is in WAL mode from the first moment, whole, private, and has an INBOX with the UIDVALIDITY it was given."""
    (tmp_path / "mail").mkdir()
    index = AccountIndex(tmp_path, ALICE)
    (inbox,) = index.mailboxes()
    assert (inbox.id, inbox.name, inbox.uid_next) == (1, INBOX, 1)
    with index.database.read() as transaction:
        assert transaction.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert transaction.execute("SELECT uid_validity FROM account").fetchone() == (inbox.uid_validity,)
    assert check_account(index) == []
    assert (index.path / "index.sqlite3").stat().st_mode & 0o137 == 0
    assert sorted(path.name for path in index.path.iterdir() if "sqlite3-" not in path.name) == [
        "1",
        "index.sqlite3",
        "mailboxes.json",
    ]
    index.close()
