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
    assert {name for name, one in found.items() if one.st_uid == _NOBODY} == {"mail", "spool", "leases", "directory"}
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
