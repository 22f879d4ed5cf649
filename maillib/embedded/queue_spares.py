"""Files of envelopes that have had their time, used again for new ones.

Making a file costs more than writing into one that exists: some 30 µs on a quiet ext4, up to 300 where many were
removed in the last minutes (docs/decisions/0005-batches-in-the-spool.md). So whoever ends a message leaves its
envelope's file in spare/, and whoever accepts one takes it from there.

Guarantees: of several processes one gets a file; nobody ever writes to a file that is, or may still be, a message's
envelope; a file in spare/ means nothing, so any of them may be removed at any time. Nothing here waits for the disk.
"""

import fcntl
import os
import threading
import time
from contextlib import suppress

from maillib.embedded.queue_files import Folder
from maillib.ports.queue import QueueId

_MOST = 256
"""Files kept: as many as are accepted while a spool works through what it has claimed."""

_MOST_OCTETS = 4096
"""Of a file that is kept: a block, which most envelopes fill."""

_LOOK_S = 0.1
"""Between two listings of the folder by one process."""


class Spares:
    """For any thread."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._names: list[str] = []
        """That were there at the last look; others may have taken some."""
        self._room = 0
        """How many more may be kept, by the last look."""
        self._look_at = 0.0
        """By the monotonic clock."""

    def take(self, target: Folder, name: str) -> int | None:
        """A descriptor to write to a file that is now `name` in `target`, locked (shared) and with its old octets;
        None: there is no spare file.
        """
        while (spare := self._next()) is not None:
            with suppress(OSError):  # somebody else has it, or it is none of ours: there are other ways to get a file
                return self._take(spare, target, name)
        return None

    def keep(self, folder: Folder, name: str, queue_id: QueueId) -> bool:
        """Take a file whose name as the envelope of that message has gone for good; False: it is to be removed.
        Raises OSError.
        """
        with self._lock:
            if self._room <= 0:
                self._look()
            if self._room <= 0:
                return False
            self._room -= 1
        if folder.status(name).st_size > _MOST_OCTETS:
            return False
        # The name is of this message, and no message ends twice: within spare/ a name never means another file.
        folder.rename(name, self._folder, queue_id)
        return True

    def _take(self, spare: str, target: Folder, name: str) -> int:
        fd = os.open(spare, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder.fd)
        try:
            if os.fstat(fd).st_nlink != 1:  # a backup by links, say; or what a power cut has left of the last rename
                self._folder.remove(spare)
                raise FileExistsError(spare)
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # before it has a name that the sweep may look at
            self._folder.rename(spare, target, name)  # of two that have come so far, one
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _next(self) -> str | None:
        with self._lock:
            if not self._names:
                self._look()
            return self._names.pop() if self._names else None

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._names = self._folder.names()
            self._room = _MOST - len(self._names)
