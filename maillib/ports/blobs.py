"""Blobs: immutable octets by reference. A body is written once, whatever the number of its recipients."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType, Protocol

from maillib.errors import MailError

BlobRef = NewType("BlobRef", str)
"""Opaque outside of the engine that made it."""


@dataclass(frozen=True, slots=True)
class WholeBody:
    """One that is at hand."""

    octets: bytes = field(repr=False)
    date: datetime
    """The internal date that the message will have."""


class Blobs(Protocol):
    async def put(self, chunks: AsyncIterator[bytes]) -> BlobRef:
        """Store the octets; durable on return. Raises StoreFull, Transient."""

    async def put_all(self, bodies: Sequence[WholeBody]) -> Sequence[BlobRef]:
        """Store bodies, all or none, for an append that follows at once: they are durable when that has returned.

        One call costs little more than one body's sync. Raises StoreFull, Transient.
        """

    async def size(self, ref: BlobRef) -> int:
        """Octets. Raises NotFound."""

    async def get(self, ref: BlobRef, offset: int, length: int) -> bytes:
        """At most `length` octets from `offset`; shorter only at the end. Raises NotFound."""

    async def bodies(self, refs: Sequence[BlobRef]) -> Sequence[bytes | MailError]:
        """All octets of several bodies, each small enough to be held; for one that cannot be read, what `get` raises.

        One call costs little more than one `get`.
        """

    async def delete(self, *refs: BlobRef) -> None:
        """Give up bodies that were put; messages appended with them keep their octets. Idempotent."""

    def list(self, *, older_than: datetime) -> AsyncIterator[BlobRef]:
        """Bodies put before that and not deleted, those of a put that was broken off too; for sweeping orphans."""
