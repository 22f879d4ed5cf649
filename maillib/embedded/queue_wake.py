"""The FIFO that wakes a waiting spool: an octet in it says that something new lies in incoming/.

Who queues something need not know whether a spool runs, nor wait for it: without a reader nothing is written, and a
full FIFO already says all there is to say. An octet that nobody reads is no loss, since a spool looks when it starts.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from maillib.embedded.files import FILE_MODE, os_errors
from maillib.embedded.queue_files import give_to_owner
from maillib.errors import ConfigError

_ENOUGH = 65_536
"""What a FIFO holds on Linux: one read empties it."""


def make_fifo(path: Path) -> None:
    """Unless it is there. Raises ConfigError when something else has its name, Transient."""
    with os_errors(), suppress(FileExistsError):
        os.mkfifo(path, FILE_MODE)
        give_to_owner(path)
    if not stat.S_ISFIFO(path.lstat().st_mode):
        raise ConfigError(f"{path} is no FIFO")


def poke(path: Path) -> None:
    """Wake whoever waits."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):  # nobody waits; or the spool is being removed
            return
        raise
    try:
        os.write(fd, b".")
    except BlockingIOError:
        pass  # full
    finally:
        os.close(fd)


def open_fifo(path: Path) -> int:
    """A descriptor that becomes readable by `poke`. Opened for writing too, so that it never is at its end."""
    with os_errors():
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


def empty(fd: int) -> bool:
    """Take what is in it; whether there was anything (another process may have been faster)."""
    try:
        return bool(os.read(fd, _ENOUGH))
    except BlockingIOError:
        return False
