"""SQLite as the embedded engine uses it: one place for opening, transactions, schema versions and errors.

Guarantees: what `write` has committed survives a power cut (WAL, `synchronous=FULL`), unless it need not be `durable`;
a write transaction begins IMMEDIATE, so that what it read cannot be stale when it writes; no call waits longer than
`BUSY_TIMEOUT_S` for a lock; several processes may open and create one database at the same moment; each error is one of
`maillib.errors`.

One connection per database, behind a lock, used by whatever thread comes. A connection per thread would let readers
of one process overtake each other, but would cost three descriptors and a page cache each, could not be closed from
outside its thread, and writers would poll for SQLite's lock where a thread's lock wakes them at once. Other processes
do not wait for our readers, nor our readers for their writers: that is what WAL is for.

Never open a database's file in any other way, not even to read it: closing it drops this process's POSIX locks on it.

Leaves to others: the schema, the statements, which databases are open (`open_accounts`, `directory`), `threads`.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maillib.errors import StoreDamaged, StoreFull, StoreUnusable, Transient

BUSY_TIMEOUT_S = 5.0
"""Transactions here last milliseconds: who waits longer waits for something broken, and a client waits with it."""

_CACHE_KIB = 256
"""Page cache per connection. SQLite's own default of 2 MiB times the databases that a worker keeps open is too much;
the kernel caches the file anyway."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_TRANSIENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
    }
)
"""By primary result code. Any other error is a bug in a statement of ours and leaves as sqlite3 raised it."""

Schema = tuple[tuple[str, ...], ...]
"""Migrations, oldest first; each is the statements that lead to the next version. Extended at its end, never edited.
`PRAGMA user_version` counts how many of them a file has seen."""


class Database:
    """One open database. Its methods block: call them in a thread."""

    def __init__(self, path: Path, schema: Schema, *, durable: bool = True, page_octets: int = 4096) -> None:
        """Open, create or migrate `path`; its directory exists already. `page_octets`: of a new one.

        Not `durable`: a power cut may undo the last transactions, and their commits do not wait for the disk.
        Raises Transient, StoreFull, StoreDamaged (or no database at all), StoreUnusable (written by a newer version).
        """
        self.path = path
        self._lock = threading.Lock()
        with _translated(path):
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._connection.execute(f"PRAGMA page_size={page_octets}")
                self._connection.execute("PRAGMA foreign_keys=ON")
                self._connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
                if _version(self._connection) != len(schema):
                    self._migrate(schema)
            except BaseException:
                self._connection.close()
                raise

    def _migrate(self, schema: Schema) -> None:
        _keep_private(self.path)
        _enter_wal(self._connection)
        with _transaction(self._connection, "BEGIN IMMEDIATE"):  # another process may have been faster
            if (version := _version(self._connection)) > len(schema):
                raise StoreUnusable(
                    f"{self.path} has schema version {version}; this program knows versions up to {len(schema)}"
                )
            migrate(self._connection, schema)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: durable when the block has ended, undone when it raises.

        Raises Transient, StoreFull, StoreDamaged; an IntegrityError is the caller's to understand.
        """
        with self._locked(), _transaction(self._connection, "BEGIN IMMEDIATE"):
            yield self._connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One snapshot for all that the block reads. Raises Transient, StoreDamaged."""
        with self._locked(), _transaction(self._connection, "BEGIN"):
            yield self._connection

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file; empty: nothing."""
        with self._locked():
            found = [str(line) for (line,) in self._connection.execute("PRAGMA integrity_check")]
            return [] if found == ["ok"] else found

    def close(self) -> None:
        """Idempotent. Waits for the transaction that runs."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=BUSY_TIMEOUT_S):
            raise Transient(f"{self.path}: busy for {BUSY_TIMEOUT_S:g} s")
        try:
            with _translated(self.path):
                yield
        finally:
            self._lock.release()


class Watch:
    """Tells an event loop whether a database has changed, in two microseconds and without waiting.

    For that it has a connection of its own, which takes and drops a read lock that no writer waits for, and looks at
    the counter in the memory shared by all processes that have the database open. Only after a change it reads a page.
    """

    def __init__(self, path: Path) -> None:
        """`path` is a `Database` by now. Raises Transient, StoreDamaged, StoreUnusable."""
        with _translated(path):
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._connection.execute("PRAGMA cache_size=1")  # nothing is ever read twice
                self._number()
                self._connection.execute("PRAGMA busy_timeout=0")
            except BaseException:
                self._connection.close()
                raise

    def version(self) -> int | None:
        """Another number after each commit of anybody, this process included; None: it cannot be told just now."""
        try:
            return self._number()
        except sqlite3.DatabaseError:  # a call in a thread waits, or says what is wrong
            return None

    def _number(self) -> int:
        (number,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(number)

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()


def migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make what the database misses of `schema`; whoever shares it has a transaction open."""
    for migration in schema[_version(connection) :]:
        for statement in migration:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={len(schema)}")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself has rolled back after some errors (disk full, I/O)
            connection.execute("ROLLBACK")
        raise


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch a new file to WAL. SQLite does not wait for the lock this needs, so creators would disturb each other."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _keep_private(path: Path) -> None:
    """SQLite creates by the umask alone; the files beside (`-wal`, `-shm`) take the mode of the main one."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o027:
        path.chmod(mode & ~0o027)


def _code(error: sqlite3.Error) -> int:
    """SQLite's extended result code; 0 when the error is the Python module's own (a closed connection: our bug)."""
    return int(getattr(error, "sqlite_errorcode", 0))


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise what SQLite met in the file as one of our errors, naming it; what the statement caused stays as it is."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = _code(error)
        text = f"{path}: {error}"
        if code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
            raise StoreFull(text) from error
        if code & 0xFF in _DAMAGED:
            raise StoreDamaged(text) from error
        if code & 0xFF in _TRANSIENT:
            raise Transient(text) from error
        raise
