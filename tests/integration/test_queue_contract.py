"""The queue's contract: what `maillib.ports.queue` says, held against both engines."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.queue import EmbeddedQueue
from maillib.errors import Conflict, NotFound, StoreFull
from maillib.memory.blobs import MemoryBlobs
from maillib.memory.queue import MemoryQueue
from maillib.ports.blobs import Blobs
from maillib.ports.directory import AccountId
from maillib.ports.queue import Envelope, Queue, QueueId, QueueItem, QueueState, Recipient, RecipientState

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BODY = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"


class Clock:
    """Time that stands still until told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now.timestamp()


@dataclass(frozen=True, slots=True)
class Spool:
    """One engine, opened for one test."""

    queue: Queue
    blobs: Blobs
    clock: Clock


Promise = Callable[[Spool], Awaitable[None]]
Keeps = Callable[[Promise], None]
Opener = Callable[[Path], AbstractAsyncContextManager[Spool]]


@asynccontextmanager
async def open_embedded(state_dir: Path) -> AsyncIterator[Spool]:
    clock = Clock()
    queue, blobs = EmbeddedQueue(state_dir, clock=clock), EmbeddedBlobs(state_dir)
    try:
        yield Spool(queue, blobs, clock)
        assert not (await queue.check()).damaged
    finally:
        await queue.close()
        await blobs.close()


@asynccontextmanager
async def open_memory(_: Path) -> AsyncIterator[Spool]:
    clock, blobs = Clock(), MemoryBlobs()
    yield Spool(MemoryQueue(blobs, clock=clock), blobs, clock)


@pytest.fixture(params=[open_embedded, open_memory], ids=["embedded", "memory"])
def keeps(request: pytest.FixtureRequest, tmp_path: Path) -> Keeps:
    """Runs a promise against a fresh queue of each engine."""
    opener: Opener = request.param

    def run(promise: Promise) -> None:
        async def main() -> None:
            async with opener(tmp_path) as spool:
                await promise(spool)

        asyncio.run(main())

    return run


ENVELOPE = Envelope(
    sender=Address.parse("alice@example.test"),
    recipients=(
        Recipient(address=Address.parse("bob@example.test")),
        Recipient(address=Address.parse("jürgen@example.test"), original=Address.parse("sales@example.test")),
    ),
    queued=START + timedelta(microseconds=123_456),
    account=AccountId(7),
    peer="192.0.2.1",
    body_8bit=True,
    smtputf8=True,
)


async def put(spool: Spool, *, queued: datetime = START, body: bytes = BODY) -> QueueId:
    draft = spool.queue.draft()
    await draft.write(body)
    await draft.commit(replace(ENVELOPE, queued=queued))
    return draft.id


async def listed(spool: Spool) -> dict[QueueId, QueueItem]:
    return {item.id: item async for item in spool.queue.browse()}


def test_what_was_put_is_claimed_as_it_was(keeps: Keeps) -> None:
    """A claim has the envelope that was committed and a body of exactly the octets that were written."""

    async def promise(spool: Spool) -> None:
        draft = spool.queue.draft()
        pieces = [b"Subject: x\r\n\r\n", bytes(range(256)) * 1000, b"", b"\r\n"]
        for piece in pieces:
            await draft.write(piece)
        await draft.commit(ENVELOPE)
        (claim,) = await spool.queue.claim(10)
        assert (claim.id, claim.envelope, claim.size_octets) == (draft.id, ENVELOPE, len(b"".join(pieces)))
        assert await spool.blobs.size(claim.body) == claim.size_octets
        assert await spool.blobs.get(claim.body, 0, 1_000_000) == b"".join(pieces)

    keeps(promise)


def test_room_is_known_beforehand(keeps: Keeps) -> None:
    """There is room for an ordinary message, and none for one that no disk could hold."""

    async def promise(spool: Spool) -> None:
        await spool.queue.check_room(0)
        await spool.queue.check_room(len(BODY))
        with pytest.raises(StoreFull):
            await spool.queue.check_room(2**63)

    keeps(promise)


