"""The Queue port over a dictionary. No step of it waits, so each call is atomic; nothing outlives the process."""

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from maillib.errors import Conflict, NotFound, StoreFull
from maillib.memory.blobs import MemoryBlobs
from maillib.ports.queue import Claim, Draft, Envelope, QueueId, QueueItem, QueueState


@dataclass(slots=True)
class _Message:
    id: QueueId
    claim: Claim
    """What a claim of it says now."""
    state: QueueState
    due: float = 0.0
    """Unix time; of a deferred one."""


class MemoryQueue:
    """The Queue port; keeps bodies in `blobs`."""

    def __init__(
        self, blobs: MemoryBlobs, *, clock: Callable[[], float] = time.time, capacity_octets: int = sys.maxsize
    ) -> None:
        """`capacity_octets`: what all bodies together may have."""
        self._blobs = blobs
        self._clock = clock
        self._capacity_octets = capacity_octets
        self._messages: dict[QueueId, _Message] = {}
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()

    def draft(self, queue_id: QueueId | None = None) -> Draft:
        return _MemoryDraft(self, queue_id or QueueId(f"{next(self._numbers):016d}"))

    def accept(self, queue_id: QueueId, octets: bytes, envelope: Envelope) -> None:
        """Queue a message, unless it is queued already."""
        if queue_id in self._messages:
            return
        self._refuse_more_than_room(len(octets))
        claim = Claim(id=queue_id, envelope=envelope, body=self._blobs.store(octets), size_octets=len(octets))
        self._messages[queue_id] = _Message(queue_id, claim, QueueState.INCOMING)
        self._changed.set()

    async def check_room(self, octets: int) -> None:
        self._refuse_more_than_room(octets)

    async def claim(self, limit: int) -> Sequence[Claim]:
        now = self._clock()
        new = [message for message in self._messages.values() if message.state is QueueState.INCOMING]
        due = [
            message
            for message in self._messages.values()
            if message.state is QueueState.DEFERRED and message.due <= now
        ]
        due.sort(key=lambda message: message.due)
        in_turn = [message for pair in itertools.zip_longest(new, due) for message in pair if message is not None]
        chosen = in_turn[:limit]
        for message in chosen:
            message.state = QueueState.ACTIVE
        self._changed.clear()
        return [message.claim for message in chosen]

    async def wait(self, timeout_s: float) -> None:
        deferred = [message.due for message in self._messages.values() if message.state is QueueState.DEFERRED]
        limit_s = min([timeout_s, *(due - self._clock() for due in deferred)])
        try:
            async with asyncio.timeout(max(0.0, limit_s)):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def done(self, claim: Claim) -> None:
        self._forget(self._active(claim))

    async def retry(self, claim: Claim, envelope: Envelope, next_attempt: datetime) -> None:
        message = self._active(claim)
        message.claim = replace(claim, envelope=envelope)
        message.state, message.due = QueueState.DEFERRED, next_attempt.timestamp()
        self._changed.set()  # who waits already does not know of this time

    async def update(self, claim: Claim, envelope: Envelope) -> Claim:
        message = self._active(claim)
        message.claim = replace(claim, envelope=envelope)
        return message.claim

    async def release(self, claim: Claim) -> None:
        self._wake(self._active(claim))

    async def browse(self) -> AsyncIterator[QueueItem]:
        for message in list(self._messages.values()):
            yield _item(message)

    async def show(self, queue_id: QueueId) -> QueueItem:
        return _item(self._find(queue_id))

    async def retry_now(self, queue_id: QueueId) -> None:
        self._wake(self._waiting(queue_id))

    async def remove(self, queue_id: QueueId) -> None:
        self._forget(self._waiting(queue_id))

    async def close(self) -> None:
        """Nothing to wait for."""

    def _refuse_more_than_room(self, octets: int) -> None:
        used = sum(message.claim.size_octets for message in self._messages.values())
        if used + octets > self._capacity_octets:
            raise StoreFull(f"{used} of {self._capacity_octets} octets are used, {octets} more do not fit")

    def _find(self, queue_id: QueueId) -> _Message:
        try:
            return self._messages[queue_id]
        except KeyError:
            raise NotFound(f"no message {queue_id} is queued") from None

    def _waiting(self, queue_id: QueueId) -> _Message:
        message = self._find(queue_id)
        if message.state is QueueState.ACTIVE:
            raise Conflict(f"{queue_id} is being delivered now")
        return message

    def _active(self, claim: Claim) -> _Message:
        message = self._find(claim.id)
        assert message.state is QueueState.ACTIVE
        return message

    def _wake(self, message: _Message) -> None:
        message.state = QueueState.INCOMING
        self._changed.set()

    def _forget(self, message: _Message) -> None:
        self._blobs.remove(message.claim.body)
        del self._messages[message.id]


def _item(message: _Message) -> QueueItem:
    envelope = message.claim.envelope
    deferred = message.state is QueueState.DEFERRED
    return QueueItem(
        id=message.id,
        state=message.state,
        size_octets=message.claim.size_octets,
        queued=envelope.queued,
        envelope=envelope,
        next_attempt=datetime.fromtimestamp(message.due, UTC) if deferred else None,
    )


class _MemoryDraft:
    def __init__(self, queue: MemoryQueue, queue_id: QueueId) -> None:
        self._queue = queue
        self._id = queue_id
        self._octets = bytearray()

    @property
    def id(self) -> QueueId:
        return self._id

    async def write(self, data: bytes) -> None:
        self._octets += data

    async def commit(self, envelope: Envelope) -> None:
        self._queue.accept(self._id, bytes(self._octets), envelope)

    async def abort(self) -> None:
        self._octets.clear()
