"""The file of what is derived: it may be lost, damaged, full or old, and nothing but time is lost with it."""

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from maillib.embedded.account_check import check_account, repair_account
from maillib.embedded.account_index import AccountIndex, Terms
from maillib.embedded.derived_file import FOLDER, DerivedFile, Openings
from maillib.embedded.derived_tables import SCHEMA
from maillib.embedded.open_accounts import OpenAccounts
from maillib.embedded.rebuild import rebuild
from maillib.ports.derived import VERSION, Derived, Shown
from maillib.ports.directory import AccountId
from maillib.ports.index import EVERY_UID, INBOX, Uid
from maillib.sessions.imap_derive import derive
from tests.support.store_world import ADDRESSES, ALICE, StoreWorld

OWNER = ADDRESSES[ALICE]
MESSAGE = b"Subject: mine\r\n\r\nbody\r\n"
KNOWN = [derive(Uid(uid), MESSAGE) for uid in (1, 2)]


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    """Alice has two messages, and it is known what is derived from them."""
    world = StoreWorld(tmp_path)
    for _ in KNOWN:
        world.append(ALICE, MESSAGE)
    with alice(world) as index:
        index.put_derived(INBOX, KNOWN)
    return world


@contextmanager
def alice(world: StoreWorld) -> Iterator[AccountIndex]:
    with world.index() as accounts, accounts.use(ALICE) as index:
        yield index


def known(index: AccountIndex) -> list[int]:
    return [row[0] for row in index.views(INBOX, EVERY_UID, [Shown.ENVELOPE])]


def file_of(world: StoreWorld) -> Path:
    return world.folder() / FOLDER / "derived.sqlite3"


def test_it_is_made_by_the_first_that_has_something(tmp_path: Path) -> None:
    """Reading, and expunging, make no file; it is private like the others."""
    world = StoreWorld(tmp_path)
    world.append(ALICE, MESSAGE)
    world.append(ALICE, MESSAGE)
    with alice(world) as index:
        assert known(index) == []
        index.expunge(INBOX, [Uid(1)])
        assert not file_of(world).exists()
        index.put_derived(INBOX, KNOWN)
        assert known(index) == [2]
        assert file_of(world).stat().st_mode & 0o137 == 0