def test_ids_are_letters_and_digits(keeps: Keeps) -> None:
    """Queue IDs are at most 32 letters and digits and no two are the same, in the same instant too."""

    async def promise(spool: Spool) -> None:
        ids = {spool.queue.draft().id for _ in range(200)}
        assert len(ids) == 200
        assert all(queue_id.isascii() and queue_id.isalnum() and len(queue_id) <= 32 for queue_id in ids)

    keeps(promise)


def test_nothing_is_visible_before_commit(keeps: Keeps) -> None:
    """A draft can be neither claimed nor seen, and an aborted one leaves nothing."""

    async def promise(spool: Spool) -> None:
        draft = spool.queue.draft()
        await draft.write(b"x" * 200_000)
        assert await spool.queue.claim(10) == []
        assert await listed(spool) == {}
        await draft.abort()
        await draft.abort()
        assert await spool.queue.claim(10) == []

    keeps(promise)


def test_abort_after_commit_is_harmless(keeps: Keeps) -> None:
    """A message stays queued when its draft is aborted afterwards."""

    async def promise(spool: Spool) -> None:
        draft = spool.queue.draft()
        await draft.write(BODY)
        await draft.commit(ENVELOPE)
        await draft.abort()
        assert [claim.id for claim in await spool.queue.claim(10)] == [draft.id]

    keeps(promise)


def test_a_given_id_is_queued_once(keeps: Keeps) -> None:
    """Committing a second draft under the same given ID adds nothing, whatever the state of the first."""

    async def promise(spool: Spool) -> None:
        async def commit(body: bytes) -> None:
            draft = spool.queue.draft(QueueId("0123B1"))
            assert draft.id == "0123B1"
            await draft.write(body)
            await draft.commit(ENVELOPE)

        await commit(b"first")
        await commit(b"second")
        (claim,) = await spool.queue.claim(10)
        assert await spool.blobs.get(claim.body, 0, 100) == b"first"
        await commit(b"third")
        assert await spool.queue.claim(10) == []
        await spool.queue.retry(claim, ENVELOPE, START + timedelta(minutes=1))
        await commit(b"fourth")
        assert [item.state for item in (await listed(spool)).values()] == [QueueState.DEFERRED]

    keeps(promise)


def test_claims_are_exclusive_and_oldest_first(keeps: Keeps) -> None:
    """Each message is claimed once, at most as many as asked for, in the order of arrival."""

    async def promise(spool: Spool) -> None:
        ids = []
        for number in range(5):
            spool.clock.now = START + timedelta(seconds=number)
            ids.append(await put(spool, queued=spool.clock.now))
        first = await spool.queue.claim(3)
        second = await spool.queue.claim(3)
        assert [claim.id for claim in [*first, *second]] == ids
        assert await spool.queue.claim(3) == []

    keeps(promise)


def test_done_removes_everything(keeps: Keeps) -> None:
    """A finished message is gone from the queue and so is its body."""

    async def promise(spool: Spool) -> None:
        queue_id = await put(spool)
        (claim,) = await spool.queue.claim(1)
        await spool.queue.done(claim)
        assert await listed(spool) == {}
        with pytest.raises(NotFound):
            await spool.queue.show(queue_id)
        with pytest.raises(NotFound):
            await spool.blobs.size(claim.body)

    keeps(promise)


