"""What `maillib.embedded.files` and `maillib.embedded.bodies` promise to the rest of the engine."""

import errno
import os
import stat
from pathlib import Path

import pytest

from maillib import mounts
from maillib.embedded import files
from maillib.embedded.bodies import body_status, place_body
from maillib.errors import ConfigError, NotFound, StoreFull, Transient


def test_new_directory_is_private(tmp_path: Path) -> None:
    """Others have no rights in a folder of the store, whatever the umask; making it again is no error."""
    old = os.umask(0)
    try:
        files.make_directory(tmp_path / "mail")
        files.make_directory(tmp_path / "mail")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "mail").stat().st_mode) == 0o750


def test_full_disk_is_told_apart(tmp_path: Path) -> None:
    """No space is StoreFull; anything else the system refuses is Transient; both name the path and the reason."""
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StoreFull, match="No space left"), files.os_errors():
            files.write_all(fd, b"x")
    finally:
        os.close(fd)
    with pytest.raises(Transient, match=r"No such file.*missing"), files.os_errors():
        files.make_directory(tmp_path / "missing" / "mail")


def test_write_all_goes_on_after_a_short_write() -> None:
    """What one write leaves over is written by the next."""
    reader, writer = os.pipe()
    data = bytes(range(256)) * 16
    try:
        files.write_all(writer, data)
        assert os.read(reader, len(data)) == data
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Where locks cannot be relied on the store does not start, and says what it found."""
    device = tmp_path.stat().st_dev
    listed = tmp_path / "mountinfo"
    listed.write_text(
        f"27 1 0:999 / / rw - ext4 /dev/vda rw\n"
        f"36 27 {os.major(device)}:{os.minor(device)} / /srv/mail rw,relatime shared:1 - {kind} server:/mail rw\n"
    )
    monkeypatch.setattr(mounts, "_MOUNTS", listed)
    with pytest.raises(ConfigError, match=f"network file system \\({kind}\\)"):
        files.refuse_network_file_system(tmp_path)


def test_local_file_system_is_accepted(tmp_path: Path) -> None:
    """A disk of this machine is accepted by what the kernel really says."""
    files.refuse_network_file_system(tmp_path)


def test_a_system_without_a_list_of_mounts_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no such list."""
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "none")
    files.refuse_network_file_system(tmp_path)


def place(source: Path, target: Path, modified_s: int) -> None:
    place_body(str(source), body_status(source), str(target), modified_s)


def test_body_is_linked(tmp_path: Path) -> None:
    """On one file system a body is one inode, with the date of the message; to place it again changes nothing."""
    source, target = tmp_path / "a.eml", tmp_path / "1.eml"
    source.write_bytes(b"body")
    for _ in range(2):
        place(source, target, 1_700_000_000)
    assert target.samefile(source)
    assert target.stat().st_mtime == 1_700_000_000
    os.utime(source, (1_700_000_000.5, 1_700_000_000.5))
    place(source, tmp_path / "2.eml", 1_700_000_000)
    assert source.stat().st_nlink == 3


def test_a_body_of_another_date_is_not_changed(tmp_path: Path) -> None:
    """A message with a date of its own takes none from others that have the same body."""
    source, first, second = tmp_path / "a.eml", tmp_path / "1.eml", tmp_path / "2.eml"
    source.write_bytes(b"body")
    place(source, first, 1_700_000_000)
    place(source, second, 1_600_000_000)
    assert [path.stat().st_mtime for path in (first, second)] == [1_700_000_000, 1_600_000_000]
    assert second.read_bytes() == b"body"


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_body_is_copied_where_it_cannot_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    """A copy has the octets, the date as its mtime, private rights, and replaces an unfinished one."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "a.eml", tmp_path / "1.eml"
    octets = os.urandom(700_000)
    source.write_bytes(octets)
    target.with_suffix(".tmp").write_bytes(b"half")
    place(source, target, 1_700_000_000)
    assert target.read_bytes() == octets
    assert not target.samefile(source)
    assert target.stat().st_mtime == 1_700_000_000
    assert stat.S_IMODE(target.stat().st_mode) & 0o137 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.eml", "a.eml"]


@pytest.mark.parametrize("linking", [True, False], ids=["link", "copy"])
def test_no_other_body_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linking: bool) -> None:
    """A name that another body has is an error, and that body stays: it may be somebody's only one."""
    source, target = tmp_path / "a.eml", tmp_path / "1.eml"
    source.write_bytes(b"body")
    target.write_bytes(b"other")
    if not linking:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError):
        place(source, target, 1_700_000_000)
    assert target.read_bytes() == b"other"


def test_body_of_another_file_system(tmp_path: Path) -> None:
    """A real second file system: copied."""
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    source = shared_memory / f"postroom-test-{os.getpid()}.eml"
    try:
        source.write_bytes(b"body")
        place(source, tmp_path / "1.eml", 1)
        assert (tmp_path / "1.eml").read_bytes() == b"body"
    finally:
        source.unlink(missing_ok=True)


def test_other_refusals_are_errors(tmp_path: Path) -> None:
    """A source that is not there is no reason to copy."""
    source = tmp_path / "a.eml"
    source.write_bytes(b"body")
    status = body_status(source)
    source.unlink()
    with pytest.raises(FileNotFoundError):
        place_body(str(source), status, str(tmp_path / "1.eml"), int(status.st_mtime))
    with pytest.raises(NotFound):
        body_status(source)
