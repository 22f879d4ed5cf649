"""Giving a body a second name: linked where the file system can, copied where it cannot.

Guarantees: when `place_body` returns, the octets under the new name are on disk; the name itself is once its folder
has been synced. A copy that was broken off never has the new name.
"""

import errno
import os
from pathlib import Path

from maillib.embedded.files import FILE_MODE, write_all

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK})
"""Another file system; one without links, or a file that is not ours (`fs.protected_hardlinks`); too many names."""

_COPY_OCTETS = 256 * 1024
"""One read and write: large enough to cost little, small enough for eight threads at once."""


def place_body(source: Path, target: Path, modified_s: int) -> None:
    """Make `target` another name of `source`, or else a copy; what had that name before is replaced.

    A copy gets `modified_s` (Unix epoch) as its mtime; a link shares the inode with others, so its times stay.
    Raises OSError.
    """
    try:
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            target.unlink()
            os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(source, target, modified_s)


def _copy(source: Path, target: Path, modified_s: int) -> None:
    unfinished = target.with_suffix(".tmp")
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