def test_a_deferred_message_waits_for_its_time(keeps: Keeps) -> None:
    """What was deferred is claimed from its next attempt on, with the progress that was written down."""

    async def promise(spool: Spool) -> None:
        queue_id = await put(spool)
        (claim,) = await spool.queue.claim(1)
        tried = Recipient(
            address=Address.parse("bob@example.test"),
            state=RecipientState.DEFERRED,
            attempts=3,
            last_reply="4.2.2 full\n\x85 \u2028\ud800",
        )
        later = replace(claim.envelope, recipients=(tried, *claim.envelope.recipients[1:]))
        await spool.queue.retry(claim, later, START + timedelta(minutes=5))
        spool.clock.now = START + timedelta(minutes=4, seconds=59)
        assert await spool.queue.claim(1) == []
        item = await spool.queue.show(queue_id)
        assert (item.state, item.next_attempt) == (QueueState.DEFERRED, START + timedelta(minutes=5))
        spool.clock.now = START + timedelta(minutes=5)
        (again,) = await spool.queue.claim(1)
        assert (again.id, again.envelope) == (queue_id, later)

    keeps(promise)


def test_neither_new_nor_deferred_mail_starves(keeps: Keeps) -> None:
    """With many new and many deferred messages to be tried, both kinds make progress."""

    async def promise(spool: Spool) -> None:
        deferred = [await put(spool) for _ in range(20)]
        for claim in await spool.queue.claim(20):
            await spool.queue.retry(claim, claim.envelope, START + timedelta(seconds=5))
        spool.clock.now = START + timedelta(seconds=10)
        new = [await put(spool, queued=spool.clock.now) for _ in range(20)]
        claimed = [claim.id for _ in range(3) for claim in await spool.queue.claim(4)]
        assert len(claimed) == 12
        assert set(claimed) & set(deferred)
        assert set(claimed) & set(new)

    keeps(promise)


def test_update_keeps_the_claim(keeps: Keeps) -> None:
    """Progress is visible at once, nobody else can claim the message, and a release does not undo it."""

    async def promise(spool: Spool) -> None:
        queue_id = await put(spool)
        (claim,) = await spool.queue.claim(1)
        fewer = replace(claim.envelope, recipients=claim.envelope.recipients[:1])
        updated = await spool.queue.update(claim, fewer)
        assert (updated.envelope, updated.body, updated.size_octets) == (fewer, claim.body, claim.size_octets)
        assert (await spool.queue.show(queue_id)).envelope == fewer
        assert await spool.queue.claim(1) == []
        await spool.queue.release(updated)
        await spool.queue.wait(60)
        assert [claim.envelope for claim in await spool.queue.claim(1)] == [fewer]

    keeps(promise)


def test_release_gives_back_at_once(keeps: Keeps) -> None:
    """A released message can be claimed without any waiting."""

    async def promise(spool: Spool) -> None:
        await put(spool)
        (claim,) = await spool.queue.claim(1)
        await spool.queue.release(claim)
        await spool.queue.wait(60)
        assert await spool.queue.claim(1) == [claim]

    keeps(promise)


def test_wait_ends_with_a_commit(keeps: Keeps) -> None:
    """Who waits is woken by a message that is queued meanwhile."""

    async def promise(spool: Spool) -> None:
        assert await spool.queue.claim(1) == []
        waiting = asyncio.create_task(spool.queue.wait(3600))
        await asyncio.sleep(0)
        queue_id = await put(spool)
        await waiting
        assert [claim.id for claim in await spool.queue.claim(1)] == [queue_id]

    keeps(promise)


def test_wait_sees_what_came_before_it(keeps: Keeps) -> None:
    """A commit between the last claim and the wait ends the wait at once."""

    async def promise(spool: Spool) -> None:
        assert await spool.queue.claim(1) == []
        queue_id = await put(spool)
        await spool.queue.wait(3600)
        assert [claim.id for claim in await spool.queue.claim(1)] == [queue_id]

    keeps(promise)


def test_wait_ends_when_a_message_is_due(keeps: Keeps) -> None:
    """Who waits returns when the next attempt of a deferred message has come."""

    async def promise(spool: Spool) -> None:
        await put(spool)
        (claim,) = await spool.queue.claim(1)
        await spool.queue.retry(claim, claim.envelope, START + timedelta(milliseconds=20))
        await spool.queue.wait(3600)

    keeps(promise)


