"""Indexes that are lost or replaced while processes have them open, and what keeps a rebuild and users apart."""

import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maillib.embedded.account_index import AccountIndex
from maillib.embedded.account_lock import AccountLock
from maillib.embedded.blobs import account_path
from maillib.embedded.open_accounts import OpenAccounts
from maillib.errors import StoreDamaged, Transient
from maillib.ports.blobs import BlobRef
from maillib.ports.directory import AccountId
from maillib.ports.index import INBOX, NewMessage

ALICE = AccountId(1)
BOB = AccountId(2)


def deliver(index: AccountIndex, loose: Path, key: str) -> None:
    body = loose / f"{'0' * 32}.eml"
    body.parent.mkdir(exist_ok=True)
    body.write_bytes(b"body")
    message = NewMessage(
        delivery_key=key, prefix=b"", body=BlobRef(f"loose:{'0' * 32}"), internal_date=datetime.now(UTC)
    )
    index.append(INBOX, [message], owner="alice@example.test", quota_octets=None)
    body.unlink()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Alice has a message."""
    (tmp_path / "mail").mkdir()
    accounts = OpenAccounts(tmp_path)
    with accounts.use(ALICE) as index:
        deliver(index, tmp_path / "mail" / "loose", "k")
    accounts.close()
    return tmp_path


@pytest.mark.parametrize("opened_before", [False, True])
@pytest.mark.parametrize("how", ["removed", "truncated"])
def test_a_lost_index_is_not_made_anew(state_dir: Path, how: str, opened_before: bool) -> None:
    """Where there is mail but no index, nothing is delivered that would get UID 1 again; other accounts go on."""
    accounts = OpenAccounts(state_dir)
    file = account_path(state_dir, ALICE) / "index.sqlite3"
    if opened_before:
        with accounts.use(ALICE) as index:
            assert len(index.rows(INBOX)) == 1
    if how == "removed":
        file.unlink()
    else:
        file.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"mail/1/index\.sqlite3 is lost"), accounts.use(ALICE):
            pass
    with accounts.use(BOB) as index:
        assert index.rows(INBOX) == []
    accounts.close()
    assert (account_path(state_dir, ALICE) / "1" / "0000000001.eml").read_bytes() == b"body"


def test_an_account_without_mail_begins_again(tmp_path: Path) -> None:
    """A power cut may leave the folders of an account that was just being made: nobody is kept out of it."""
    (tmp_path / "mail" / "1" / "1").mkdir(parents=True)
    (tmp_path / "mail" / "1" / "index.sqlite3").touch()
    accounts = OpenAccounts(tmp_path)
    with accounts.use(ALICE) as index:
        assert index.rows(INBOX) == []
    accounts.close()


def test_a_replaced_index_is_used_from_the_next_call_on(state_dir: Path) -> None:
    """Who has an index open notices that another file has its name: nothing goes into the old one any more."""
    accounts = OpenAccounts(state_dir)
    folder = account_path(state_dir, ALICE)
    with accounts.use(ALICE):
        pass
    aside = AccountIndex(state_dir, ALICE)  # the last one to close a database leaves no files beside it
    aside.database.close()
    accounts.close()
    with accounts.use(ALICE):
        pass
    lock = AccountLock(folder)
    with lock.alone(timeout_s=1):
        for name in ("index.sqlite3", "index.sqlite3-wal", "index.sqlite3-shm"):
            (folder / name).rename(folder / f"{name}.old")
        for mailbox in folder.glob("[0-9]*/*.eml"):
            mailbox.unlink()
        new = AccountIndex(state_dir, ALICE)
    with accounts.use(ALICE) as index:
        assert index.rows(INBOX) == []
        deliver(index, state_dir / "mail" / "loose", "l")
    assert [row.uid for row in new.rows(INBOX)] == [1]
    new.close()
    lock.release()
    accounts.close()


def test_a_rebuild_waits_for_users_and_they_do_not_wait_for_it(state_dir: Path) -> None:
    """Nobody uses an account while somebody is alone in it; a call meanwhile is to be made again."""
    accounts = OpenAccounts(state_dir)
    lock = AccountLock(account_path(state_dir, ALICE))
    users: list[AbstractContextManager[AccountIndex]] = [accounts.use(ALICE), accounts.use(ALICE)]
    for user in users:
        user.__enter__()
    for user in users:
        with pytest.raises(Transient, match="in use"), lock.alone(timeout_s=0):
            pass
        user.__exit__(None, None, None)
    with lock.alone(timeout_s=0):
        for _ in range(2):
            with pytest.raises(Transient, match="made anew"), accounts.use(ALICE):
                pass
        with accounts.use(BOB):
            pass
        began = threading.Event()
        alone = AccountLock(account_path(state_dir, ALICE))

        def wait() -> None:
            began.set()
            with alone.alone(timeout_s=60):
                pass

        other = threading.Thread(target=wait)
        other.start()
        began.wait()
    other.join()
    with accounts.use(ALICE) as index:
        assert len(index.rows(INBOX)) == 1
    for each in (lock, alone):
        each.release()
    accounts.close()


def test_accounts_in_turns_do_not_close_each_other(tmp_path: Path) -> None:
    """Of more accounts than there are places, used in turns, most of those that have a place keep it."""
    (tmp_path / "mail").mkdir()
    accounts = OpenAccounts(tmp_path, most=4)
    opened: dict[int, list[AccountIndex]] = {number: [] for number in range(1, 7)}
    for _ in range(10):
        for number, indexes in opened.items():
            with accounts.use(AccountId(number)) as index:
                if index not in indexes:
                    indexes.append(index)
    accounts.close()
    assert sum(len(indexes) == 1 for indexes in opened.values()) >= 2


def test_who_comes_twice_gets_a_place(tmp_path: Path) -> None:
    """An account that is used again while others use theirs stays open, and the one unused for longest goes."""
    (tmp_path / "mail").mkdir()
    accounts = OpenAccounts(tmp_path, most=1)
    with accounts.use(ALICE) as alice:
        pass
    with accounts.use(BOB) as bob, accounts.use(BOB):
        pass
    with accounts.use(BOB) as again:
        assert again is bob
    with accounts.use(ALICE) as anew:
        assert anew is not alice
    accounts.close()
