"""What connections leave behind in the memory of a process, given back to the system.

Under TLS the event loop has a buffer of 256 KiB for each connection, of which a page or two are used. glibc takes them
from the heap once it has seen some of them freed, and from there on hands the space to others in ever new places: 1,000
connections took 46 KB each instead of 24, and each 1,000 that came and went left 10 to 30 MB behind. With a threshold
that does not move (`cohort.MALLOC`), and the heap trimmed when many have gone, it is 24 KB each, and nothing is left.
"""

import asyncio

MANY = 64
"""Connections that are worth a trim when half of them have gone."""

PAUSE_S = 1.0
"""Others may be about to leave too."""


class HeapTrim:
    """Called for whenever the number of connections has changed."""

    def __init__(self) -> None:
        self._most = 0
        """Connections at the same time since the last trim."""
        self._due: asyncio.TimerHandle | None = None

    def note(self, connections: int) -> None:
        if connections > self._most:
            self._most = connections
        elif self._most >= MANY and connections * 2 <= self._most and self._due is None:
            self._due = asyncio.get_running_loop().call_later(PAUSE_S, self._trim)

    def _trim(self) -> None:
        import ctypes  # a process that never has many connections does without

        self._due = None
        self._most = 0
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
