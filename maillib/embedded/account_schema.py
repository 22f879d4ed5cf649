"""The tables of one account's index, and the database that a new account begins with.

    account       one row: the last UIDVALIDITY given out, when delivery keys were looked through last
    mailbox       names, counters
    message       what a listing needs of each message; narrow, so that a listing reads, and a change of flags writes,
                  few pages
    content       what never changes about a message and is long
    delivery      the first answer to each delivery key
    tombstone     UIDs that were expunged, by the modseq of that
    leftover      files whose rows are gone
    subscription  names

Leaves to others: the statements (`account_tables`), when a database is made (`account_index`).
"""

import functools
import sqlite3
from contextlib import closing

from maillib.embedded.sqlite import Schema, migrate
from maillib.ports.index import INBOX

SCHEMA: Schema = (
    (
        # One row. uid_validity: the last one given to a mailbox, so that a later one is larger whatever the clock says.
        """CREATE TABLE account (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            uid_validity INTEGER NOT NULL,
            messages INTEGER NOT NULL,
            octets INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE mailbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            uid_validity INTEGER NOT NULL,
            uid_next INTEGER NOT NULL,
            highest_modseq INTEGER NOT NULL,
            messages INTEGER NOT NULL,
            octets INTEGER NOT NULL
        ) STRICT""",
        # What never changes about a message. internal_date: seconds of the Unix epoch.
        """CREATE TABLE message (
            mailbox INTEGER NOT NULL REFERENCES mailbox,
            uid INTEGER NOT NULL,
            size_octets INTEGER NOT NULL,
            internal_date INTEGER NOT NULL,
            prefix BLOB NOT NULL,
            PRIMARY KEY (mailbox, uid)
        ) STRICT, WITHOUT ROWID""",
        # What changes often, apart, so that a change writes few pages. flags: sorted, separated by spaces.
        """CREATE TABLE state (
            mailbox INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            flags TEXT NOT NULL,
            PRIMARY KEY (mailbox, uid),
            FOREIGN KEY (mailbox, uid) REFERENCES message ON DELETE CASCADE
        ) STRICT, WITHOUT ROWID""",
        # The first answer to each delivery key. Outlives the message: a delivery repeated after an expunge is none.
        """CREATE TABLE delivery (
            mailbox INTEGER NOT NULL REFERENCES mailbox,
            key TEXT NOT NULL,
            uid INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            PRIMARY KEY (mailbox, key)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE tombstone (
            mailbox INTEGER NOT NULL REFERENCES mailbox,
            uid INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            PRIMARY KEY (mailbox, uid)
        ) STRICT, WITHOUT ROWID""",
        # Bodies whose rows are gone and whose files may still be there.
        """CREATE TABLE leftover (
            mailbox INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            PRIMARY KEY (mailbox, uid)
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # The account's counters are the sums of its mailboxes'. pruned: when delivery keys were looked through last.
        "ALTER TABLE account DROP COLUMN messages",
        "ALTER TABLE account DROP COLUMN octets",
        "ALTER TABLE account ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0",
        # forgotten_modseq: what was expunged up to there may have no tombstone any more.
        "ALTER TABLE mailbox ADD COLUMN unseen INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE mailbox ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE mailbox ADD COLUMN forgotten_modseq INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE mailbox ADD COLUMN special_use TEXT",
        # flags: bits, see `account_tables`. keywords: sorted, separated by spaces.
        "ALTER TABLE message RENAME TO old_message",
        """CREATE TABLE message (
            mailbox INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            size_octets INTEGER NOT NULL,
            internal_date INTEGER NOT NULL,
            flags INTEGER NOT NULL,
            keywords TEXT NOT NULL,
            PRIMARY KEY (mailbox, uid)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX message_by_modseq ON message (mailbox, modseq)",
        """INSERT INTO message SELECT mailbox, uid, modseq, size_octets, internal_date,
            (instr(state.flags, '\\Seen') > 0) * 1 + (instr(state.flags, '\\Answered') > 0) * 2
            + (instr(state.flags, '\\Flagged') > 0) * 4 + (instr(state.flags, '\\Deleted') > 0) * 8
            + (instr(state.flags, '\\Draft') > 0) * 16,
            trim(replace(replace(replace(replace(replace(state.flags, '\\Seen', ''), '\\Answered', ''),
            '\\Flagged', ''), '\\Deleted', ''), '\\Draft', ''))
            FROM old_message JOIN state USING (mailbox, uid)""",
        """UPDATE mailbox SET
            unseen = (SELECT count(*) FROM message WHERE mailbox = mailbox.id AND flags & 1 = 0),
            deleted = (SELECT count(*) FROM message WHERE mailbox = mailbox.id AND flags & 8 != 0)""",
        """CREATE TABLE content (
            mailbox INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            prefix BLOB NOT NULL,
            PRIMARY KEY (mailbox, uid)
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO content SELECT mailbox, uid, prefix FROM old_message",
        "DROP TABLE state",
        "DROP TABLE old_message",
        # since: when it was delivered, seconds of the Unix epoch.
        "ALTER TABLE delivery RENAME TO old_delivery",
        """CREATE TABLE delivery (
            mailbox INTEGER NOT NULL,
            key TEXT NOT NULL,
            uid INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            since INTEGER NOT NULL,
            PRIMARY KEY (mailbox, key)
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO delivery SELECT mailbox, key, uid, modseq, strftime('%s', 'now') FROM old_delivery",
        "DROP TABLE old_delivery",
        "ALTER TABLE tombstone RENAME TO old_tombstone",
        """CREATE TABLE tombstone (
            mailbox INTEGER NOT NULL,
            modseq INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            PRIMARY KEY (mailbox, modseq, uid)
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO tombstone SELECT mailbox, modseq, uid FROM old_tombstone",
        "DROP TABLE old_tombstone",
        "CREATE TABLE subscription (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID",
    ),
)


@functools.lru_cache(maxsize=1)
def new_database(uid_validity: int) -> bytes:
    """The file of an account that has an INBOX, mailbox 1, and nothing else.

    Made in memory from a template: to run all of `SCHEMA` takes twenty times as long, and syncs.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(_template())
        connection.execute("UPDATE account SET uid_validity = ?", (uid_validity,))
        connection.execute("UPDATE mailbox SET uid_validity = ?", (uid_validity,))
        octets = bytearray(connection.serialize())
    octets[_JOURNAL_VERSIONS] = b"\x02\x02"
    return bytes(octets)


_JOURNAL_VERSIONS = slice(18, 20)
"""Two octets of a database's header, 2 each where it is in WAL mode, which one in memory cannot be.
https://www.sqlite.org/fileformat2.html §1.3.3."""

_PAGE_OCTETS = 2048
"""A delivery writes five pages to the log, and an open database has some twenty in memory: smaller than SQLite's 4096.
Still large enough for the long columns."""


@functools.cache
def _template() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={_PAGE_OCTETS}")
        migrate(connection, SCHEMA)
        connection.execute("INSERT INTO account (one, uid_validity) VALUES (1, 0)")
        connection.execute(
            "INSERT INTO mailbox (name, uid_validity, uid_next, highest_modseq, messages, octets)"
            " VALUES (?, 0, 1, 1, 0, 0)",
            (INBOX,),
        )
        connection.execute("VACUUM")  # what the migrations have left free
        return connection.serialize()
