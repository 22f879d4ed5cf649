"""One change that the running workers take: new values, and listeners that open or close. Nobody drains, nobody starts.

Steps: open listeners that are new → hand configuration and listeners to each worker → all have taken them. What fails
before the second step changes nothing. A worker that dies meanwhile is replaced by one with the new configuration; one
that does not answer gets no second chance: the change goes on as a reload, with new workers.

Leaves to others: which keys may be changed so (`settings.change`), and what a worker does with them (`worker`).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from maillib.command_socket import Client
from maillib.errors import ConfigError, MailError
from maillib.runtime import listeners
from maillib.runtime.takeover import Sockets
from maillib.settings.change import Change, between, dearest
from maillib.settings.service import ServiceConfig, ServiceFile

TAKEN_S = 5.0
"""How long a worker may take to take it; it needs a millisecond."""


class Host(Protocol):
    """What a retuning needs of its master."""

    def listening_on(self) -> set[tuple[str, int]]: ...

    def retune(self, config: Path, file: ServiceFile, opened: Sockets) -> set[int]:
        """Hand it to the workers; the pids of those that will answer."""

    def retuning_done(self) -> None: ...


def refuse_what_needs_more(before: ServiceConfig, after: ServiceConfig, room: int) -> None:
    """Raises ConfigError when running workers cannot take `after`; `room`: connections that can be counted."""
    needed = dearest(between(before, after))
    if needed is not None and needed.rank > Change.RELISTEN.rank:
        raise ConfigError(f"running workers cannot take this: it needs a {needed}")
    if after.limits.connections > room:
        raise ConfigError(f"running workers can count {room} connections; for more a reload is needed")


class Retuning:
    def __init__(
        self, config: Path, file: ServiceFile, *, client: Client | None, master: Host, instead: Callable[[], None]
    ) -> None:
        """`instead` begins the reload, should a worker not answer."""
        self.give_up_at = time.monotonic() + TAKEN_S
        self._config = config
        self._file = file
        self._client = client
        self._master = master
        self._instead = instead
        self._awaited: set[int] = set()

    def begin(self) -> None:
        """Raises MailError when a new listener cannot be opened; then nothing has changed."""
        opened: Sockets = {}
        try:
            for listener in self._file.service.listen:
                address = (listener.host, listener.port)
                if address not in self._master.listening_on():
                    opened[address] = listeners.open_listener(listener)
        except MailError:
            for sock in opened.values():
                listeners.refuse_from_now_on(sock)
            raise
        self._awaited = self._master.retune(self._config, self._file, opened)
        self._look()

    def gone(self, pid: int) -> None:
        """That worker has taken it, or has ended."""
        if pid in self._awaited:
            self._awaited.discard(pid)
            self._look()

    def tick(self, now: float) -> None:
        if now >= self.give_up_at and self._awaited:
            self._awaited.clear()
            self._instead()

    def abandon(self) -> None:
        """The service is stopping."""
        if self._client is not None:
            self._client.fail("the service is stopping")

    def _look(self) -> None:
        if self._awaited:
            return
        self._master.retuning_done()
        if self._client is not None:
            self._client.answer({"ok": True})
