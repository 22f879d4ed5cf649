"""What the files of a mailbox's folder say about the messages in it, without the index.

    name    UID
    mtime   internal date, to the second
    octets  size; the first field, when it is a Received of ours, tells queue ID and reverse-path
    mode    whether a prefix belongs before them (`blobs.LOOSE_MODE`)

Guarantees: no link is followed. All of it blocks.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maillib.embedded.files import os_errors
from maillib.errors import LocalError
from maillib.message.header import delivery_prefix
from maillib.message.received import TRACE_OCTETS, trace
from maillib.ports.index import LAST_UID, Uid
from maillib.ports.queue import QueueId

LAST_GIVEN = Uid(LAST_UID - 1_000_000)
"""No message gets a UID above it. A file with such a name is none that the store has made; as a message it would leave
no UID for the next one."""

_NAME = re.compile(r"([0-9]{10})\.eml", re.ASCII)


@dataclass(frozen=True, slots=True)
class FoundBody:
    uid: Uid
    size_octets: int
    """With the prefix."""
    internal_date_s: int
    """Seconds of the Unix epoch."""
    prefix: bytes
    queue_id: QueueId | None
    """It came through the spool under this ID; None: another way."""
    inode: tuple[int, int]


class MailboxFolder:
    """One mailbox's files."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path

    def names(self) -> list[str]:
        """Of everything that is there, sorted. Raises Transient."""
        with os_errors():
            return sorted(os.listdir(self._fd))  # noqa: PTH208

    def body(self, name: str, owner: str) -> FoundBody | None:
        """The message of that file in the mailbox of `owner` (an address); None: it is no whole file of a message.

        Raises Transient.
        """
        uid = uid_of(name)
        if uid is None:
            return None
        with os_errors():
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
            except FileNotFoundError:
                return None
            except OSError:
                if stat.S_ISREG(self.status(name).st_mode):
                    raise
                return None
            try:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):
                    return None
                head = os.pread(fd, TRACE_OCTETS, 0)
            finally:
                os.close(fd)
        found = trace(head) if status.st_mode & stat.S_IWUSR else None
        prefix = b""
        if found is not None:
            try:
                prefix = delivery_prefix(sender=found.sender, recipient=owner)
            except LocalError:  # controls, which no address of ours has: somebody else has written the field
                found = None
        return FoundBody(
            uid=uid,
            size_octets=len(prefix) + status.st_size,
            internal_date_s=int(status.st_mtime),
            prefix=prefix,
            queue_id=None if found is None else QueueId(found.queue_id),
            inode=(status.st_dev, status.st_ino),
        )

    def status(self, name: str) -> os.stat_result:
        """Raises OSError."""
        return os.stat(name, dir_fd=self._fd, follow_symlinks=False)

    def link(self, name: str, other: str) -> None:
        """Give a file one more name, on disk when this returns. Raises StoreFull, Transient."""
        with os_errors():
            os.link(name, other, src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=False)
            os.fsync(self._fd)

    def remove(self, name: str) -> None:
        """Raises Transient."""
        with os_errors():
            os.unlink(name, dir_fd=self._fd)

    def sync(self) -> None:
        """What was removed stays removed. Raises StoreFull, Transient."""
        with os_errors():
            os.fsync(self._fd)


@contextmanager
def mailbox_folder(path: Path) -> Iterator[MailboxFolder]:
    """The files in `path`. Raises Transient."""
    with os_errors():
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield MailboxFolder(fd, path)
    finally:
        os.close(fd)


def uid_of(name: str) -> Uid | None:
    """Of the file of a message; None for any other."""
    match = _NAME.fullmatch(name)
    return Uid(int(match[1])) if match and 0 < int(match[1]) <= LAST_GIVEN else None


def queued_ids(state_dir: Path) -> set[str]:
    """Queue IDs of all bodies in the spool: those that somebody may deliver (again). Raises Transient."""
    with os_errors():
        try:
            return {name.removesuffix(".eml") for name in os.listdir(state_dir / "spool" / "messages")}  # noqa: PTH208
        except FileNotFoundError:
            return set()


def shared_inodes(state_dir: Path, account: Path, *, but: Path) -> set[tuple[int, int]]:
    """Device and inode of all bodies that were put, or are in a mailbox of the account's folder; `but` one name.

    Looks at every file: for rare cases. Raises Transient.
    """
    found = loose_inodes(state_dir)
    with os_errors():
        for path in account.glob("[1-9]*/*.eml"):
            with suppress(FileNotFoundError):
                if path != but:
                    status = path.lstat()
                    found.add((status.st_dev, status.st_ino))
    return found


def loose_inodes(state_dir: Path) -> set[tuple[int, int]]:
    """Device and inode of the bodies that were put and are not given up yet. Raises Transient."""
    found: set[tuple[int, int]] = set()
    with os_errors(), suppress(FileNotFoundError):
        for path in (state_dir / "mail" / "loose").iterdir():
            with suppress(FileNotFoundError):  # given up meanwhile
                status = path.lstat()
                found.add((status.st_dev, status.st_ino))
    return found
