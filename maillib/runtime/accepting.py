"""Accepting connections on listeners that this process did not make.

asyncio's own servers are not used: they call `listen` on the socket (which would open again a port that a stop shut)
and lose a connection that is accepted but not yet attached when they close (CPython issue 109564). Here such a
connection is counted from `accept` on, and `settled` waits for it.

Who gets in is `admission`'s to say, and what happens until there is a session, `arrival`'s.
"""

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

from maillib import maillog
from maillib.networks import Networks
from maillib.runtime.admission import Admission
from maillib.runtime.arrival import Arrival, Hall
from maillib.runtime.listeners import set_options
from maillib.runtime.service import Registry, Service, Session
from maillib.runtime.turns import Turns
from maillib.settings.service import Listener, ServiceConfig

if TYPE_CHECKING:
    from maillib.runtime.worker import Setup

FEW_AT_ONCE = 2
"""Connections accepted in one go, as a rule: the next may be for another process, which has nothing to do."""

MANY_AT_ONCE = 64
"""The same in a flood, when it has doubled from one go to the next: whom it has to refuse, it refuses quickly."""

BACK_OFF_S = 0.25
"""Pause when the process or the host has no descriptors left: what is open goes on, the backlog waits."""

SETTLE_S = 0.05
"""Between the last `accept` and the close of our copies of the sockets."""


class Acceptor:
    """All listeners of one worker."""

    def __init__(self, service: Service, registry: Registry, setup: "Setup") -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = setup.listeners
        self._hall = Hall(
            loop=self._loop,
            service=service,
            settings=setup.config.settings,
            tls=setup.tls,
            admission=Admission(
                setup.config.limits,
                setup.occupancy,
                setup.seat,
                service.refusal,
                processes=setup.config.processes,
            ),
            turns=Turns(),
            on_empty=self._check_settled,
        )
        self._at_once = FEW_AT_ONCE
        self._short = False
        """Of descriptors, and that is in the log already."""
        self._accepting = False
        self._closed = False
        self._settled: asyncio.Future[None] = self._loop.create_future()
        registry.on_closed = self._session_closed

    def start(self) -> None:
        self._accepting = True
        for listener, sock in self._listeners:
            sock.setblocking(False)
            set_options(sock)
            self._listen(listener, sock)

    def retune(self, config: ServiceConfig, listeners: list[tuple[Listener, socket.socket]]) -> None:
        """These listeners, limits and settings from now on. What waits unaccepted on a listener that stays, waits."""
        leaving = [sock for _, sock in self._listeners]
        for sock in leaving:
            self._loop.remove_reader(sock.fileno())
        self._listeners = listeners
        self._hall.settings = config.settings
        self._hall.admission.take_limits(config.limits, processes=config.processes)
        self.start()
        self._loop.call_later(SETTLE_S, _close, leaving)

    def stop(self) -> None:
        """Accept no more from this moment; our copies of the sockets are closed a little later."""
        if self._accepting:
            for _, sock in self._listeners:
                self._loop.remove_reader(sock.fileno())
        self._accepting = False
        self._loop.call_later(SETTLE_S, self._close)

    async def settled(self) -> None:
        """After `stop`: every accepted connection has its session, and the sockets are closed."""
        await self._settled

    def _close(self) -> None:
        _close([sock for _, sock in self._listeners])
        self._closed = True
        self._check_settled()

    def _check_settled(self) -> None:
        if self._closed and not self._hall.arrivals and not self._settled.done():
            self._settled.set_result(None)

    def _session_closed(self, session: Session) -> None:
        place = self._hall.sessions.pop(session, None)
        if place is not None:
            self._hall.admission.leave(place)

    def _listen(self, listener: Listener, sock: socket.socket) -> None:
        if self._accepting and sock.fileno() >= 0:  # a pause may outlast a listener
            balancers = Networks(listener.proxy_from)
            self._loop.add_reader(sock.fileno(), self._accept, listener, sock, balancers)

    def _accept(self, listener: Listener, sock: socket.socket, balancers: Networks) -> None:
        for _ in range(self._at_once):
            try:
                connection, address = sock.accept()
            except BlockingIOError:
                self._at_once = FEW_AT_ONCE
                return
            except (InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._loop.remove_reader(sock.fileno())
                if error.errno == errno.EINVAL:
                    return  # shut down: the service stops; the master says so in a moment
                if not self._short:
                    self._short = True
                    maillog.problem(what=f"accept on {listener.address}", error=str(error))
                self._loop.call_later(BACK_OFF_S, self._listen, listener, sock)
                return
            self._short = False
            connection.setblocking(False)
            host = str(address[0]).removeprefix("::ffff:")
            arrival = Arrival(self._hall, connection, host, int(address[1]), listener)
            if balancers and host in balancers:
                from maillib.protocols.proxy import HeaderReader

                arrival.enter(HeaderReader())
            else:
                arrival.enter(None)
        self._at_once = min(2 * self._at_once, MANY_AT_ONCE)


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
