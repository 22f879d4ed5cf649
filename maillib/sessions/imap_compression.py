"""A session's connection from COMPRESS on. RFC 4978."""

from maillib.dialog import Carrier
from maillib.protocols.imap.deflate import Deflate


class Compressed:
    """A carrier on which everything is compressed."""

    __slots__ = ("_carrier", "deflate")

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self.deflate = Deflate()

    @property
    def cipher(self) -> str | None:
        return self._carrier.cipher

    async def send(self, data: bytes) -> None:
        await self._carrier.send(self.deflate.compress(data))

    async def pause(self, delay_s: float) -> None:
        await self._carrier.pause(delay_s)

    def wake(self) -> None:
        self._carrier.wake()
