"""The FIFO that wakes a waiting spool, and tells it what has come: a record for each message put into incoming/.

Who queues something need not know whether a spool runs, nor wait for it: without a reader nothing is written. A spool
that is told the IDs need not look through a folder where a hundred thousand others may lie. A record that nobody reads,
or that found the FIFO full, is no loss: a FIFO that was half full, or holds anything else (`echo > spool/wake`), means
that the folder is to be looked through.
"""

import array
import errno
import fcntl
import os
import stat
import termios
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from maillib import maillog
from maillib.embedded.files import FILE_MODE, os_errors
from maillib.embedded.queue_files import Folder, give_to_owner
from maillib.embedded.queue_ids import is_id
from maillib.errors import ConfigError
from maillib.ports.queue import QueueId

NAME = "wake"

_RECORD_OCTETS = 33
"""An ID, padded with spaces, and LF. All of one length, so that several readers never part one."""

_RECORDS = 4096 // _RECORD_OCTETS
"""In one write: as much as the kernel never parts (PIPE_BUF of Linux)."""

_ALL = 65_536
"""What a FIFO holds on Linux: one read empties it."""

_DOUBTFUL = 4096
"""From so many octets on it may have been full, and records lost: a page of it is left when the next write does not
fit, so that of its pages (two, if the user has a thousand pipes, else sixteen) at least half is in use.
"""


class Bell:
    """The end of those who queue. For any thread."""

    def __init__(self, root: Folder) -> None:
        """Make the FIFO unless it is there. Raises ConfigError when something else has its name, Transient."""
        self._root = root
        with os_errors():
            if not root.has(NAME):
                self._make()
            if not stat.S_ISFIFO(root.status(NAME).st_mode):
                raise ConfigError(f"{root.path}/{NAME} is no FIFO")

    def ring(self, ids: Sequence[QueueId]) -> None:
        """Wake a spool that waits. Raises nothing: a spool that was not told finds out within a minute."""
        try:
            fd = self._open(os.O_WRONLY)
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.ENOENT):  # nobody waits; or the spool is being removed
                maillog.problem(what="waking the spool", error=str(error))
            return
        try:
            for start in range(0, len(ids), _RECORDS):
                os.write(fd, b"".join(b"%-32b\n" % one.encode() for one in ids[start : start + _RECORDS]))
        except BlockingIOError:
            pass  # full
        except OSError as error:
            maillog.problem(what="waking the spool", error=str(error))
        finally:
            os.close(fd)

    def listen(self) -> "Ears":
        """Raises Transient."""
        with os_errors():
            return Ears(self._open(os.O_RDWR))  # for writing too, so that it never is at its end

    def _open(self, flags: int) -> int:
        return os.open(NAME, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root.fd)

    def _make(self) -> None:
        with suppress(FileExistsError):  # another process was faster
            os.mkfifo(NAME, FILE_MODE, dir_fd=self._root.fd)
        fd = self._open(os.O_RDONLY)
        try:
            give_to_owner(fd, self._root.fd)
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Heard:
    ids: Sequence[QueueId]
    has_more: bool
    """There may be others in incoming/ of which nobody will tell."""


class Ears:
    """The end of those who claim."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        """Becomes readable by `ring`."""

    def hear(self, most: int) -> Heard:
        """At most so many, so that other processes get theirs. Raises Transient."""
        with os_errors():
            if self._waiting() >= _DOUBTFUL:
                os.read(self.fd, _ALL)
                return Heard((), has_more=True)
            try:
                records = os.read(self.fd, most * _RECORD_OCTETS).split(b"\n")
            except BlockingIOError:
                return Heard((), has_more=False)
            *whole, rest = [record.decode("ascii", "replace") for record in records]
            ids = [QueueId(text.rstrip()) for text in whole if len(text) == _RECORD_OCTETS - 1 and is_id(text.rstrip())]
            has_more = len(ids) < len(whole) or rest != ""
            if has_more:  # nothing of ours: begin anew with whole records
                with suppress(BlockingIOError):
                    os.read(self.fd, _ALL)
            return Heard(ids, has_more)

    def close(self) -> None:
        os.close(self.fd)

    def _waiting(self) -> int:
        number = array.array("i", [0])
        fcntl.ioctl(self.fd, termios.FIONREAD, number)
        return number[0]