def test_wait_knows_of_what_is_deferred_meanwhile(keeps: Keeps) -> None:
    """Who waited already when a message was deferred returns when that message is due."""

    async def promise(spool: Spool) -> None:
        await put(spool)
        (claim,) = await spool.queue.claim(1)
        waiting = asyncio.create_task(spool.queue.wait(3600))
        await asyncio.sleep(0)
        await spool.queue.retry(claim, claim.envelope, START + timedelta(milliseconds=20))
        await waiting
        await spool.queue.wait(3600)

    keeps(promise)


def test_many_commits_at_once(keeps: Keeps) -> None:
    """Messages that are committed at the same moment are all there, once each."""

    async def promise(spool: Spool) -> None:
        ids = await asyncio.gather(*(put(spool, body=b"%d" % number) for number in range(60)))
        claims = await spool.queue.claim(100)
        assert sorted(claim.id for claim in claims) == sorted(ids)
        bodies = [await spool.blobs.get(claim.body, 0, 10) for claim in claims]
        assert sorted(bodies, key=int) == [b"%d" % number for number in range(60)]

    keeps(promise)


def test_administrators_see_each_state(keeps: Keeps) -> None:
    """A listing has every message once, with its state, size, time and envelope."""

    async def promise(spool: Spool) -> None:
        deferred, active = await put(spool), await put(spool)
        claims = {claim.id: claim for claim in await spool.queue.claim(2)}
        await spool.queue.retry(claims[deferred], ENVELOPE, START + timedelta(hours=1))
        incoming = await put(spool)
        items = await listed(spool)
        assert {queue_id: item.state for queue_id, item in items.items()} == {
            deferred: QueueState.DEFERRED,
            active: QueueState.ACTIVE,
            incoming: QueueState.INCOMING,
        }
        item = items[incoming]
        assert (item.size_octets, item.queued, item.next_attempt) == (len(BODY), START, None)
        assert item.envelope == replace(ENVELOPE, queued=START)
        assert await spool.queue.show(deferred) == items[deferred]

    keeps(promise)


def test_retry_now(keeps: Keeps) -> None:
    """A deferred message can be claimed at once after `retry_now`; one that is being tried, or is not there, cannot."""

    async def promise(spool: Spool) -> None:
        queue_id = await put(spool)
        (claim,) = await spool.queue.claim(1)
        with pytest.raises(Conflict):
            await spool.queue.retry_now(queue_id)
        await spool.queue.retry(claim, claim.envelope, START + timedelta(hours=1))
        assert await spool.queue.claim(1) == []
        await spool.queue.retry_now(queue_id)
        await spool.queue.wait(3600)
        assert [claim.id for claim in await spool.queue.claim(1)] == [queue_id]
        with pytest.raises(NotFound):
            await spool.queue.retry_now(QueueId("NOSUCH"))

    keeps(promise)


def test_remove(keeps: Keeps) -> None:
    """A message that waits can be removed for good; one that is being tried cannot."""

    async def promise(spool: Spool) -> None:
        active, waiting = await put(spool), await put(spool)
        claims = await spool.queue.claim(2)
        keep = next(claim for claim in claims if claim.id == waiting)
        await spool.queue.retry(keep, keep.envelope, START + timedelta(hours=1))
        await spool.queue.remove(waiting)
        with pytest.raises(NotFound):
            await spool.queue.remove(waiting)
        with pytest.raises(Conflict):
            await spool.queue.remove(active)
        assert list(await listed(spool)) == [active]
        with pytest.raises(NotFound):
            await spool.blobs.size(keep.body)

    keeps(promise)


@pytest.mark.parametrize("name", ["", ".", "../x", "x/y", "A" * 33, "é", "a b", "*"])
def test_an_id_never_is_a_path(keeps: Keeps, name: str) -> None:
    """A text that is no queue ID is NotFound in every call."""

    async def promise(spool: Spool) -> None:
        await put(spool)
        for call in (spool.queue.show, spool.queue.retry_now, spool.queue.remove):
            with pytest.raises(NotFound):
                await call(QueueId(name))

    keeps(promise)
