"""Files and directories as every part of the embedded engine handles them.

Guarantees: a name is on disk when `sync_directory` of its folder has returned; what the operating system refuses leaves
as one of `maillib.errors`; no part of the store begins to work on a network file system. All of it blocks.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maillib import mounts
from maillib.errors import ConfigError, StoreFull, Transient

DIRECTORY_MODE = 0o750
FILE_MODE = 0o640

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def make_directory(path: Path) -> None:
    """Create `path` in a folder that exists, unless it is there, and sync that folder."""
    with os_errors():
        path.mkdir(DIRECTORY_MODE, exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Names made, renamed or removed in `path` are on disk when this returns."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every octet of `data`: one write may take fewer (a signal, a nearly full disk)."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def os_errors() -> Iterator[None]:
    """An OSError leaves the block as StoreFull or Transient; its text has the path and the system's own words."""
    try:
        yield
    except OSError as error:
        raise translated(error) from error


def translated(error: OSError) -> StoreFull | Transient:
    return StoreFull(str(error)) if error.errno in _NO_SPACE else Transient(str(error))


def refuse_network_file_system(path: Path) -> None:
    """Raise ConfigError when `path` lies where locks and shared memory cannot be relied on."""
    kind = mounts.network_kind(path)
    if kind is not None:
        raise ConfigError(f"{path} is on a network file system ({kind}); mail needs a disk of this machine")
