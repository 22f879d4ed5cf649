"""The tables of the directory, and what is read from and written to them inside of one transaction.

Domains are named by their A-labels everywhere, local parts found by `address.local_key`. A removed account keeps its
row, with its ID and address alone, for as long as its mail is kept.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from maillib.address import Address, local_key
from maillib.embedded.passwords import Stored
from maillib.errors import Conflict, NotFound
from maillib.ports.directory import (
    Account,
    AccountId,
    Alias,
    Domain,
    Entries,
    Forget,
    PutAccount,
    RemoveAccount,
    RemoveAlias,
    RemoveDomain,
)
from maillib.ports.expansion import refuse_circles

SCHEMA = (
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
)

_ACCOUNT = "account.id, account.domain, account.local, account.name, account.enabled, protocols, quota_octets"


class Snapshot:
    """Reads inside of one transaction; a Book for `expansion`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def is_ours(self, domain: str) -> bool:
        found = self._sql.execute("SELECT 1 FROM domain WHERE name = ? AND enabled", (domain,)).fetchone()
        return found is not None

    def entry(self, address: Address) -> Account | Sequence[Address] | None:
        place = (address.domain, local_key(address.local))
        account = f"SELECT {_ACCOUNT} FROM account WHERE domain = ? AND local_key = ? AND enabled"  # noqa: S608
        row = self._sql.execute(account, place).fetchone()
        if row is not None:
            return _account(row)
        alias = self._sql.execute(
            "SELECT id FROM alias WHERE domain = ? AND local_key = ? AND enabled", place
        ).fetchone()
        return None if alias is None else self._targets(alias[0])

    def _targets(self, alias: int) -> tuple[Address, ...]:
        rows = self._sql.execute("SELECT local, domain FROM alias_target WHERE alias = ? ORDER BY position", (alias,))
        return tuple(Address(local, domain) for local, domain in rows)

    def postmaster(self, domain: str) -> Address | None:
        row = self._sql.execute("SELECT postmaster FROM domain WHERE name = ?", (domain,)).fetchone()
        return None if row is None or row[0] is None else Address(row[0], domain)

    def first_account(self, domain: str) -> Account | None:
        row = self._sql.execute(
            f"SELECT {_ACCOUNT} FROM account JOIN domain ON domain.name = account.domain"  # noqa: S608
            " WHERE account.enabled AND domain.enabled ORDER BY account.domain != ?, account.id LIMIT 1",
            (domain,),
        ).fetchone()
        return None if row is None else _account(row)

    def default_domain(self) -> str | None:
        row = self._sql.execute("SELECT name FROM domain WHERE enabled ORDER BY id LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def account(self, account: AccountId) -> Account | None:
        row = self._sql.execute(f"SELECT {_ACCOUNT} FROM account WHERE id = ? AND NOT removed", (account,)).fetchone()  # noqa: S608
        return None if row is None else _account(row)

    def stored(self, account: AccountId) -> Stored | None:
        row = self._sql.execute("SELECT argon2id, scram_sha_256 FROM account WHERE id = ?", (account,)).fetchone()
        return None if row is None or row[0] is None else Stored(row[0], row[1])

    def generation(self) -> int:
        (number,) = self._sql.execute("SELECT generation FROM suite").fetchone()
        return int(number)

    def fingerprint_key(self) -> bytes | None:
        (key,) = self._sql.execute("SELECT fingerprint_key FROM suite").fetchone()
        return None if key is None else bytes(key)

    def entries(self) -> Entries:
        (declared,) = self._sql.execute("SELECT declared FROM suite").fetchone()
        accounts = [*self._sql.execute(f"SELECT {_ACCOUNT}, removed, argon2id IS NOT NULL FROM account ORDER BY id")]  # noqa: S608
        return Entries(
            generation=self.generation(),
            domains=tuple(
                Domain(name=name, postmaster=postmaster, enabled=bool(enabled))
                for name, postmaster, enabled in self._sql.execute(
                    "SELECT name, postmaster, enabled FROM domain ORDER BY id"
                )
            ),
            accounts=tuple(_account(row) for *row, removed, _ in accounts if not removed),
            with_password=frozenset(AccountId(row[0]) for row in accounts if row[-1]),
            aliases=tuple(self.aliases()),
            removed=tuple(_account(row) for *row, removed, _ in accounts if removed),
            declared=declared,
        )

    def aliases(self) -> Iterator[Alias]:
        targets: dict[int, list[Address]] = {}
        for alias, local, domain in self._sql.execute(
            "SELECT alias, local, domain FROM alias_target ORDER BY alias, position"
        ):
            targets.setdefault(alias, []).append(Address(local, domain))
        for alias, local, domain, enabled in self._sql.execute(
            "SELECT id, local, domain, enabled FROM alias ORDER BY id"
        ):
            found = tuple(targets.get(alias, ()))
            yield Alias(address=Address(local, domain), targets=found, enabled=bool(enabled))


class Changes(Snapshot):
    """Writes inside of one write transaction."""

    def put_domain(self, domain: Domain) -> None:
        self._sql.execute(
            "INSERT INTO domain (name, enabled, postmaster) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET enabled = excluded.enabled, postmaster = excluded.postmaster",
            (domain.name, domain.enabled, domain.postmaster),
        )

    def remove_domain(self, edit: RemoveDomain) -> None:
        for table in ("account WHERE NOT removed AND", "alias WHERE"):
            if self._sql.execute(f"SELECT 1 FROM {table} domain = ?", (edit.name,)).fetchone():  # noqa: S608
                raise Conflict(f"{edit.name} still has accounts or aliases")
        self._sql.execute("DELETE FROM domain WHERE name = ?", (edit.name,))

    def put_alias(self, alias: Alias) -> None:
        place = self._place(alias.address)
        (number,) = self._sql.execute(
            "INSERT INTO alias (domain, local_key, local, enabled) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (domain, local_key) DO UPDATE SET enabled = excluded.enabled, local = excluded.local"
            " RETURNING id",
            (*place, alias.address.local, alias.enabled),
        ).fetchone()
        self._sql.execute("DELETE FROM alias_target WHERE alias = ?", (number,))
        self._sql.executemany(
            "INSERT INTO alias_target (alias, position, local, domain) VALUES (?, ?, ?, ?)",
            [(number, position, target.local, target.domain) for position, target in enumerate(alias.targets)],
        )

    def put_account(self, edit: PutAccount) -> None:
        place = self._place(edit.address)
        protocols = None if edit.protocols is None else " ".join(sorted(edit.protocols))
        self._sql.execute(
            "INSERT INTO account (domain, local_key, local, name, enabled, protocols, quota_octets)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (domain, local_key) DO UPDATE SET name = excluded.name,"
            " enabled = excluded.enabled, protocols = excluded.protocols, quota_octets = excluded.quota_octets,"
            " removed = 0",
            (*place, edit.address.local, edit.name, edit.enabled, protocols, edit.quota_octets),
        )

    def set_password(self, address: Address, stored: Stored) -> None:
        done = self._sql.execute(
            "UPDATE account SET argon2id = ?, scram_sha_256 = ? WHERE domain = ? AND local_key = ? AND NOT removed",
            (stored.argon2id, stored.scram_sha_256, address.domain, local_key(address.local)),
        )
        if not done.rowcount:
            raise NotFound(f"there is no account {address}")

    def hash_again(self, account: AccountId, seen: Stored, stored: Stored) -> None:
        """Replace what is kept of a password, unless another one was set meanwhile."""
        self._sql.execute(
            "UPDATE account SET argon2id = ?, scram_sha_256 = ? WHERE id = ? AND argon2id = ?",
            (stored.argon2id, stored.scram_sha_256, account, seen.argon2id),
        )

    def remove_alias(self, edit: RemoveAlias) -> None:
        place = (edit.address.domain, local_key(edit.address.local))
        self._sql.execute("DELETE FROM alias WHERE domain = ? AND local_key = ?", place)

    def remove_account(self, edit: RemoveAccount) -> None:
        self._sql.execute(
            "UPDATE account SET removed = 1, enabled = 0, name = '', protocols = NULL, quota_octets = NULL,"
            " argon2id = NULL, scram_sha_256 = NULL WHERE domain = ? AND local_key = ?",
            (edit.address.domain, local_key(edit.address.local)),
        )

    def forget(self, edit: Forget) -> None:
        self._sql.execute("DELETE FROM account WHERE id = ? AND removed", (edit.account,))

    def finish(self, declared: str | None) -> None:
        """Count the change. Raises Conflict when an address means two things now, or aliases lead in a circle."""
        twice = self._sql.execute(
            "SELECT alias.local, domain FROM alias JOIN account USING (domain, local_key)"
            " WHERE alias.enabled AND account.enabled"
        ).fetchone()
        if twice is not None:
            raise Conflict(f"{Address(*twice)} is an account and an alias")
        refuse_circles(self.aliases())
        self._sql.execute("UPDATE suite SET generation = generation + 1, declared = ifnull(?, declared)", (declared,))

    def keep_fingerprint_key(self, key: bytes) -> bytes:
        """The key that is kept: `key`, unless somebody was faster."""
        self._sql.execute("UPDATE suite SET fingerprint_key = ifnull(fingerprint_key, ?)", (key,))
        return self.fingerprint_key() or key

    def _place(self, address: Address) -> tuple[str, str]:
        """Raises NotFound."""
        if not self._sql.execute("SELECT 1 FROM domain WHERE name = ?", (address.domain,)).fetchone():
            raise NotFound(f"{address.domain} is no domain of ours")
        return address.domain, local_key(address.local)


def _account(row: Sequence[object]) -> Account:
    number, domain, local, name, enabled, protocols, quota_octets = row
    assert isinstance(number, int)
    assert quota_octets is None or isinstance(quota_octets, int)
    return Account(
        id=AccountId(number),
        address=Address(str(local), str(domain)),
        name=str(name),
        enabled=bool(enabled),
        protocols=None if protocols is None else frozenset(str(protocols).split()),
        quota_octets=quota_octets,
    )
