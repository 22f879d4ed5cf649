"""Whose turn it is to begin: new connections, a few in each round of the event loop, one address after the other.

To begin is the dearest step of most connections: a session is made and greeted, under TLS a key is used. Who connects
a hundred times a second elsewhere takes the turns of nobody; where nobody else waits, they are all theirs.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable

IN_A_ROUND = 8
"""Some milliseconds of work, even when all of them are handshakes; then sessions that are open get theirs."""


class Turns:
    """One for all listeners of a process."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Hashable, deque[Callable[[], None]]] = {}
        """By client; whose turn comes next is in front."""
        self._left = IN_A_ROUND
        self._round_follows = False

    def take(self, client: Hashable, begin: Callable[[], None]) -> None:
        """Call `begin` when it is the client's turn: at once, if this round has one left and nobody waits."""
        if not self._round_follows:
            self._round_follows = True
            self._loop.call_soon(self._round)
        if self._left and not self._waiting:
            self._left -= 1
            begin()
        else:
            self._waiting.setdefault(client, deque()).append(begin)

    def _round(self) -> None:
        self._left = IN_A_ROUND
        while self._left and self._waiting:
            client = next(iter(self._waiting))
            queue = self._waiting.pop(client)
            begin = queue.popleft()
            if queue:
                self._waiting[client] = queue  # at the end
            self._left -= 1
            begin()
        self._round_follows = bool(self._waiting) or self._left < IN_A_ROUND
        if self._round_follows:
            self._loop.call_soon(self._round)
