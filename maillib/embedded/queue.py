"""The Queue port over the spool directory.

Guarantees: what the port says, for any number of processes at once; no call blocks the event loop; a start reads names
and times only, and what a message costs does not grow with the number of those that wait.

A process that only queues (SMTP, the command line) opens this too: it becomes a claimer with its first `claim`.

Leaves to others: the folders and every rename (`queue_folders`), the envelope's text (`queue_envelope`), which message
is next (`queue_schedule`).
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from maillib import maillog
from maillib.embedded import queue_check, queue_wake
from maillib.embedded.blobs import spool_ref
from maillib.embedded.files import os_errors, write_all
from maillib.embedded.queue_check import SpoolFindings
from maillib.embedded.queue_envelope import StoredEnvelope
from maillib.embedded.queue_folders import Entry, SpoolFolders
from maillib.embedded.queue_ids import new_id, time_of
from maillib.embedded.queue_schedule import Schedule
from maillib.embedded.sqlite import Threads
from maillib.errors import NotFound, StoreUnusable, TemporaryError
from maillib.ports.queue import Claim, Draft, Envelope, QueueId, QueueItem, QueueState

RESCAN_S = 60.0
"""How often a claimer looks for what nobody told it of: files put there by hand, processes that died."""

SWEEP_S = 3600.0
"""How often it removes leftovers of crashes."""

_THREADS = 8
"""They wait for the disk, and the more wait together, the more messages one of the disk's own commits serves."""

_PIECE_OCTETS = 64 * 1024
"""A draft keeps so much in memory: most messages are written with one call into a thread."""

_BROWSE_ENTRIES = 200
"""Envelopes read in one call into a thread."""

_CLOCK_GRAIN_S = 0.001
"""File times are integers of their own scale: equal ones may differ by less than this."""


