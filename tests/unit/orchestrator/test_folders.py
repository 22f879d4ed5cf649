"""Who owns what is in a state directory."""

import json
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import folders, spec
from orchestrator.spec import Spec

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs services as another user")

_NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, so that the sockets are in it too."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def _spec(folder: Path, user: str | None) -> Spec:
    pop = {"protocol": "pop", "user": user, "listen": [{"address": "127.0.0.1:2110"}]}
    path = folder / "services.yaml"
    path.write_text(json.dumps({"version": 1, "hostname": "mail.example.test", "services": {"pop": pop}}))
    return spec.read(path)


def _apply(folder: Path, user: str | None) -> None:
    found = _spec(folder, user)
    found.state_dir.mkdir(exist_ok=True)
    folders.prepare(found)
    folders.give(found)


def test_user_passes_through_to_its_own_folders(folder: Path) -> None:
    """The data is the user's; what leads there is root's, and the folder of supervisord's socket shows nothing."""
    _apply(folder, "nobody")
    found = {path.name: path.stat() for path in (folder / "var").iterdir()}
    assert {name for name, one in found.items() if one.st_uid == _NOBODY} == {*folders.DATA, folders.DIRECTORY}
    assert all(not one.st_mode & 0o027 for one in found.values())
    assert found["run"].st_mode & 0o777 == 0o710


def test_mail_that_root_wrote_goes_to_the_user_who_comes_after(folder: Path) -> None:
    """Services that had a user, ran as root, and have the user again can read what was delivered meanwhile."""
    _apply(folder, "nobody")
    _apply(folder, None)
    message = folder / "var/mail/1.eml"
    message.touch(mode=0o640)
    _apply(folder, "nobody")
    assert message.stat().st_uid == _NOBODY


def test_links_lead_nowhere(folder: Path) -> None:
    """Names that the services' user puts into its data do not make root give away files elsewhere."""
    _apply(folder, "nobody")
    _apply(folder, None)
    secret = folder / "secret"
    (folder / "etc").mkdir()
    for path in (secret, folder / "etc" / "shadow"):
        path.touch(mode=0o600)
    mail = folder / "var/mail"
    (mail / "symbolic").symlink_to(secret)
    (mail / "directory").symlink_to(folder / "etc")
    (mail / "hard").hardlink_to(secret)
    (mail / "fifo").symlink_to("/dev/null")
    os.mkfifo(mail / "pipe")
    (folder / "var/spool/1.eml").touch()
    (mail / "1").mkdir()
    (mail / "1" / "1.eml").hardlink_to(folder / "var/spool/1.eml")
    _apply(folder, "nobody")
    given = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.lstat().st_uid == _NOBODY}
    data = {f"var/{name}" for name in (*folders.DATA, folders.DIRECTORY)}
    assert given == {*data, "var/mail/1", "var/mail/1/1.eml", "var/spool/1.eml", "var/mail/pipe"}
