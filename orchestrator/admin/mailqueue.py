"""What an administrator sees of the queue and does to it. Works beside running services, and without them.

Guarantees: nothing here claims a message, so that no delivery is disturbed; root works in the spool with the rights of
its owner alone; the JSON is what DESIGN §4 promises.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from maillib.address import Address
from maillib.embedded.queue import EmbeddedQueue
from maillib.embedded.queue_check import SpoolFindings
from maillib.embedded.queue_folders import SpoolFolders
from maillib.errors import Conflict, MailError, NotFound
from maillib.message.received import received_from_here
from maillib.ports.queue import Envelope, QueueId, QueueItem, QueueState, Recipient, RecipientState
from maillib.settings.base import Json
from orchestrator.admin.owner import acting_as_owner

SCHEMA_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stats:
    messages: Counter[QueueState]
    octets: int
    oldest: datetime | None
    """When the message that has been here longest was queued."""
    next_attempt: datetime | None
    """Of what is deferred, the first one."""


def messages(state_dir: Path) -> list[QueueItem]:
    """What is queued, oldest first."""

    async def browse(queue: EmbeddedQueue) -> list[QueueItem]:
        return sorted([item async for item in queue.browse()], key=lambda item: (item.queued, item.id))

    return _run(state_dir, browse, without_spool=list)


def message(state_dir: Path, queue_id: str) -> QueueItem:
    """Raises NotFound."""
    return _run(state_dir, lambda queue: queue.show(QueueId(queue_id)), without_spool=lambda: _missing(queue_id))


def stats(state_dir: Path) -> Stats:
    items = messages(state_dir)
    attempts = [item.next_attempt for item in items if item.next_attempt is not None]
    return Stats(
        messages=Counter(item.state for item in items),
        octets=sum(item.size_octets for item in items),
        oldest=items[0].queued if items else None,
        next_attempt=min(attempts, default=None),
    )


def check(state_dir: Path) -> SpoolFindings:
    """What is damaged, and what leftovers of crashes have been removed."""
    return _run(state_dir, EmbeddedQueue.check, without_spool=lambda: SpoolFindings((), ()))


def set_aside(state_dir: Path) -> list[QueueId]:
    """The damaged messages that were set aside; reads no envelope."""
    if not (state_dir / "spool").is_dir():
        return []
    with acting_as_owner(state_dir / "spool"), closing(SpoolFolders(state_dir)) as folders:
        return [entry.id for entry in folders.entries_in(QueueState.CORRUPT)]


def retry(state_dir: Path, queue_ids: Sequence[str]) -> dict[str, MailError | None]:
    """Let these be tried at once; what was wrong with each."""
    return _each(state_dir, queue_ids, EmbeddedQueue.retry_now)


def retry_all(state_dir: Path) -> list[str]:
    """Let everything that is deferred be tried at once; the IDs."""

    async def retry(queue: EmbeddedQueue) -> list[str]:
        retried: list[str] = []
        for queue_id in [item.id async for item in queue.browse() if item.state is QueueState.DEFERRED]:
            try:
                await queue.retry_now(queue_id)
            except (Conflict, NotFound):
                continue  # its time has come by itself
            retried.append(queue_id)
        return retried

    return _run(state_dir, retry, without_spool=list)


def remove(state_dir: Path, queue_ids: Sequence[str]) -> dict[str, MailError | None]:
    """Delete these, mail and all; what was wrong with each."""
    return _each(state_dir, queue_ids, EmbeddedQueue.remove)


def put(state_dir: Path, *, hostname: str, recipient: Address, octets: bytes) -> QueueId:
    """Queue a message that this host wrote itself; durable on return. Raises NotFound, StoreFull, Transient."""

    async def put(queue: EmbeddedQueue) -> QueueId:
        now = datetime.now(UTC)
        draft = queue.draft()
        try:
            await draft.write(received_from_here(hostname=hostname, queue_id=draft.id, when=now) + octets)
            recipients = (Recipient(address=recipient),)
            await draft.commit(Envelope(sender=None, recipients=recipients, queued=now, account=None, peer="postroom"))
        finally:
            await draft.abort()
        return draft.id

    def no_spool() -> QueueId:
        raise NotFound(f"there is no {state_dir / 'spool'}")

    return _run(state_dir, put, without_spool=no_spool)


def as_json(item: QueueItem) -> dict[str, Json]:
    envelope = item.envelope
    recipients: list[Json] = [_recipient(item, one) for one in envelope.recipients] if envelope else []
    return {
        "id": item.id,
        "sender": str(envelope.sender) if envelope and envelope.sender else None,
        "size_octets": item.size_octets,
        "queued": timestamp(item.queued),
        "state": item.state.value,
        "recipients": recipients,
    }


def timestamp(when: datetime) -> str:
    """RFC 3339, in UTC, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _recipient(item: QueueItem, recipient: Recipient) -> Json:
    waits = recipient.state in (RecipientState.QUEUED, RecipientState.DEFERRED) and item.next_attempt is not None
    return {
        "address": str(recipient.address),
        "state": recipient.state.value,
        "attempts": recipient.attempts,
        "next_attempt": timestamp(item.next_attempt) if waits and item.next_attempt else None,
        "last_reply": recipient.last_reply,
    }


def _each(
    state_dir: Path, queue_ids: Sequence[str], do: Callable[[EmbeddedQueue, QueueId], Awaitable[None]]
) -> dict[str, MailError | None]:
    async def each(queue: EmbeddedQueue) -> dict[str, MailError | None]:
        results: dict[str, MailError | None] = {}
        for queue_id in queue_ids:
            try:
                await do(queue, QueueId(queue_id))
                results[queue_id] = None
            except MailError as error:
                results[queue_id] = error
        return results

    return _run(state_dir, each, without_spool=lambda: {one: _no_message(one) for one in queue_ids})


def _run(state_dir: Path, work: Callable[[EmbeddedQueue], Awaitable[T]], *, without_spool: Callable[[], T]) -> T:
    if not (state_dir / "spool").is_dir():
        return without_spool()

    async def main() -> T:
        async with _opened(state_dir) as queue:
            return await work(queue)

    with acting_as_owner(state_dir / "spool"):
        return asyncio.run(main())


@asynccontextmanager
async def _opened(state_dir: Path) -> AsyncIterator[EmbeddedQueue]:
    queue = EmbeddedQueue(state_dir)
    try:
        yield queue
    finally:
        await queue.close()


def _no_message(queue_id: str) -> NotFound:
    return NotFound(f"no message {queue_id} is queued")


def _missing(queue_id: str) -> QueueItem:
    raise _no_message(queue_id)
