"""Whether the spool's file system has room for new mail.

Guarantees: what comes in leaves `RESERVE_OCTETS` and `RESERVE_INODES` free, so that what is here already can go on:
envelopes, indexes and logs need room too. After space has come back it is seen within `FRESH_S`.
"""

import os
import sys
import time

from maillib.embedded.files import os_errors
from maillib.embedded.queue_files import Folder
from maillib.errors import StoreFull, Transient

RESERVE_OCTETS = 2 * 1024 * 1024
RESERVE_INODES = 64

FRESH_S = 0.5
"""How long one look serves those who only ask."""

_FILES = 2
"""Of a message: body and envelope."""

_ENVELOPE_OCTETS = 4096
"""A block: enough for most."""


class Room:
    """For any thread."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._octets = self._inodes = 0
        """To be had, above the reserve."""
        self._fresh_until = 0.0
        """By the monotonic clock."""

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() < self._fresh_until

    def look(self) -> None:
        """One quick system call. Raises Transient: nothing can be written at all."""
        with os_errors():
            free = os.statvfs(self._folder.fd)
        if free.f_flag & os.ST_RDONLY:
            raise Transient(f"{self._folder.path}: the file system is mounted read-only")
        self._octets = free.f_bavail * free.f_frsize - RESERVE_OCTETS
        self._inodes = free.f_favail - RESERVE_INODES if free.f_files else sys.maxsize  # btrfs has no number
        self._fresh_until = time.monotonic() + FRESH_S

    def ask(self, octets: int) -> None:
        """Raises StoreFull: by the last look, a message of that size does not fit."""
        if octets + _ENVELOPE_OCTETS > self._octets or self._inodes < _FILES:
            raise StoreFull(
                f"{self._folder.path}: no room for {octets} octets; the last {RESERVE_OCTETS} of the file system, and "
                f"{RESERVE_INODES} of its inodes, are kept for mail that is here already"
            )
