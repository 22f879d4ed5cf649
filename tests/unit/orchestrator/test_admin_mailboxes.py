"""Root looks after a store of others."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from maillib.embedded.rebuild import Rebuilt
from orchestrator.admin import accounts, mailboxes, objects
from orchestrator.admin.ownership import Named
from tests.support.store_world import ADDRESSES, ALICE, StoreWorld

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can look after a store of others")

_NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may pass through."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_root_acts_as_the_owner_of_the_store(folder: Path) -> None:
    """Links that the owner has put there lead root nowhere, and what is made belongs to the owner."""
    state_dir = folder / "var"
    world = StoreWorld(state_dir)
    world.receive("carol@elsewhere.test", ALICE)
    before = world.seen()
    objects.add(state_dir, Named("domain", "example.test"), "example.test", {})
    objects.add(state_dir, Named("account", ADDRESSES[ALICE]), ADDRESSES[ALICE], {})
    [made] = accounts.entries(state_dir).accounts
    assert made.id == ALICE
    for path in [state_dir, *state_dir.rglob("*")]:
        os.chown(path, _NOBODY.pw_uid, _NOBODY.pw_gid)
    secret = folder / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    world.lose()
    for name in ("index.sqlite3.new", "mailboxes.json.tmp", "flags.log", "index.sqlite3-wal", "1/0000000002.eml"):
        (world.folder() / name).unlink(missing_ok=True)
        (world.folder() / name).symlink_to(secret)

    chosen = mailboxes.chosen(state_dir, [], everything=True)
    (found,) = mailboxes.check(state_dir, chosen)
    assert ["is lost" in text for text in found.findings] == [True]
    (done,) = mailboxes.remake(state_dir, chosen, lambda account, messages: None)
    assert not isinstance(done.outcome, Rebuilt)  # flags.log is a link, which is refused
    (world.folder() / "flags.log").unlink()
    (done,) = mailboxes.remake(state_dir, chosen, lambda account, messages: None)
    assert isinstance(done.outcome, Rebuilt)
    assert done.outcome.messages == 1
    assert os.geteuid() == 0
    assert secret.read_text() == "secret"
    assert secret.stat().st_uid == 0
    files = [path for path in (state_dir / "mail").rglob("*") if not path.is_symlink()]
    assert {path.stat().st_uid for path in files} == {_NOBODY.pw_uid}
    assert not any(path.stat().st_mode & 0o027 for path in files if path.name in ("index.sqlite3", "flags.log"))
    assert world.seen() == before
