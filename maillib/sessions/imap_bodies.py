"""Octets of messages for FETCH, and for what is derived from them.

Guarantees: of messages up to WHOLE_OCTETS a session holds at most BATCH_OCTETS at a time, of larger ones one, and a
process so many as LARGE_AT_ONCE, none of them for longer than it takes to look at; what is made of large messages and
held until a client has read it is of as many.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from maillib.errors import MailError
from maillib.ports.blobs import Blobs
from maillib.ports.index import StoredMessage, Uid
from maillib.sessions import octets

BATCH_MESSAGES = 128
BATCH_OCTETS = 512 * 1024
"""Of messages that are read in one go."""

WHOLE_OCTETS = 256 * 1024
"""Larger messages are read one at a time, or in pieces where that is enough."""

LARGE_AT_ONCE = 2


class Bodies:
    """One for all sessions of a process."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._made = asyncio.Semaphore(LARGE_AT_ONCE)

    async def read(self, stored: Sequence[StoredMessage]) -> Sequence[bytes | MailError]:
        """Of one of `groups`, but for large messages; for one that cannot be read, why."""
        return await octets.read(self._blobs, stored)

    @asynccontextmanager
    async def large(self, stored: StoredMessage) -> AsyncIterator[bytes | MailError]:
        """All of a message of any size, as long as the block lasts: it waits for no client, as others wait for it."""
        async with self._large:
            (message,) = await octets.read(self._blobs, [stored])
            yield message

    @asynccontextmanager
    async def made(self) -> AsyncIterator[None]:
        """The block holds what was made of a large message until its client has read it."""
        async with self._made:
            yield

    def pieces(self, stored: StoredMessage, offset: int, length: int) -> AsyncIterator[bytes]:
        """As `octets.pieces`."""
        return octets.pieces(self._blobs, stored, offset, length)


def is_large(stored: StoredMessage) -> bool:
    return stored.size_octets > WHOLE_OCTETS


def groups(stored: Mapping[Uid, StoredMessage]) -> Iterator[list[Uid]]:
    """In order, what may be read in one go; a large message is alone."""
    group, size = list[Uid](), 0
    for uid, message in stored.items():
        if group and (is_large(message) or len(group) >= BATCH_MESSAGES or size + message.size_octets > BATCH_OCTETS):
            yield group
            group, size = [], 0
        group.append(uid)
        size += message.size_octets
        if is_large(message):
            yield group
            group, size = [], 0
    if group:
        yield group
