"""The contract between the runtime and what a worker script wires in: services, sessions and their registry."""

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from maillib.settings.service import AnySettings, Listener, ServiceConfig


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What is known about a connection when it is accepted (after the handshake, on a listener with implicit TLS)."""

    conn: str
    """Names the connection in logs and listings; unique on this host."""
    peer_host: str
    peer_port: int
    listener: Listener
    since: float
    """Unix time."""
    tls: bool
    """TLS is on already."""
    tls_context: ssl.SSLContext | None
    """For STARTTLS; None where the listener has no certificate."""
    settings: AnySettings
    """As they are now: a service runs on when they change."""
    via: str | None = None
    """The balancer that connected for it and told us of it by the PROXY protocol; None: it connected itself."""
    began: float = field(default_factory=time.monotonic)
    """Monotonic, for what the clock of the wall must not change."""

    @property
    def peer(self) -> str:
        return f"[{self.peer_host}]:{self.peer_port}" if ":" in self.peer_host else f"{self.peer_host}:{self.peer_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """One row of `postroom sessions`: who, from where, since when, doing what."""

    id: str
    user: str | None
    peer: str
    listener: str
    tls: bool
    since: float
    doing: str


class Session(Protocol):
    """Anything a drain has to wait for: a connection, or one delivery of the spool."""

    def describe(self) -> SessionInfo: ...

    def goodbye(self) -> None:
        """The drain limit has passed: say so at the next command boundary (at once when idle) and end. Idempotent."""

    def abort(self) -> None:
        """End at once, without a word."""

    @property
    def silent_since(self) -> float | None:
        """Since when, by the loop's clock, we wait for a client that has not logged in; None: that is not so.

        Who has been silent for longest is the first to go when there is no room left.
        """

    def dismiss(self, words: bytes) -> None:
        """End at once, with `words` where they can be said in clear and in their place."""


class Registry:
    """The open sessions of this process. `closed` has to follow every `opened`, exactly once."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.on_closed: Callable[[Session], None] = lambda session: None

    def opened(self, session: Session) -> None:
        self._sessions[id(session)] = session
        self._idle.clear()

    def closed(self, session: Session) -> None:
        if self._sessions.pop(id(session), None) is None:
            return
        self.on_closed(session)
        if not self._sessions:
            self._idle.set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    async def wait_idle(self) -> None:
        await self._idle.wait()


class Service(Protocol):
    """What one worker process serves."""

    @property
    def refusal(self) -> bytes:
        """What a client over the limits is told before it is closed: a whole line (`421 …`, `-ERR …`)."""

    def protocol(self, info: ConnectionInfo) -> asyncio.Protocol:
        """The asyncio protocol for one accepted connection, which is its `Session` too.

        It registers itself in the Registry it was built with.
        """

    async def run(self, stopping: asyncio.Event) -> None:
        """Work besides connections, until `stopping` is set. A service that has none waits for it.

        Returning early or raising ends the worker.
        """

    async def close(self) -> None:
        """All sessions have ended: close engines."""


class ConnectionService:
    """A `Service` that is nothing but its connections."""

    def __init__(
        self,
        *,
        refusal: bytes,
        new_connection: Callable[[ConnectionInfo], asyncio.Protocol],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._refusal = refusal
        self._new_connection = new_connection
        self._close = close

    @property
    def refusal(self) -> bytes:
        return self._refusal

    def protocol(self, info: ConnectionInfo) -> asyncio.Protocol:
        return self._new_connection(info)

    async def run(self, stopping: asyncio.Event) -> None:
        await stopping.wait()

    async def close(self) -> None:
        await self._close()


Build = Callable[[ServiceConfig, Registry], Awaitable[Service]]
"""Opens engines and returns the service; heavy imports belong inside it, so that a master never pays for them."""


def say_and_abort(transport: asyncio.Transport, words: bytes, *, tls: bool) -> None:
    """What `Session.dismiss` does to a connection: an abort alone would drop what was only just written."""
    if not tls and not transport.is_closing() and not transport.get_write_buffer_size():
        with contextlib.suppress(OSError):  # it did not stay to hear it
            os.write(transport.get_extra_info("socket").fileno(), words)
    transport.abort()
