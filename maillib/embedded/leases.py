"""Leases as locked files, one per name, in STATE_DIR/leases.

Guarantees: at most one holder of a name, over all processes and within one; a lease ends with its process however that
ends, because the kernel drops the lock with the last descriptor. A file holds the fencing number of its last lease and
is never removed: a lock on a removed file would exclude nobody. Its mtime is when that lease was taken.

`flock` on a file opened anew for each lease. POSIX record locks (`fcntl.lockf`) would not do: two sessions of one
process do not exclude each other with them, and closing any descriptor of the file drops them all.

Leaves to others: which names there are.
"""

import fcntl
import os
import time
from pathlib import Path
from urllib.parse import quote

from maillib.embedded.files import FILE_MODE, make_directory, os_errors, refuse_network_file_system
from maillib.embedded.threads import Threads
from maillib.errors import Conflict, TooSoon
from maillib.ports.leases import Lease

_MAX_NAME_OCTETS = 200
"""As a file name, which file systems limit to 255."""

_NUMBER_OCTETS = 20
"""Fixed width, so that a larger number overwrites a smaller one whole."""

_THREADS = 2
"""Nothing here waits for a disk or a lock."""


class EmbeddedLeases:
    """The Leases port over `flock`."""

    def __init__(self, state_dir: Path) -> None:
        """Raises ConfigError when `state_dir` is on a network file system."""
        self._folder = state_dir / "leases"
        make_directory(self._folder)
        refuse_network_file_system(self._folder)
        self._threads = Threads("leases", _THREADS)
        self._held: set[_FileLease] = set()

    async def acquire(self, name: str, *, interval_s: float = 0.0) -> Lease:
        lease = _FileLease(self, self._folder / _file_name(name), name)
        self._held.add(lease)
        try:
            await self._threads.run(lease.lock, interval_s)
        except BaseException:  # a cancellation too: the thread may have got the lock meanwhile
            await self.release(lease)
            raise
        return lease

    async def release(self, lease: "_FileLease") -> None:
        """Idempotent."""
        if lease in self._held:
            self._held.discard(lease)
            await self._threads.run(lease.unlock)

    async def close(self) -> None:
        """Release what is held. Idempotent."""
        for lease in list(self._held):
            await self.release(lease)
        await self._threads.close()


class _FileLease:
    """The lease of one name; `lock` and `unlock` block."""

    def __init__(self, leases: EmbeddedLeases, path: Path, name: str) -> None:
        self._leases = leases
        self._path = path
        self._name = name
        self._fd = -1
        self._fencing = 0

    @property
    def fencing(self) -> int:
        return self._fencing

    async def release(self) -> None:
        await self._leases.release(self)

    def lock(self, interval_s: float) -> None:
        """Raises Conflict, TooSoon, StoreFull, Transient; then only `unlock` is left."""
        with os_errors():
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"{self._name!r} is held by somebody else") from None
            last = os.pread(self._fd, _NUMBER_OCTETS, 0)
            # A clock that was set back gives an age below nothing: nobody is kept waiting for it to catch up.
            if last and interval_s and 0 <= time.time() - os.fstat(self._fd).st_mtime < interval_s:
                raise TooSoon(f"{self._name!r} was taken less than {interval_s:g} s ago")
            self._fencing = int(last) + 1 if last.isdigit() else 1  # empty: a new file, or a power cut
            os.pwrite(self._fd, b"%0*d" % (_NUMBER_OCTETS, self._fencing), 0)

    def unlock(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _file_name(name: str) -> str:
    """A file name for any text, one to one: letters, digits and `_.-~` as they are, other octets as `%XX`."""
    encoded = quote(name, safe="")
    if len(encoded) > _MAX_NAME_OCTETS:
        raise ValueError(f"lease name {name[:40]!r}… is longer than {_MAX_NAME_OCTETS} octets")
    return f"{encoded}.lease"
