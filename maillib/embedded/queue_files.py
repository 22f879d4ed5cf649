"""How the spool writes, reads and guards its single files. All of it blocks.

Guarantees: no link is followed and no existing file is written over, so that a name put there by somebody else leads
nowhere; whatever is wrong with one file leaves as an error about that file.
"""

import errno
import os
import stat
from pathlib import Path

from maillib.embedded.files import FILE_MODE, make_directory, os_errors, write_all
from maillib.embedded.queue_envelope import MAX_OCTETS
from maillib.errors import ConfigError, NotFound, StoreUnusable, Transient

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})
"""Errors of this process or moment; any other one that a file gives when it is read is that file's own."""


def make_private(folder: Path) -> None:
    """Make a folder unless it is there. Raises ConfigError when others may write to it, or it is not ours.

    Root may look after anybody's spool, and what root makes goes to the owner of the folder around it.
    """
    if not folder.exists():
        make_directory(folder)
        give_to_owner(folder)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{folder} is no directory")
    if os.geteuid() not in (status.st_uid, 0):
        raise ConfigError(f"{folder} belongs to user {status.st_uid}; run this as that user, not as {os.geteuid()}")
    if status.st_mode & 0o022:
        raise ConfigError(f"{folder} can be written by others: chmod go-w")


def give_to_owner(path: Path) -> None:
    """Made by root, it gets the owner of the folder that it is in."""
    if os.geteuid() == 0:
        around = path.parent.stat()
        with os_errors():
            os.chown(path, around.st_uid, around.st_gid, follow_symlinks=False)


def write_new(path: Path, octets: bytes, modified_s: float | None = None) -> None:
    """A new file, whole and on disk. Raises OSError, StoreUnusable."""
    if len(octets) > MAX_OCTETS:
        raise StoreUnusable(f"{path}: an envelope of {len(octets)} octets; {MAX_OCTETS} are the most")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        write_all(fd, octets)
        if modified_s is not None:
            os.utime(fd, ns=_both_times(modified_s))
        os.fsync(fd)
    finally:
        os.close(fd)


def set_time(path: Path, modified_s: float) -> None:
    os.utime(path, ns=_both_times(modified_s), follow_symlinks=False)


def _both_times(modified_s: float) -> tuple[int, int]:
    nanoseconds = int(modified_s * 1_000_000_000)
    return nanoseconds, nanoseconds


def read_whole(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_OCTETS:
                raise StoreUnusable(f"{path} is no file of at most {MAX_OCTETS} octets")
            with open(fd, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise NotFound(f"{path} is not there") from None
    except OSError as error:
        if error.errno in _PASSING:
            raise Transient(str(error)) from error
        raise StoreUnusable(str(error)) from error
