"""The end of an account's mail."""

from pathlib import Path

from maillib.embedded.blobs import account_path
from maillib.embedded.purge import purge
from maillib.ports.directory import AccountId

ALICE, BOB = AccountId(1), AccountId(2)


def make(state_dir: Path, account: AccountId) -> Path:
    """One body of an account."""
    body = account_path(state_dir, account) / "1" / "0000000001.eml"
    body.parent.mkdir(parents=True)
    body.write_bytes(b"Subject: x\r\n\r\n")
    return body


def test_purge(tmp_path: Path) -> None:
    """Everything of the account is gone; bodies that others have, too, stay theirs; again is no mistake."""
    mine, theirs = make(tmp_path, ALICE), make(tmp_path, BOB)
    theirs.unlink()
    theirs.hardlink_to(mine)
    for _ in range(2):
        purge(tmp_path, ALICE)
        assert [path.name for path in (tmp_path / "mail").iterdir()] == ["2"]
    assert theirs.read_bytes() == b"Subject: x\r\n\r\n"


def test_broken_off(tmp_path: Path) -> None:
    """What an earlier purge has left goes with the next one."""
    make(tmp_path, ALICE)
    account_path(tmp_path, ALICE).rename(tmp_path / "mail" / "1.removed")
    make(tmp_path, ALICE)
    purge(tmp_path, ALICE)
    assert [*(tmp_path / "mail").iterdir()] == []
