"""How a session of a line-oriented protocol and whatever carries its bytes take turns.

The session (`maillib.sessions`) knows no socket, the carrier (`maillib.runtime.stream`, a test) knows no protocol; this
module is all that they know of each other.
"""

from enum import Enum, auto
from typing import Protocol


class Next(Enum):
    """What a step of a session asks for."""

    AGAIN = auto()
    """A command was served, or a part of one that deserves as much time for the next; more may be buffered."""
    SERVED = auto()
    """The same, and nothing more is buffered: what AGAIN and then NEED_DATA would say."""
    NEED_DATA = auto()
    """No whole command is buffered."""
    START_TLS = auto()
    """The reply that invites the handshake is written."""
    CLOSE = auto()
    """Everything is said."""


class Output(Protocol):
    async def send(self, data: bytes) -> None:
        """Write; returns at once unless the peer is slow. Raises PeerError when the peer is gone or reads nothing.

        What is sent while more input is waiting may leave together with what is sent next.
        """


class Carrier(Output, Protocol):
    """What a session may ask of its connection."""

    @property
    def cipher(self) -> str | None:
        """`TLSv1.3 TLS_AES_256_GCM_SHA384`; None: no TLS."""

    async def pause(self, delay_s: float) -> None:
        """Return after so long: what is sent next is held back. Raises PeerError when the peer is gone."""

    def wake(self) -> None:
        """Have `advance` called as soon as the session has nothing else to do, though nothing has come: there is news
        for a client that is silent. The client's time goes on. From the event loop only.
        """


class StreamSession(Protocol):
    """One connection of a line-oriented protocol. The carrier calls one method at a time.

    Until it first has to wait, a method that is awaited runs in no task of its own: `asyncio.timeout` is not for it.
    """

    @property
    def user(self) -> str | None:
        """Who has logged in."""

    @property
    def doing(self) -> str:
        """A few words for a listing: `login`, `waiting`, `RETR 3`."""

    @property
    def timeout_s(self) -> float:
        """How long the peer may take from now on: for a whole command, or to read some of our output."""

    async def greet(self, output: Carrier) -> Next:
        """Say the first words."""

    def receive(self, data: bytes) -> None:
        """Octets from the peer, called only after NEED_DATA, SERVED or `tls_started`."""

    async def advance(self, output: Carrier) -> Next:
        """Serve at most one command from what was received; after `Carrier.wake`, perhaps none.

        Raises PeerError, after its last words, for what cannot go on; the error's text is the reason in the log.
        """

    def tls_started(self) -> None:
        """TLS is on; forget everything from before it."""

    def goodbye(self) -> bytes | None:
        """The words for an end at the drain limit; empty: none are due; None: not in the middle of a command."""

    def timed_out(self) -> bytes:
        """The words for an end after `timeout_s` of silence; empty: none are due."""

    async def closed(self) -> None:
        """The connection has ended, whatever the way: release what is held."""
