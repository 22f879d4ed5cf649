"""Removing bodies that were put and that nobody came back for.

Whoever puts a body appends it and gives it up again; a process that dies in between leaves one behind, and nobody else
has its reference: a message that was appended has octets of its own. Once such a body is older than any session can
be, it goes.

Guarantees: nothing younger than `GRACE` is touched; a sweep that fails is told and done again later.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from maillib import maillog
from maillib.errors import TemporaryError
from maillib.ports.blobs import Blobs

GRACE = timedelta(hours=24)
SWEEP_S = 3600.0
"""A sweep is one listing of a folder that is nearly always empty."""


async def sweep(blobs: Blobs, now: datetime) -> int:
    """How many were removed. Raises TemporaryError."""
    removed = 0
    async for ref in blobs.list(older_than=now - GRACE):
        await blobs.delete(ref)
        maillog.orphan_removed(body=ref)
        removed += 1
    return removed


async def sweep_for_ever(blobs: Blobs, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
    """Sweep, again and again, until cancelled."""
    while True:
        try:
            await sweep(blobs, clock())
        except TemporaryError as error:
            maillog.problem(what="removal of bodies that nobody came back for", error=str(error))
        await asyncio.sleep(SWEEP_S)
