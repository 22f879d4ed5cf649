"""The Queue port over the spool directory.

Guarantees: what the port says, for any number of processes at once; the event loop never waits for the disk. Callers
need not think of batches: commits that come together are made durable together, and messages that end together go
together.

A process that only queues (SMTP, the command line) opens this too: it becomes a claimer with its first `claim`.

Leaves to others: the folders (`queue_folders`), accepting (`queue_drafts`, `queue_accept`), taking and ending messages
(`queue_claimer`, `queue_claims`), the envelope's text (`queue_envelope`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from maillib.embedded import queue_check
from maillib.embedded.blobs import spool_ref
from maillib.embedded.queue_check import SpoolFindings
from maillib.embedded.queue_claimer import Claimer
from maillib.embedded.queue_drafts import FileDraft, Intake
from maillib.embedded.queue_envelope import StoredEnvelope
from maillib.embedded.queue_folders import Entry, SpoolFolders
from maillib.embedded.queue_ids import new_id, time_of
from maillib.embedded.queue_wake import Bell
from maillib.embedded.threads import Threads
from maillib.errors import LocalError, NotFound, StoreUnusable
from maillib.ports.queue import Claim, Draft, Envelope, QueueId, QueueItem, QueueState

DAY_S = 86_400.0

_THREADS = 8
"""They wait for the disk: one for those who commit, one for those who end, the others for long messages."""

_BROWSE_ENTRIES = 200
"""Envelopes read in one call into a thread."""


class EmbeddedQueue:
    """The Queue port; one object per process."""

    def __init__(
        self, state_dir: Path, *, clock: Callable[[], float] = time.time, longest_wait_s: float = DAY_S
    ) -> None:
        """`longest_wait_s`: no attempt is put off for longer; what seems to be comes of a clock that was set.

        Raises ConfigError when the spool is not ours alone, cannot be written, or is on a network file system.
        """
        self._clock = clock
        self._longest_wait_s = longest_wait_s
        self._folders = SpoolFolders(state_dir)
        try:
            self._bell = Bell(self._folders.root)
        except BaseException:
            self._folders.close()
            raise
        self._threads = Threads("queue", _THREADS)
        self._intake = Intake(self._folders, self._bell, self._threads)
        self._becoming = asyncio.Lock()
        self._claimer: Claimer | None = None

    def draft(self, queue_id: QueueId | None = None) -> Draft:
        return FileDraft(self._intake, queue_id or new_id(self._clock()), again=queue_id is not None)

    async def check_room(self, octets: int) -> None:
        if not self._intake.room.is_fresh:
            await self._threads.run(self._intake.room.look)
        self._intake.room.ask(octets)

    async def claim(self, limit: int) -> Sequence[Claim]:
        async with self._becoming:
            if self._claimer is None:
                self._claimer = await self._threads.run(self._become_claimer)
        return [_claim_of(stored) for stored in await self._claimer.claim(limit)]

    async def wait(self, timeout_s: float) -> None:
        if self._claimer is not None:  # else nothing has been looked for yet
            await self._claimer.wait(timeout_s)

    async def done(self, claim: Claim) -> None:
        await self._claiming().finish(claim.id)

    async def retry(self, claim: Claim, envelope: Envelope, next_attempt: datetime) -> None:
        await self._claiming().defer(_stored(claim, envelope), next_attempt.timestamp())

    async def update(self, claim: Claim, envelope: Envelope) -> Claim:
        stored = _stored(claim, envelope)
        await self._threads.run(self._claiming().claims.update, stored)
        return _claim_of(stored)

    async def release(self, claim: Claim) -> None:
        def release() -> None:
            self._claiming().claims.release(claim.id)
            self._bell.ring([claim.id])

        await self._threads.run(release)

    async def browse(self) -> AsyncIterator[QueueItem]:
        entries = self._folders.entries()
        while (items := await self._threads.run(self._items, entries)) is not None:
            for item in items:
                yield item

    async def show(self, queue_id: QueueId) -> QueueItem:
        def show() -> QueueItem:
            entry = self._folders.find(queue_id)
            item = None if entry is None else self._item(entry)
            if item is None:
                raise NotFound(f"no message {queue_id} is queued")
            return item

        return await self._threads.run(show)

    async def retry_now(self, queue_id: QueueId) -> None:
        def retry_now() -> None:
            self._folders.retry_now(queue_id)
            self._bell.ring([queue_id])

        await self._threads.run(retry_now)

    async def remove(self, queue_id: QueueId) -> None:
        await self._threads.run(self._folders.remove, queue_id)

    async def check(self) -> SpoolFindings:
        """What is damaged, and what leftovers of crashes were removed. Reads every envelope."""
        return await self._threads.run(queue_check.check, self._folders, self._clock())

    async def close(self) -> None:
        """Return when what was begun has ended and nothing is claimed any more. Idempotent."""
        await self._intake.close()
        claimer, self._claimer = self._claimer, None
        if claimer is not None:
            await claimer.close()
        await self._threads.close()
        self._folders.close()

    def _claiming(self) -> Claimer:
        if self._claimer is None:
            raise LocalError("this queue has no claims")
        return self._claimer

    # In a thread

    def _become_claimer(self) -> Claimer:
        return Claimer(self._folders, self._bell, self._threads, clock=self._clock, longest_wait_s=self._longest_wait_s)

    def _items(self, entries: Iterator[Entry]) -> list[QueueItem] | None:
        """The next ones; None: there are no more."""
        batch = list(islice(entries, _BROWSE_ENTRIES))
        return [item for entry in batch if (item := self._item(entry)) is not None] if batch else None

    def _item(self, entry: Entry | None) -> QueueItem | None:
        """None: it is gone."""
        for _ in range(3):  # it may move while we look; not again and again
            if entry is None:
                return None
            try:
                return self._read_item(entry)
            except NotFound:
                entry = self._folders.find(entry.id)
        return None

    def _read_item(self, entry: Entry) -> QueueItem:
        envelope: Envelope | None = None
        size_octets = 0
        next_attempt = self._folders.deferred_until(entry.id) if entry.state is QueueState.DEFERRED else None
        with suppress(StoreUnusable):
            stored = self._folders.envelope(entry.folder, entry.name, entry.id)
            envelope, size_octets = stored.envelope, stored.size_octets
        return QueueItem(
            id=entry.id,
            state=entry.state,
            size_octets=size_octets,
            queued=_utc(time_of(entry.id)) if envelope is None else envelope.queued,
            envelope=envelope,
            next_attempt=None if next_attempt is None else _utc(next_attempt),
        )


def _stored(claim: Claim, envelope: Envelope) -> StoredEnvelope:
    """With the count of recoveries at 0 again: something has been achieved."""
    return StoredEnvelope(id=claim.id, envelope=envelope, size_octets=claim.size_octets)


def _claim_of(stored: StoredEnvelope) -> Claim:
    return Claim(id=stored.id, envelope=stored.envelope, body=spool_ref(stored.id), size_octets=stored.size_octets)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