class EmbeddedQueue:
    """The Queue port; one object per process."""

    def __init__(self, state_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Raises ConfigError when the spool is not ours alone, or on a network file system."""
        self._clock = clock
        self._folders = SpoolFolders(state_dir)
        self._fifo = self._folders.root / "wake"
        queue_wake.make_fifo(self._fifo)
        self._threads = Threads("queue", _THREADS)
        self._accepted = _GroupSync(self._threads, self._sync_accepted)
        # What follows is used by a claimer only.
        self._lock = threading.Lock()
        """For the schedule."""
        self._schedule = Schedule()
        self._must_look = False
        """Something is in incoming/ that the schedule may not know."""
        self._ears = -1
        """Our end of the FIFO."""
        self._rescan_at = self._sweep_at = 0.0
        """By the monotonic clock."""

    def draft(self, queue_id: QueueId | None = None) -> Draft:
        return _FileDraft(
            self._folders,
            self._threads,
            self._accepted,
            queue_id or new_id(self._clock()),
            again=queue_id is not None,
        )

    async def claim(self, limit: int) -> Sequence[Claim]:
        return await self._threads.run(self._claim, limit)

    async def wait(self, timeout_s: float) -> None:
        if self._ears < 0:  # nothing has been looked for yet
            return
        with self._lock:
            due = self._schedule.next_due()
        waits = [timeout_s, self._rescan_at - time.monotonic(), *([] if due is None else [due - self._clock()])]
        poked = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ears, poked.set)
        try:
            async with asyncio.timeout(max(0.0, min(waits))):
                await poked.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(self._ears)

    async def done(self, claim: Claim) -> None:
        await self._threads.run(self._folders.done, claim.id)

    async def retry(self, claim: Claim, envelope: Envelope, next_attempt: datetime) -> None:
        def defer() -> None:
            until_s = next_attempt.timestamp()
            self._folders.defer(_stored(claim, envelope), until_s)
            with self._lock:
                self._schedule.add_deferred([(until_s, claim.id)])

        await self._threads.run(defer)

    async def update(self, claim: Claim, envelope: Envelope) -> Claim:
        stored = _stored(claim, envelope)
        await self._threads.run(self._folders.update, stored)
        return _claim_of(stored)

    async def release(self, claim: Claim) -> None:
        def release() -> None:
            self._folders.release(claim.id)
            self._poke()

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
            self._poke()

        await self._threads.run(retry_now)

    async def remove(self, queue_id: QueueId) -> None:
        await self._threads.run(self._folders.remove, queue_id)

    async def check(self) -> SpoolFindings:
        """What is damaged, and what leftovers of crashes were removed. Reads every envelope."""
        return await self._threads.run(queue_check.check, self._folders, self._clock())

    async def close(self) -> None:
        """Return when what was begun has ended and nothing is claimed any more. Idempotent."""
        await self._threads.close()
        await asyncio.to_thread(self._folders.leave)
        if self._ears >= 0:
            os.close(self._ears)
            self._ears = -1

    # In a thread

    def _sync_accepted(self) -> None:
        self._folders.sync_accepted()
        self._poke()

    def _poke(self) -> None:
        with os_errors():
            queue_wake.poke(self._fifo)

    def _claim(self, limit: int) -> list[Claim]:
        self._become_claimer()
        now_s = self._clock()
        if time.monotonic() >= self._rescan_at:
            self._rescan(now_s)
        claims: list[Claim] = []
        if queue_wake.empty(self._ears):
            self._must_look = True
        while len(claims) < limit and (candidate := self._candidate(now_s)) is not None:
            queue_id, state = candidate
            if state is QueueState.DEFERRED and not self._is_due(queue_id, now_s):
                continue
            stored = self._folders.claim(queue_id, state)
            if stored is not None:
                claims.append(_claim_of(stored))
        return claims

    def _become_claimer(self) -> None:
        if self._ears < 0:
            self._folders.become_owner()
            self._ears = queue_wake.open_fifo(self._fifo)  # before the first look: no commit falls between

    def _rescan(self, now_s: float) -> None:
        now = time.monotonic()
        self._rescan_at = now + RESCAN_S
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            try:
                queue_check.sweep(self._folders, now_s)
            except TemporaryError as error:  # litter does not keep mail waiting
                maillog.problem(what="removal of leftovers in the spool", error=str(error))
        self._folders.recover(now_s)
        incoming, deferred = self._folders.incoming_ids(), self._folders.deferred_ids()
        with self._lock:
            self._schedule.set_incoming(incoming)
            self._schedule.add_deferred(deferred)

    def _candidate(self, now_s: float) -> tuple[QueueId, QueueState] | None:
        if self._must_look and not self._schedule.has_incoming:  # once for all that lies there, however much
            self._must_look = False
            incoming = self._folders.incoming_ids()
            with self._lock:
                self._schedule.set_incoming(incoming)
        with self._lock:
            return self._schedule.take(now_s)

    def _is_due(self, queue_id: QueueId, now_s: float) -> bool:
        """Whether it still is: another process may have tried it meanwhile."""
        until_s = self._folders.deferred_until(queue_id)
        if until_s is None or until_s <= now_s + _CLOCK_GRAIN_S:
            return until_s is not None
        with self._lock:
            self._schedule.add_deferred([(until_s, queue_id)])
        return False

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
            stored = self._folders.envelope(entry.path, entry.id)
            envelope, size_octets = stored.envelope, stored.size_octets
        return QueueItem(
            id=entry.id,
            state=entry.state,
            size_octets=size_octets,
            queued=_utc(time_of(entry.id)) if envelope is None else envelope.queued,
            envelope=envelope,
            next_attempt=None if next_attempt is None else _utc(next_attempt),
        )


class _FileDraft:
    """A body that is being written, and then a message. Its files exist from the first piece on."""

    def __init__(
        self, folders: SpoolFolders, threads: Threads, accepted: "_GroupSync", queue_id: QueueId, *, again: bool
    ) -> None:
        self._folders = folders
        self._threads = threads
        self._accepted = accepted
        self._id = queue_id
        self._again = again
        self._fd = -1
        self._piece = bytearray()
        self._size_octets = 0
        self._is_ours = False
        """It was accepted: nothing of it is the draft's any more."""

    @property
    def id(self) -> QueueId:
        return self._id

    async def write(self, data: bytes) -> None:
        self._piece += data
        if len(self._piece) >= _PIECE_OCTETS:
            await self._threads.run(self._flush)

    async def commit(self, envelope: Envelope) -> None:
        await self._threads.run(self._accept, envelope)
        try:
            await self._accepted.sync()
        except TemporaryError:
            await self._threads.run(self._folders.take_back, self._id)
            raise

    async def abort(self) -> None:
        if not self._is_ours:
            await self._threads.run(self._discard)

    def _flush(self) -> None:
        try:
            self._folders.check_space()
            if self._fd < 0:
                self._fd = self._folders.create(self._id, again=self._again)
            with os_errors():
                write_all(self._fd, bytes(self._piece))
        except BaseException:
            self._discard()
            raise
        self._size_octets += len(self._piece)
        self._piece.clear()

    def _accept(self, envelope: Envelope) -> None:
        self._flush()
        stored = StoredEnvelope(id=self._id, envelope=envelope, size_octets=self._size_octets)
        try:
            self._folders.accept(stored, self._fd, again=self._again)
            self._is_ours = True
        finally:
            self._close()

    def _discard(self) -> None:
        self._piece.clear()
        if self._fd >= 0:
            self._folders.discard(self._id)
            self._close()

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


class _GroupSync:
    """One run of a blocking function serves all who wait when it begins; who comes later waits for the next one."""

    def __init__(self, threads: Threads, function: Callable[[], None]) -> None:
        self._threads = threads
        self._function = function
        self._running = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def sync(self) -> None:
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        async with self._running:
            self._next = None
            await self._threads.run(self._function)


def _stored(claim: Claim, envelope: Envelope) -> StoredEnvelope:
    """With the count of recoveries at 0 again: something has been achieved."""
    return StoredEnvelope(id=claim.id, envelope=envelope, size_octets=claim.size_octets)


def _claim_of(stored: StoredEnvelope) -> Claim:
    return Claim(id=stored.id, envelope=stored.envelope, body=spool_ref(stored.id), size_octets=stored.size_octets)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
