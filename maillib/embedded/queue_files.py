"""How the spool opens, writes and reads: every name within a folder that is held open.

Guarantees: no link is followed and no existing file is written over, so that a name put there by somebody else leads
nowhere, and neither does a folder that is exchanged while it is used; whatever is wrong with one file leaves as an
error that names it. All of it blocks.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from maillib.embedded.files import DIRECTORY_MODE, FILE_MODE, translated, write_all
from maillib.embedded.queue_envelope import MAX_OCTETS
from maillib.errors import ConfigError, NotFound, StoreUnusable, Transient

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})
"""Errors of this process or moment; any other one that a file gives when it is read is that file's own."""

_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What no later attempt of this process will be spared."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A directory, held open. What its methods raise is an OSError with the whole path, unless they say more."""

    def __init__(self, path: Path, *, within: "Folder | None" = None) -> None:
        """Open it, and make it if it is not there.

        Raises ConfigError when it is no directory, when others may write to it, when it is not ours; Transient. Root
        may look after anybody's spool, and what root makes goes to the owner of the folder around it.
        """
        self.path = path
        try:
            if within is None:
                around = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    self.fd: int = _open_or_make(path.name, around)
                finally:
                    os.close(around)
            else:
                self.fd = _open_or_make(path.name, within.fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise ConfigError(f"{path} is no directory") from None
            if error.errno in _REFUSED:
                raise ConfigError(f"{path}: {error.strerror}") from None
            raise translated(error) from error
        try:
            self._refuse_strangers()
        except BaseException:
            self.close()
            raise

    def _refuse_strangers(self) -> None:
        status = os.fstat(self.fd)
        if os.geteuid() not in (status.st_uid, 0):
            raise ConfigError(
                f"{self.path} belongs to user {status.st_uid}; run this as that user, not as {os.geteuid()}"
            )
        if status.st_mode & 0o022:
            raise ConfigError(f"{self.path} can be written by others: chmod go-w")

    def close(self) -> None:
        os.close(self.fd)

    # Names

    def names(self) -> list[str]:
        """A listing has an open file, and so a place in the directory, of its own."""
        fd = os.open(".", _OPEN_FOLDER, dir_fd=self.fd)
        try:
            return os.listdir(fd)  # noqa: PTH208 - there is no path to what is held open
        finally:
            os.close(fd)

    def status(self, name: str) -> os.stat_result:
        """Of a link: of the link itself."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            self._raise(error, name)

    def has(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            self.status(name)
            return True
        return False

    def rename(self, name: str, target: "Folder", new_name: str) -> None:
        try:
            os.rename(name, new_name, src_dir_fd=self.fd, dst_dir_fd=target.fd)
        except OSError as error:
            self._raise(error, name)

    def remove(self, name: str) -> bool:
        """Whether it was there."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._raise(error, name)
        return True

    def remove_folder(self, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=self.fd)
        except OSError as error:
            self._raise(error, name)

    def set_time(self, name: str, modified_s: float) -> None:
        try:
            os.utime(name, ns=_both_times(modified_s), dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            self._raise(error, name)

    def sync(self) -> None:
        """Names made, renamed or removed here are on disk when this returns."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            self._raise(error, "")

    # Files

    def sync_file(self, name: str) -> None:
        """What anybody has written to it is on disk when this returns."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            self._raise(error, name)

    def create(self, name: str) -> int:
        """A descriptor to write to a new file."""
        try:
            return os.open(name, _CREATE, FILE_MODE, dir_fd=self.fd)
        except OSError as error:
            self._raise(error, name)

    def write_new(self, name: str, octets: bytes, modified_s: float | None = None) -> None:
        """A new file, whole and on disk; its name is once the folder is synced."""
        fd = self.create(name)
        try:
            write_all(fd, octets)
            if modified_s is not None:
                os.utime(fd, ns=_both_times(modified_s))
            os.fsync(fd)
        except OSError as error:
            self._raise(error, name)
        finally:
            os.close(fd)

    def read(self, name: str) -> bytes:
        """Raises NotFound, Transient; StoreUnusable: what is there cannot be read, now or later."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_OCTETS:
                    raise StoreUnusable(f"{self.path}/{name} is no file of at most {MAX_OCTETS} octets")
                return os.read(fd, status.st_size)
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise NotFound(f"{self.path}/{name} is not there") from None
        except OSError as error:
            error.filename = f"{self.path}/{name}"
            if error.errno in _PASSING:
                raise Transient(str(error)) from error
            raise StoreUnusable(str(error)) from error

    def _raise(self, error: OSError, name: str) -> NoReturn:
        """It has only the name within the folder, or none."""
        error.filename = f"{self.path}/{name}"
        raise error


def give_to_owner(fd: int, around: int) -> None:
    """What root has just made in the folder `around` gets the owner of the folder. Raises OSError."""
    if os.geteuid() == 0:
        owner = os.fstat(around)
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _open_or_make(name: str, around: int) -> int:
    try:
        return os.open(name, _OPEN_FOLDER, dir_fd=around)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(name, DIRECTORY_MODE, dir_fd=around)
        fd = os.open(name, _OPEN_FOLDER, dir_fd=around)
    try:
        give_to_owner(fd, around)
        os.fsync(around)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _both_times(modified_s: float) -> tuple[int, int]:
    nanoseconds = int(modified_s * 1_000_000_000)
    return nanoseconds, nanoseconds
