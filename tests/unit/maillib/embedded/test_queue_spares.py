"""Files of envelopes that are used again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from maillib.embedded.queue_files import Folder
from maillib.embedded.queue_spares import Spares
from maillib.ports.queue import QueueId

OLD = QueueId("0000000000000OLD")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[tuple[Folder, Folder]]:
    """spare/ and another folder."""
    folders = Folder(tmp_path / "spare"), Folder(tmp_path / "other")
    yield folders
    for folder in folders:
        folder.close()


def put(folder: Folder, name: str, octets: bytes = b"old") -> None:
    os.close(folder.create(name))
    (folder.path / name).write_bytes(octets)


def test_a_file_is_used_again_once(spool: tuple[Folder, Folder]) -> None:
    """What one process has kept another takes, under the name it wants; then there is nothing more."""
    spare, other = spool
    put(other, "OLD.done")
    inode = other.status("OLD.done").st_ino
    assert Spares(spare).keep(other, "OLD.done", OLD)
    taker = Spares(spare)
    fd = taker.take(other, "NEW.json.tmp")
    assert fd is not None
    os.close(fd)
    assert other.status("NEW.json.tmp").st_ino == inode
    assert taker.take(other, "NEXT.json.tmp") is None
    assert other.names() == ["NEW.json.tmp"]


def test_a_file_with_another_name_is_never_written_to(spool: tuple[Folder, Folder]) -> None:
    """It may be a backup made by links, or an envelope still."""
    spare, other = spool
    put(spare, OLD)
    os.link(spare.path / OLD, other.path / "backup")
    assert Spares(spare).take(other, "NEW.json.tmp") is None
    assert other.names() == ["backup"]
    assert spare.names() == []


def test_a_link_is_not_followed(spool: tuple[Folder, Folder]) -> None:
    """Whoever plants one in spare/ has nothing overwritten."""
    spare, other = spool
    put(other, "victim")
    (spare.path / OLD).symlink_to(other.path / "victim")
    assert Spares(spare).take(other, "NEW.json.tmp") is None
    assert (other.path / "victim").read_bytes() == b"old"


def test_what_is_kept_is_bounded(spool: tuple[Folder, Folder]) -> None:
    """No more than some hundred files of a block each are kept, whoever ends the messages."""
    spare, other = spool
    put(other, "LARGE.done", bytes(4097))
    assert not Spares(spare).keep(other, "LARGE.done", OLD)
    kept = 0
    for number in range(300):
        put(other, f"{number}.done")
        kept += Spares(spare).keep(other, f"{number}.done", QueueId(f"{number:016}"))
    assert kept == len(spare.names()) == 256
