"""One connection from `accept` to its session: the PROXY header of a balancer, its turn, the handshake of implicit TLS.

Guarantees: not an octet is read that belongs to the protocol or to TLS; whoever does not get on within ARRIVAL_S is
closed; a client that has yet to say its first word costs a socket and one of these, no key is used and no buffer made
for it; what ends here has left its place.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, cast

from maillib import maillog
from maillib.errors import PeerError
from maillib.runtime.admission import Admission, Guest, Place
from maillib.runtime.service import ConnectionInfo, Service
from maillib.runtime.turns import Turns
from maillib.settings.service import AnySettings, Listener

if TYPE_CHECKING:  # with what it imports it is large, and few listeners are behind a balancer
    from maillib.protocols.proxy import HeaderReader

ARRIVAL_S = 30.0
"""For the PROXY header and the handshake together."""

PEEK_OCTETS = 4096
"""More than a PROXY header has."""


@dataclass(slots=True, kw_only=True)
class Hall:
    """What the arrivals of one worker have in common."""

    loop: asyncio.AbstractEventLoop
    service: Service
    settings: AnySettings
    tls: ssl.SSLContext | None
    admission: Admission
    turns: Turns
    on_empty: Callable[[], None]
    """Called when no arrival is left."""
    arrivals: "set[Arrival]" = field(default_factory=set)
    sessions: dict[object, Place] = field(default_factory=dict)
    """The place of each, until it is closed."""
    pid: str = field(default_factory=lambda: f"{os.getpid():x}")
    numbers: "count[int]" = field(default_factory=lambda: count(1))


class Arrival:
    """Steps follow one another by callbacks: a task would cost more than all of them."""

    __slots__ = (
        "_connection",
        "_hall",
        "_header",
        "_host",
        "_listener",
        "_place",
        "_port",
        "_task",
        "_timer",
        "_via",
        "silent_since",
    )

    def __init__(self, hall: Hall, connection: socket.socket, host: str, port: int, listener: Listener) -> None:
        self._hall = hall
        self._connection = connection
        self._host = host
        self._port = port
        self._listener = listener
        self._via: str | None = None
        self._header: HeaderReader | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._place: Place | None = None
        self.silent_since: float | None = hall.loop.time()
        """All of the way in is time in which there is no session yet."""

    def enter(self, header: "HeaderReader | None") -> None:
        """Begin; `header` reads what a connection from a balancer begins with."""
        self._header = header
        try:
            self._place = self._hall.admission.enter(self, self._host, for_another=header is not None)
        except PeerError as error:
            self._refuse(error)
            return
        self._hall.arrivals.add(self)
        if header is not None:
            self._when_readable(self._read_header)
        else:
            self._go_on()

    def dismiss(self, words: bytes) -> None:
        """End, with `words` where they can be said without a handshake."""
        if self._listener.tls != "implicit":
            try:
                self._connection.send(words)
            except OSError:
                pass  # it did not stay to hear it
        self._end()

    # Steps

    def _when_readable(self, step: Callable[[], None]) -> None:
        self._hall.loop.add_reader(self._connection.fileno(), step)
        if self._timer is None:
            self._timer = self._hall.loop.call_later(ARRIVAL_S, self._too_late)

    def _read_header(self) -> None:
        """Peek, and take what belongs to the header: the octets behind it stay in the socket for whoever reads them."""
        assert self._header is not None and self._place is not None
        try:
            seen = self._connection.recv(PEEK_OCTETS, socket.MSG_PEEK)
            if not seen:
                raise PeerError("closed before a PROXY header was there")
            self._connection.recv(self._header.receive(seen))
            if not self._header.done:
                return
        except BlockingIOError:
            return
        except (OSError, PeerError) as error:
            maillog.proxy_failed(peer=self._host, error=str(error))
            self._end()
            return
        self._hall.loop.remove_reader(self._connection.fileno())
        origin, self._header = self._header.origin, None
        if origin is not None:
            self._via, self._host, self._port = self._host, origin.host, origin.port
            try:
                self._hall.admission.rename(self._place, self._host)
            except PeerError as error:
                self._refuse(error)
                return
        self._go_on()

    def _go_on(self) -> None:
        """The client is known."""
        if self._listener.tls == "implicit":
            self._when_readable(self._hello)
        else:
            self._take_turn()

    def _hello(self) -> None:
        self._hall.loop.remove_reader(self._connection.fileno())
        self._take_turn()

    def _take_turn(self) -> None:
        assert self._place is not None
        self._hall.turns.take(self._place.slot.mark, self._attach)

    def _attach(self) -> None:
        """Make the session, and have the loop shake hands for it."""
        if self not in self._hall.arrivals:
            return  # it has been sent away while it waited
        hall, implicit = self._hall, self._listener.tls == "implicit"
        info = ConnectionInfo(
            conn=f"{hall.pid}.{next(hall.numbers):x}",
            peer_host=self._host,
            peer_port=self._port,
            listener=self._listener,
            since=time.time(),
            tls=implicit,
            tls_context=hall.tls if self._listener.tls == "starttls" else None,
            settings=hall.settings,
            via=self._via,
        )
        try:
            session = hall.service.protocol(info)
        except Exception as error:  # noqa: BLE001 - the top of a connection: it dies, the worker lives
            maillog.bug(what="new session", error=error)
            self._end()
            return
        assert self._place is not None
        hall.sessions[session] = self._place
        if not implicit:
            self.silent_since = None
        self._task = hall.loop.create_task(
            hall.loop.connect_accepted_socket(
                lambda: session,
                self._connection,
                ssl=hall.tls if implicit else None,
                ssl_handshake_timeout=ARRIVAL_S if implicit else None,
            )
        )
        self._task.add_done_callback(lambda task: self._attached(task, info, session))

    def _attached(self, task: "asyncio.Task[object]", info: ConnectionInfo, session: asyncio.Protocol) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            assert self._place is not None
            self._place.guest = cast(Guest, session)
            self._gone()
            return
        if isinstance(error, OSError):  # TimeoutError is one
            maillog.tls_failed(peer=info.peer, error=str(error) or type(error).__name__)
        elif isinstance(error, Exception):
            maillog.bug(what="accepted connection", error=error)
        self._hall.sessions.pop(session, None)
        self._end()

    # Ends

    def _refuse(self, reason: PeerError) -> None:
        self._hall.admission.note_refusal(self._host, str(reason))
        self.dismiss(self._hall.service.refusal)

    def _too_late(self) -> None:
        if self._header is not None:
            maillog.proxy_failed(peer=self._host, error="timeout")
        else:
            maillog.tls_failed(peer=self._host, error="timeout")
        self._end()

    def _end(self) -> None:
        if self in self._hall.arrivals and self._task is None:
            self._hall.loop.remove_reader(self._connection.fileno())
        if self._task is not None:
            self._task.cancel()
        self._connection.close()
        if self._place is not None:
            self._hall.admission.leave(self._place)
        self._gone()

    def _gone(self) -> None:
        """It is on its way in no longer."""
        if self._timer is not None:
            self._timer.cancel()
        self._hall.arrivals.discard(self)
        if not self._hall.arrivals:
            self._hall.on_empty()
