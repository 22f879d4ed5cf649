"""What `maillib.embedded.sqlite` promises to the modules that keep tables in it."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from maillib.embedded import sqlite as engine
from maillib.embedded.sqlite import Database
from maillib.errors import StoreFull, StoreUnusable, Transient

ONE = (("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",),)
TWO = (*ONE, ("ALTER TABLE note ADD COLUMN seen INTEGER NOT NULL DEFAULT 0", "INSERT INTO note (text) VALUES ('two')"))


def texts(database: Database) -> list[str]:
    with database.read() as transaction:
        return [str(text) for (text,) in transaction.execute("SELECT text FROM note ORDER BY id")]


def test_commit_is_seen_by_another_opening(tmp_path: Path) -> None:
    """What one connection has committed is there for the next one."""
    path = tmp_path / "x.sqlite3"
    first, second = Database(path, ONE), Database(path, ONE)
    with first.write() as transaction:
        transaction.execute("INSERT INTO note (text) VALUES ('a')")
    assert texts(second) == ["a"]
    first.close()
    second.close()


def test_raising_undoes_the_transaction(tmp_path: Path) -> None:
    """A block that raises leaves nothing behind and the connection usable."""
    database = Database(tmp_path / "x.sqlite3", ONE)
    with pytest.raises(RuntimeError), database.write() as transaction:
        transaction.execute("INSERT INTO note (text) VALUES ('a')")
        raise RuntimeError
    assert texts(database) == []
    database.close()


def test_migrates_once(tmp_path: Path) -> None:
    """An older file gets what it misses, and each migration runs only once."""
    path = tmp_path / "x.sqlite3"
    Database(path, ONE).close()
    for _ in range(2):
        database = Database(path, TWO)
        assert texts(database) == ["two"]
        database.close()


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    """A migration that breaks off leaves the older version, whole."""
    path = tmp_path / "x.sqlite3"
    Database(path, ONE).close()
    with pytest.raises(sqlite3.OperationalError):
        Database(path, (*ONE, ("INSERT INTO note (text) VALUES ('half')", "nonsense")))
    database = Database(path, ONE)
    assert texts(database) == []
    database.close()


def test_newer_file_is_refused(tmp_path: Path) -> None:
    """A file of a newer version is named and left alone."""
    path = tmp_path / "x.sqlite3"
    Database(path, TWO).close()
    with pytest.raises(StoreUnusable, match=r"x\.sqlite3 has schema version 2"):
        Database(path, ONE)


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 50])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    """Damage is reported with the file's name, and is not taken for something that passes by itself."""
    path = tmp_path / "x.sqlite3"
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match=r"x\.sqlite3"):
        Database(path, ONE)


def test_modes_and_durability_settings(tmp_path: Path) -> None:
    """Nobody outside of user and group reads the files; commits are synced."""
    old = os.umask(0)
    try:
        database = Database(tmp_path / "x.sqlite3", ONE)
    finally:
        os.umask(old)
    with database.write() as transaction:
        transaction.execute("INSERT INTO note (text) VALUES ('a')")
        assert transaction.execute("PRAGMA synchronous").fetchone() == (2,)
        assert transaction.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert transaction.execute("PRAGMA foreign_keys").fetchone() == (1,)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) & 0o137 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["x.sqlite3", "x.sqlite3-shm", "x.sqlite3-wal"], 0)
    database.close()


def test_the_wait_for_a_lock_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not get the write lock in time is told to try again; a reader does not wait at all."""
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "x.sqlite3"
    first, second = Database(path, ONE), Database(path, ONE)
    with first.write():
        with pytest.raises(Transient, match="locked"), second.write():
            pass
        assert texts(second) == []
        failed: list[BaseException] = []

        def same_connection() -> None:
            try:
                texts(first)
            except Transient as error:
                failed.append(error)

        thread = threading.Thread(target=same_connection)
        thread.start()
        thread.join()
        assert len(failed) == 1
    first.close()
    second.close()


def test_full_disk_is_told_apart(tmp_path: Path) -> None:
    """No more pages: StoreFull, the transaction is undone, and it works again when there is room."""
    database = Database(tmp_path / "x.sqlite3", ONE)
    with database.write() as transaction:
        transaction.execute("PRAGMA max_page_count=3")
    with pytest.raises(StoreFull), database.write() as transaction:
        transaction.execute("INSERT INTO note (text) VALUES (?)", ("a" * 100_000,))
    with database.write() as transaction:
        transaction.execute("PRAGMA max_page_count=1000")
        transaction.execute("INSERT INTO note (text) VALUES ('b')")
    assert texts(database) == ["b"]
    database.close()


def test_a_bad_statement_stays_a_bug(tmp_path: Path) -> None:
    """A mistake in a statement of ours is not disguised as something to try again."""
    database = Database(tmp_path / "x.sqlite3", ONE)
    with pytest.raises(sqlite3.OperationalError), database.read() as transaction:
        transaction.execute("SELECT nothing FROM nowhere")
    with pytest.raises(sqlite3.IntegrityError), database.write() as transaction:
        transaction.execute("INSERT INTO note (text) VALUES (NULL)")
    database.close()


def test_check(tmp_path: Path) -> None:
    """A sound file has no findings."""
    database = Database(tmp_path / "x.sqlite3", ONE)
    assert database.check() == []
    database.close()


CREATE = """
import sys
from pathlib import Path
from maillib.embedded.sqlite import Database
schema = (("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",),)
print("ready", flush=True)
sys.stdin.readline()
for round in range(20):
    database = Database(Path(sys.argv[1]) / f"{round}.sqlite3", schema)
    with database.write() as transaction:
        transaction.execute("INSERT INTO note (text) VALUES ('a')")
    database.close()
"""


def test_creation_by_several_processes_at_once(tmp_path: Path) -> None:
    """Processes that create the same database at the same moment all succeed and none undoes another's work."""
    processes = [
        subprocess.Popen([sys.executable, "-c", CREATE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    for number in range(20):
        database = Database(tmp_path / f"{number}.sqlite3", ONE)
        assert texts(database) == ["a"] * 4
        database.close()
