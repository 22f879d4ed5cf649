"""Stored messages on their way to a POP client, as RETR and TOP send them. RFC 1939 §5, §7.

Guarantees: small messages are read whole, and when a client takes them in order, some at a time and ahead of it; of a
big one a session holds no more than a piece, however big it is.
"""

from collections.abc import AsyncGenerator

from maillib.errors import MailError, NotFound
from maillib.message.downgrade import Downgrade
from maillib.message.wire import CrlfLines, DotStuffer
from maillib.ports.blobs import Blobs
from maillib.protocols.pop3 import TopFilter
from maillib.sessions import octets
from maillib.sessions.maildrop import Maildrop

SMALL_OCTETS = 64 * 1024
"""Messages up to this are read whole, others in pieces."""

AHEAD_MESSAGES = 128
"""Read in one go at most. A call into a thread then costs a message next to nothing."""

AHEAD_OCTETS = 256 * 1024
"""Of messages that are read ahead in one session: five hundred clients at once stay within 128 MiB."""


class Wire:
    """What a message passes on its way out, in pieces cut anywhere."""

    def __init__(self, top: TopFilter | None, *, utf8: bool) -> None:
        """`top`: only what passes it; None: all. `utf8`: the client can read UTF-8 in a header. RFC 6856 §2."""
        self._lines = CrlfLines()
        self._downgrade = None if utf8 else Downgrade()
        self._top = top
        self._dots = DotStuffer()

    @property
    def is_done(self) -> bool:
        """Nothing more will pass."""
        return self._top is not None and self._top.is_done

    @property
    def growth(self) -> int:
        """Octets that the message has more than were stored; known when SMALL_OCTETS of it, or all, have passed."""
        return self._downgrade.growth if self._downgrade is not None else 0

    def feed(self, piece: bytes) -> bytes:
        return self._pass(self._lines.feed(piece))

    def finish(self) -> bytes:
        """What is left, and the end of data."""
        rest = self._pass(self._lines.finish())
        if self._downgrade is not None:
            rest += self._shown(self._downgrade.finish())
        return rest + self._dots.finish()

    def _pass(self, piece: bytes) -> bytes:
        return self._shown(self._downgrade.feed(piece) if self._downgrade is not None else piece)

    def _shown(self, piece: bytes) -> bytes:
        return self._dots.feed(self._top.feed(piece) if self._top is not None else piece)


class Messages:
    """The messages of one session's maildrop."""

    def __init__(self, maildrop: Maildrop, blobs: Blobs) -> None:
        self._maildrop = maildrop
        self._blobs = blobs
        self._ahead: dict[int, bytes | MailError] = {}
        """Small messages that were read, or why that failed."""
        self._expected = 0
        """The number that a client asks for next if it goes on in order."""
        self._window = 1
        """Messages to read at once; doubles as long as the client goes on in order."""

    def at_hand(self, number: int) -> bytes | None:
        """A small message that was read ahead; None: `small` has to read it. Raises Transient, StoreUnusable."""
        message = self._ahead.pop(number, None)
        if message is not None:
            self._expected = number + 1
            if isinstance(message, MailError):
                raise message
        return message

    async def small(self, number: int) -> bytes:
        """A message of at most SMALL_OCTETS that is not at hand. Raises NotFound, Transient, StoreUnusable."""
        self._window = min(2 * self._window, AHEAD_MESSAGES) if number == self._expected else 1
        self._ahead = await self._read(self._within_limits(number))
        message = self.at_hand(number)
        if message is None:
            raise NotFound(f"message {number} was removed by somebody else")
        return message

    def _within_limits(self, number: int) -> list[int]:
        """`number` and what may be read with it."""
        numbers, left = list[int](), AHEAD_OCTETS
        for other, size in self._maildrop.following(number, self._window):
            left -= size
            if numbers and (left < 0 or size > SMALL_OCTETS):
                break
            numbers.append(other)
        return numbers

    async def _read(self, numbers: list[int]) -> dict[int, bytes | MailError]:
        stored = await self._maildrop.stored(numbers)
        return dict(zip(stored, await octets.read(self._blobs, list(stored.values())), strict=True))

    async def pieces(self, number: int) -> AsyncGenerator[bytes, None]:
        """A message of any size. Raises as `small` does, at any piece."""
        stored = (await self._maildrop.stored([number])).get(number)
        if stored is None:
            raise NotFound(f"message {number} was removed by somebody else")
        async for piece in octets.pieces(self._blobs, stored):
            yield piece
