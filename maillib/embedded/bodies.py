"""Giving a body a second name: linked where the file system can, copied where it cannot.

Guarantees: when `place_body` returns, the octets under the new name are on disk, with the internal date of the message
as their mtime, by which an index can be made again; the name itself is once its folder has been synced. A copy that was
broken off never has the new name.
"""

import errno
import os
import stat
from pathlib import Path

from maillib.embedded.files import FILE_MODE, os_errors, write_all
from maillib.errors import NotFound, StoreUnusable

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK})
"""Another file system; one without links, or a file that is not ours (`fs.protected_hardlinks`); too many names."""

_COPY_OCTETS = 256 * 1024
"""One read and write: large enough to cost little, small enough for eight threads at once."""


def place_body(source: str, status: os.stat_result, target: str, modified_s: int) -> None:
    """Make `target` another name of `source`, or else a copy.

    Its mtime is `modified_s` (Unix epoch) then: a body that has another one and no other name yet gets it; of one that
    others share a copy is made. `status` is of `source`, as `body_status` tells it. Raises OSError;
    FileExistsError: another body has the name.
    """
    if status.st_mtime_ns // 1_000_000_000 != modified_s:
        if status.st_nlink > 1:
            _copy(source, target, modified_s)
            return
        _date(source, modified_s)
    try:
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            if not os.path.samestat(status, os.lstat(target)):
                raise
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(source, target, modified_s)


def body_status(path: str | Path) -> os.stat_result:
    """Raises NotFound, Transient, StoreUnusable (something else has its name)."""
    with os_errors():
        try:
            status = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - a Path costs more than the call
        except FileNotFoundError:
            raise NotFound(f"{path} is not there") from None
    if not stat.S_ISREG(status.st_mode):
        raise StoreUnusable(f"{path} is no regular file")
    return status


def _date(body: str, modified_s: int) -> None:
    fd = os.open(body, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.utime(fd, (modified_s, modified_s))
        os.fsync(fd)
    finally:
        os.close(fd)


def _copy(source: str, target: str, modified_s: int) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "another body has the name", target)
    unfinished = Path(target).with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)  # of a crash: whoever holds the mailbox's write lock is alone here
    try:
        octets = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            mode = os.fstat(octets).st_mode & FILE_MODE  # it means something, see `LOOSE_MODE`
            copy = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                while part := os.read(octets, _COPY_OCTETS):
                    write_all(copy, part)
                os.utime(copy, (modified_s, modified_s))
                os.fsync(copy)
            finally:
                os.close(copy)
        finally:
            os.close(octets)
        unfinished.rename(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
