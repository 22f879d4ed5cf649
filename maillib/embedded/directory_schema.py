"""The tables of the directory.

    suite                 one row: how often anything changed, what was declared last, the key of fingerprints
    domain                names, where mail for postmaster and for nobody goes
    account               addresses, what is kept of passwords; of a removed one ID and address, for as long as its mail
    alias, alias_target   addresses that stand for others
    list                  addresses whose mail goes to members
    contact               address books
    retrieval             mailboxes elsewhere

Domains are named by their A-labels everywhere, local parts found by `address.local_key`.

Leaves to others: what is read (`directory_tables`) and written (`directory_changes`).
"""

from maillib.embedded.sqlite import Schema

SCHEMA: Schema = (
    (
        """CREATE TABLE suite (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            generation INTEGER NOT NULL,
            declared TEXT,
            fingerprint_key BLOB
        ) STRICT""",
        "INSERT INTO suite (only, generation) VALUES (1, 0)",
        """CREATE TABLE domain (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            enabled INTEGER NOT NULL,
            postmaster TEXT
        ) STRICT""",
        # AUTOINCREMENT: an ID is never used again. protocols: sorted, separated by spaces; NULL: all.
        """CREATE TABLE account (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            domain TEXT NOT NULL,
            local TEXT NOT NULL,
            local_key TEXT NOT NULL,
            name TEXT NOT NULL DEFAULT '',
            enabled INTEGER NOT NULL DEFAULT 0,
            protocols TEXT,
            quota_octets INTEGER,
            argon2id TEXT,
            scram_sha_256 TEXT,
            removed INTEGER NOT NULL DEFAULT 0,
            UNIQUE (domain, local_key)
        ) STRICT""",
        """CREATE TABLE alias (
            id INTEGER PRIMARY KEY,
            domain TEXT NOT NULL,
            local TEXT NOT NULL,
            local_key TEXT NOT NULL,
            enabled INTEGER NOT NULL,
            UNIQUE (domain, local_key)
        ) STRICT""",
        """CREATE TABLE alias_target (
            alias INTEGER NOT NULL REFERENCES alias ON DELETE CASCADE,
            position INTEGER NOT NULL,
            domain TEXT NOT NULL,
            local TEXT NOT NULL,
            PRIMARY KEY (alias, position)
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # catch_all, members, owners: addresses, a line each, in their order.
        "ALTER TABLE domain ADD COLUMN catch_all TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE list (
            id INTEGER PRIMARY KEY,
            domain TEXT NOT NULL,
            local TEXT NOT NULL,
            local_key TEXT NOT NULL,
            name TEXT NOT NULL,
            members TEXT NOT NULL,
            post TEXT NOT NULL,
            owners TEXT NOT NULL,
            enabled INTEGER NOT NULL,
            UNIQUE (domain, local_key)
        ) STRICT""",
        """CREATE TABLE contact (
            id INTEGER PRIMARY KEY,
            domain TEXT NOT NULL,
            name TEXT NOT NULL,
            name_key TEXT NOT NULL,
            email TEXT,
            phone TEXT NOT NULL,
            mobile TEXT NOT NULL,
            organization TEXT NOT NULL,
            title TEXT NOT NULL,
            note TEXT NOT NULL,
            enabled INTEGER NOT NULL,
            UNIQUE (domain, name_key)
        ) STRICT""",
        # server: HOST:PORT. secret_source, secret_name: a reference.
        """CREATE TABLE retrieval (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL COLLATE NOCASE UNIQUE,
            account TEXT NOT NULL,
            server TEXT NOT NULL,
            tls TEXT NOT NULL,
            ca TEXT,
            user TEXT NOT NULL,
            secret_source TEXT NOT NULL,
            secret_name TEXT NOT NULL,
            folder TEXT NOT NULL,
            keep_days INTEGER,
            apop TEXT NOT NULL,
            interval_s INTEGER,
            max_message_size INTEGER,
            enabled INTEGER NOT NULL
        ) STRICT""",
    ),
)
