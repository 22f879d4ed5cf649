"""Bodies in memory: the Blobs port, and the one place where Queue and Index of this engine keep octets.

The other parts of the engine share one object of this class: `store` and `link` are what a new file and a link to it
are on disk.
"""

import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from maillib.errors import MailError, NotFound
from maillib.ports.blobs import BlobRef, WholeBody


class MemoryBlobs:
    """The Blobs port over a dictionary."""

    def __init__(self) -> None:
        self._bodies: dict[BlobRef, bytes] = {}
        self._put: dict[BlobRef, datetime] = {}
        self._numbers = itertools.count(1)

    def store(self, data: bytes) -> BlobRef:
        """Keep `data` until `remove` of its reference."""
        ref = BlobRef(f"memory:{next(self._numbers)}")
        self._bodies[ref] = data
        return ref

    def link(self, ref: BlobRef) -> BlobRef:
        """A second reference to the same octets, independent of the first one. Raises NotFound."""
        return self.store(self.octets(ref))

    def remove(self, ref: BlobRef) -> None:
        """Idempotent."""
        self._bodies.pop(ref, None)
        self._put.pop(ref, None)

    def octets(self, ref: BlobRef) -> bytes:
        """Raises NotFound."""
        try:
            return self._bodies[ref]
        except KeyError:
            raise NotFound(f"{ref!r} is not there") from None

    async def put(self, chunks: AsyncIterator[bytes]) -> BlobRef:
        ref = self.store(b"".join([chunk async for chunk in chunks]))
        self._put[ref] = datetime.now(UTC)
        return ref

    async def put_all(self, bodies: Sequence[WholeBody]) -> Sequence[BlobRef]:
        refs = [self.store(body.octets) for body in bodies]
        self._put.update((ref, datetime.now(UTC)) for ref in refs)
        return refs

    async def size(self, ref: BlobRef) -> int:
        return len(self.octets(ref))

    async def get(self, ref: BlobRef, offset: int, length: int) -> bytes:
        return self.octets(ref)[offset : offset + length]

    async def bodies(self, refs: Sequence[BlobRef]) -> Sequence[bytes | MailError]:
        found: list[bytes | MailError] = []
        for ref in refs:
            try:
                found.append(self.octets(ref))
            except NotFound as error:
                found.append(error)
        return found

    async def delete(self, *refs: BlobRef) -> None:
        for ref in refs:
            if ref in self._bodies and ref not in self._put:
                raise ValueError(f"{ref} belongs to the queue or to a mailbox")
            self.remove(ref)

    async def list(self, *, older_than: datetime) -> AsyncIterator[BlobRef]:
        for ref in [ref for ref, when in self._put.items() if when < older_than]:
            yield ref

    async def close(self) -> None:
        """Nothing to wait for."""
