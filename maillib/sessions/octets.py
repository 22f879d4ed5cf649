"""The octets of stored messages, put together from prefix and body.

Guarantees: a message has as many octets as it was stored with, or is an error: a damaged body is never passed off as a
whole one.
"""

from collections.abc import AsyncGenerator, Sequence

from maillib.errors import MailError, StoreUnusable
from maillib.ports.blobs import Blobs
from maillib.ports.index import StoredMessage

PIECE_OCTETS = 64 * 1024
"""Of what is too large to be held."""


async def read(blobs: Blobs, messages: Sequence[StoredMessage]) -> Sequence[bytes | MailError]:
    """Messages, each small enough to be held; for one that cannot be read, why."""
    bodies = await blobs.bodies([message.body for message in messages])
    return [
        body if isinstance(body, MailError) else _whole(message, body)
        for message, body in zip(messages, bodies, strict=True)
    ]


async def pieces(
    blobs: Blobs, message: StoredMessage, offset: int = 0, length: int | None = None
) -> AsyncGenerator[bytes, None]:
    """A message of any size, or `length` octets of it from `offset`, as far as it has them.

    Raises NotFound, Transient, StoreUnusable at any piece.
    """
    end = message.size_octets if length is None else min(message.size_octets, offset + length)
    prefix_octets = len(message.prefix)
    piece = message.prefix[offset:end]
    at = max(offset, prefix_octets)
    while at < end:
        wanted = min(PIECE_OCTETS, end - at)
        octets = await blobs.get(message.body, at - prefix_octets, wanted)
        if len(octets) != wanted:
            raise _damaged(message)
        yield piece + octets
        piece, at = b"", at + wanted
    if piece:
        yield piece


def _whole(message: StoredMessage, body: bytes) -> bytes | MailError:
    whole = message.prefix + body
    return whole if len(whole) == message.size_octets else _damaged(message)


def _damaged(message: StoredMessage) -> StoreUnusable:
    return StoreUnusable(f"body {message.body} is not as long as it was stored")
