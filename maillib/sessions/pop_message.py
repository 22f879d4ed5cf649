"""A stored message on its way to a POP client, in pieces, as RETR and TOP send it. RFC 1939 §5, §7."""

from maillib.dialog import Output
from maillib.errors import StoreUnusable
from maillib.message.wire import CrlfLines, DotStuffer
from maillib.ports.blobs import Blobs
from maillib.ports.index import StoredMessage
from maillib.protocols.pop3 import TopFilter

CHUNK_OCTETS = 64 * 1024
"""Of a body, read at once: a session never holds more of a message, however big it is."""


class OutgoingMessage:
    """One message. Its first piece is read before anything is said, so that a missing body still gets its -ERR."""

    def __init__(self, opening: bytes, blobs: Blobs, stored: StoredMessage, top: TopFilter | None) -> None:
        self._opening = opening
        self._blobs = blobs
        self._stored = stored
        self._top = top
        self._body_octets = stored.size_octets - len(stored.prefix)
        self._offset = 0
        """Octets of the body that were read."""
        self._first = b""
        self._lines = CrlfLines()
        self._dots = DotStuffer()

    @classmethod
    async def open(
        cls, opening: bytes, blobs: Blobs, stored: StoredMessage, top: TopFilter | None = None
    ) -> "OutgoingMessage":
        """With `top`, only what passes it. Raises NotFound, Transient, StoreUnusable."""
        message = cls(opening, blobs, stored, top)
        message._first = stored.prefix + await message._read()
        return message

    async def send(self, output: Output) -> None:
        """Send the opening, the message and the end of data.

        Raises what `open` raises when the body cannot be read to its end: the client must not get to see an end then.
        """
        wire = self._opening + self._pass(self._lines.feed(self._first))
        while self._offset < self._body_octets and not (self._top and self._top.is_done):
            await output.send(wire)
            wire = self._pass(self._lines.feed(await self._read()))
        await output.send(wire + self._pass(self._lines.finish()) + self._dots.finish())

    def _pass(self, piece: bytes) -> bytes:
        return self._dots.feed(self._top.feed(piece) if self._top else piece)

    async def _read(self) -> bytes:
        wanted = min(CHUNK_OCTETS, self._body_octets - self._offset)
        if not wanted:
            return b""
        piece = await self._blobs.get(self._stored.body, self._offset, wanted)
        if len(piece) != wanted:
            raise StoreUnusable(f"body {self._stored.body} ends before octet {self._body_octets}")
        self._offset += wanted
        return piece
