"""Accepting connections on listeners that this process did not make, within the limits of the service.

asyncio's own servers are not used: they call `listen` on the socket (which would open again a port that a stop shut)
and lose a connection that is accepted but not yet attached when they close (CPython issue 109564). Here such a
connection is counted from `accept` on, and `settled` waits for it.

At the limit, who has not logged in and has been silent for longest makes room for the next one, be it in a handshake:
idle connections keep nobody out, however many there are. One address alone is refused at a limit of its own before.
"""

import asyncio
import errno
import itertools
import os
import socket
import time
from typing import TYPE_CHECKING

from maillib import maillog
from maillib.runtime.occupancy import mark_of
from maillib.runtime.service import ConnectionInfo, Registry, Service
from maillib.settings.service import Listener

if TYPE_CHECKING:
    from maillib.runtime.worker import Setup

AT_ONCE = 32
"""Connections accepted in one go before others get their turn."""

BACK_OFF_S = 0.25
"""Pause when the process or the host has no descriptors left: what is open goes on, the backlog waits."""

SETTLE_S = 0.05
"""Between the last `accept` and the close of our copies of the sockets."""

HANDSHAKE_TIMEOUT_S = 30.0

ROOM = "silent for longest, makes room for another"

RESERVED_FILES = 64
"""Descriptors of a process that connections cannot take: listeners, databases, the log, messages being written."""


class Acceptor:
    """All listeners of one worker."""

    def __init__(self, service: Service, registry: Registry, setup: "Setup") -> None:
        self._service = service
        self._registry = registry
        self._listeners = setup.listeners
        self._occupancy = setup.occupancy
        self._seat = setup.seat
        self._limits = setup.config.limits
        self._most_here = max(1, self._limits.open_files - RESERVED_FILES)
        self._tls = setup.tls
        self._loop = asyncio.get_running_loop()
        self._accepting = False
        self._attaching: dict[asyncio.Task[None], float] = {}
        """Accepted, but not yet a session; and since when."""
        self._numbers = itertools.count(1)
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._slots: dict[str, int] = {}
        """Connection to its place in the occupancy."""
        registry.on_closed = lambda session: self._leave(session.describe().id)

    def start(self) -> None:
        self._accepting = True
        for listener, sock in self._listeners:
            sock.setblocking(False)
            self._loop.add_reader(sock.fileno(), self._accept, listener, sock)

    def stop(self) -> None:
        """Accept no more from this moment; our copies of the sockets are closed a little later."""
        if self._accepting:
            for _, sock in self._listeners:
                self._loop.remove_reader(sock.fileno())
        self._accepting = False
        self._loop.call_later(SETTLE_S, self._close)

    async def settled(self) -> None:
        """After `stop`: every accepted connection has its session, and the sockets are closed."""
        await self._closed
        if self._attaching:
            await asyncio.wait(self._attaching)

    def _close(self) -> None:
        for _, sock in self._listeners:
            sock.close()
        if not self._closed.done():
            self._closed.set_result(None)

    def _accept(self, listener: Listener, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._loop.remove_reader(sock.fileno())
                if error.errno == errno.EINVAL:
                    return  # shut down: the service stops; the master says so in a moment
                maillog.problem(what=f"accept on {listener.address}", error=str(error))
                self._loop.call_later(BACK_OFF_S, self._accept_again, listener, sock)
                return
            self._admit(connection, str(address[0]), int(address[1]), listener)

    def _accept_again(self, listener: Listener, sock: socket.socket) -> None:
        if self._accepting:
            self._loop.add_reader(sock.fileno(), self._accept, listener, sock)

    def _admit(self, connection: socket.socket, host: str, port: int, listener: Listener) -> None:
        host = host.removeprefix("::ffff:")
        mark = mark_of(host)
        if self._occupancy.taken_by(mark) >= self._limits.connections_per_ip:
            self._refuse(connection, host, listener, "too many connections from this address")
        elif (self._is_full() and not self._make_room()) or (slot := self._seat.take(mark)) is None:
            self._refuse(connection, host, listener, "too many connections")
        else:
            info = ConnectionInfo(
                conn=f"{os.getpid():x}.{next(self._numbers):x}",
                peer_host=host,
                peer_port=port,
                listener=listener,
                since=time.time(),
                tls=listener.tls == "implicit",
                tls_context=self._tls if listener.tls == "starttls" else None,
            )
            self._slots[info.conn] = slot
            task = self._loop.create_task(self._attach(connection, info))
            self._attaching[task] = self._loop.time()
            task.add_done_callback(lambda ended: self._attached(ended, connection, info))

    def _is_full(self) -> bool:
        return self._occupancy.taken() >= self._limits.connections or len(self._slots) >= self._most_here

    def _make_room(self) -> bool:
        """Send away whom we can best do without; False: there is nobody. Its place is free in a moment."""
        silent = [(since, session) for session in self._registry if (since := session.silent_since) is not None]
        oldest = min(silent, key=lambda one: one[0], default=None)
        handshake = next(iter(self._attaching.items()), None)
        if handshake is not None and (oldest is None or handshake[1] < oldest[0]):
            del self._attaching[handshake[0]]
            handshake[0].cancel()
        elif oldest is not None:
            maillog.refused(peer=oldest[1].describe().peer, reason=ROOM)
            oldest[1].dismiss(self._service.refusal)
        else:
            return False
        return True

    def _refuse(self, connection: socket.socket, host: str, listener: Listener, reason: str) -> None:
        """Say why where that can be said without a handshake, and close without waiting."""
        maillog.refused(peer=host, reason=reason)
        with connection:
            if listener.tls != "implicit":
                try:
                    connection.setblocking(False)
                    connection.send(self._service.refusal)
                except OSError:
                    pass  # it did not stay to hear it

    async def _attach(self, connection: socket.socket, info: ConnectionInfo) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._service.protocol(info),
                connection,
                ssl=self._tls if info.tls else None,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if info.tls else None,
            )
        except (OSError, TimeoutError) as error:
            maillog.tls_failed(peer=info.peer, error=str(error) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the top of a connection: it dies, the worker lives
            maillog.bug(what="accepted connection", error=error)
        else:
            return
        connection.close()
        self._leave(info.conn)

    def _attached(self, task: asyncio.Task[None], connection: socket.socket, info: ConnectionInfo) -> None:
        self._attaching.pop(task, None)
        if task.cancelled():  # perhaps before its first step
            maillog.refused(peer=info.peer, reason=ROOM)
            connection.close()
            self._leave(info.conn)

    def _leave(self, conn: str) -> None:
        slot = self._slots.pop(conn, None)
        if slot is not None:
            self._seat.leave(slot)
