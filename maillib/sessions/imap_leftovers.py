"""Bodies that are not needed any more, given up while nobody waits for it: each APPEND leaves one.

Guarantees: they go soon, several in one go, and before `close` returns; where that fails the sweeper finds them.
"""

import asyncio

from maillib import maillog
from maillib.errors import TemporaryError
from maillib.ports.blobs import BlobRef, Blobs


class Leftovers:
    """Of all sessions of a process."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._refs: list[BlobRef] = []
        self._task: asyncio.Task[None] | None = None

    def give_up(self, *refs: BlobRef) -> None:
        self._refs += refs
        if self._refs and self._task is None:
            self._task = asyncio.create_task(self._delete())

    async def _delete(self) -> None:
        while self._refs:
            refs, self._refs = self._refs, []
            try:
                await self._blobs.delete(*refs)
            except TemporaryError as error:
                maillog.problem(what="bodies that are not needed any more", error=str(error))
        self._task = None

    async def close(self) -> None:
        """Idempotent."""
        if self._task is not None:
            await self._task
