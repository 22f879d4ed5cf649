"""Who may use an account's index now: everybody, or whoever replaces it.

A lock (`flock`) on the account's folder: shared while a call to the index runs, exclusive while the file is replaced.
So nobody goes on writing to a file that has lost its name, and nobody delivers into a folder that is being read to
make the index anew. Neither is held while nothing happens, so an idle process is in nobody's way; what it has open it
looks at again with its next call (`open_accounts`).

Leaves to others: transactions, which SQLite keeps apart.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maillib.embedded.files import os_errors
from maillib.errors import Transient

_LOOK_AGAIN_S = 0.005


class AccountLock:
    """One holder: several shares of one object are one to the kernel, so whoever shares counts."""

    def __init__(self, folder: Path) -> None:
        """Has a descriptor only while it is held: a process keeps hundreds of these."""
        self.folder = folder
        self._fd = -1

    def share(self) -> None:
        """At once or not at all: a rebuild takes longer than a caller should wait. Raises Transient."""
        if not self._take(fcntl.LOCK_SH):
            raise Transient(f"{self.folder}: the index is being made anew")

    @contextmanager
    def alone(self, *, timeout_s: float) -> Iterator[None]:
        """Nobody else uses the account inside of the block. Raises Transient after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self._take(fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise Transient(f"{self.folder} was in use for {timeout_s:g} s")
            time.sleep(_LOOK_AGAIN_S)  # calls last milliseconds
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take(self, how: int) -> bool:
        """Raises Transient, also when the folder is not there."""
        with os_errors():
            fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, how | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                if isinstance(error, BlockingIOError):
                    return False
                raise
        self._fd = fd
        return True