@pytest.mark.parametrize("octets", [b"no database" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_damage_costs_time_only(world: StoreWorld, octets: bytes) -> None:
    """A damaged file is removed by who meets it, and filled anew; messages are as they were."""
    file_of(world).write_bytes(octets)
    with alice(world) as index:
        assert known(index) == []
        assert not file_of(world).exists()
        index.put_derived(INBOX, KNOWN)
        assert known(index) == [1, 2]
        assert len(index.rows(INBOX)) == 2
        assert check_account(index) == []


def test_a_file_that_is_lost_meanwhile(world: StoreWorld) -> None:
    """Who has it open notices with its next use that it was removed, or replaced."""
    with alice(world) as index:
        assert known(index) == [1, 2]
        shutil.rmtree(file_of(world).parent)
        assert known(index) == []
        index.put_derived(INBOX, KNOWN[:1])
        assert known(index) == [1]
        with alice(world) as other:
            other.derived.remove()
            other.put_derived(INBOX, KNOWN[1:])
        assert known(index) == [2]


def test_what_cannot_be_written_is_not_kept(world: StoreWorld) -> None:
    """Trouble with the file is told in the log; what was asked for has simply not been derived."""
    with alice(world) as index:
        index.derived.remove()
        file_of(world).parent.write_bytes(b"no folder")
        index.put_derived(INBOX, KNOWN)
        assert known(index) == []
        index.expunge(INBOX, [Uid(1)])
        assert [row.uid for row in index.rows(INBOX)] == [2]


def test_files_of_earlier_versions_go(world: StoreWorld) -> None:
    """They are removed when a newer one is opened, and so is what a crash has left; one of a newer program is not."""
    for name in (f"derived-{VERSION - 1}", f"{FOLDER}.gone-0f", f"derived-{VERSION + 1}"):
        (world.folder() / name).mkdir()
        (world.folder() / name / "derived.sqlite3").write_bytes(b"")
    with alice(world) as index:
        assert known(index) == [1, 2]
        assert check_account(index) == []
    assert {path.name for path in world.folder().glob("derived*")} == {FOLDER, f"derived-{VERSION + 1}"}


def test_other_tables_are_another_version() -> None:
    """Whoever changes the tables raises the version, and then this line: files of before have other ones."""
    fingerprint = hashlib.sha256(repr(SCHEMA).encode()).hexdigest()[:12]
    assert (VERSION, fingerprint) == (2, "5317211d45dc")


def test_few_are_open(tmp_path: Path) -> None:
    """Of more than may be open the one that was not used for longest is closed, and opened again when it is used."""
    openings = Openings(most=2)
    files = []
    for number in range(3):
        folder = tmp_path / "mail" / str(number)
        folder.mkdir(parents=True)
        files.append(DerivedFile(folder, openings))
        files[-1].write(lambda transaction: None, create=True)
    assert len(open_databases(tmp_path)) == 2
    assert str(files[0].path) not in open_databases(tmp_path)
    for file in files:
        assert file.read(
            lambda transaction: transaction.execute("SELECT count(*) FROM view").fetchone(), otherwise=None
        )
    assert len(open_databases(tmp_path)) == 2
    for file in files:
        file.close()
    assert open_databases(tmp_path) == set()


def open_databases(folder: Path) -> set[str]:
    targets = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            targets.add(str(link.readlink()))
        except FileNotFoundError:
            continue
    return {target for target in targets if target.startswith(str(folder)) and target.endswith(".sqlite3")}


def test_check_and_repair(world: StoreWorld) -> None:
    """What is kept of messages that are gone is named and removed; a damaged file is, too."""
    with closing(sqlite3.connect(file_of(world))) as connection, connection:
        connection.execute(
            "INSERT INTO view SELECT key + 7, envelope, body, structure, preview FROM view WHERE key & 1"
        )
    with alice(world) as index:
        assert check_account(index) == ["there is something derived from 1 messages that are gone"]
        assert [one.is_mended for one in repair_account(index, OWNER)] == [True]
        assert check_account(index) == []
        assert known(index) == [1, 2]
    file_of(world).write_bytes(b"no database" * 1000)
    with alice(world) as index:
        (finding,) = check_account(index)
        assert finding.startswith("what is derived from the messages is damaged: ")
        assert [one.is_mended for one in repair_account(index, OWNER)] == [True]
        assert check_account(index) == []
        assert len(index.rows(INBOX)) == 2


def test_a_rebuild_begins_anew(world: StoreWorld) -> None:
    """An index that was made again knows nothing that was derived for the one before."""
    rebuild(world.state_dir, ALICE, OWNER)
    with alice(world) as index:
        assert known(index) == []
        index.put_derived(INBOX, KNOWN)
        assert known(index) == [1, 2]


def test_delivery_takes_no_lock_of_it(world: StoreWorld) -> None:
    """While somebody fills it, messages come, are flagged and go."""
    with closing(sqlite3.connect(file_of(world), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        world.append(ALICE, MESSAGE)
        with alice(world) as index:
            assert [row.uid for row in index.rows(INBOX)] == [1, 2, 3]
            assert known(index) == [1, 2]
        connection.execute("ROLLBACK")


def test_accounts_do_not_share(tmp_path: Path) -> None:
    """Each account has its own; the terms of a process count them together."""
    terms = Terms(openings=Openings(most=1))
    (tmp_path / "mail").mkdir()
    with closing(OpenAccounts(tmp_path, terms)) as accounts:
        for number in (1, 2):
            with accounts.use(AccountId(number)) as index:
                index.put_derived(INBOX, list[Derived]())
        assert len(list(tmp_path.glob(f"mail/*/{FOLDER}"))) == 2
        assert len({path for path in open_databases(tmp_path) if FOLDER in path}) == 1
