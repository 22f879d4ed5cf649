"""The store's contract: what `maillib.ports` says of Blobs and Leases, held against every engine.

The Index is in `test_index_contract.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maillib.errors import Conflict, NotFound, TooSoon
from maillib.ports.blobs import BlobRef, WholeBody
from maillib.ports.index import INBOX, NewMessage, Uid
from tests.support.store_engines import ALICE, WHEN, Keeps, Store, chunks_of, new_message

# Blobs


def test_blob_comes_back_in_ranges(keeps: Keeps) -> None:
    """A blob is the concatenation of its chunks; a range is exact, and shorter only at the end."""

    async def promise(store: Store) -> None:
        ref = await store.blobs.put(chunks_of(b"0123", b"", b"456789"))
        assert await store.blobs.size(ref) == 10
        assert await store.blobs.get(ref, 0, 10) == b"0123456789"
        assert await store.blobs.get(ref, 3, 4) == b"3456"
        assert await store.blobs.get(ref, 8, 4) == b"89"
        assert await store.blobs.get(ref, 10, 4) == b""
        assert await store.blobs.get(ref, 99, 4) == b""

    keeps(promise)


def test_several_bodies_at_once(keeps: Keeps) -> None:
    """Bodies come whole and in the order asked for; a missing one is an error in its place and costs no other."""

    async def promise(store: Store) -> None:
        refs = [await store.blobs.put(chunks_of(body)) for body in (b"one", b"", b"three")]
        await store.blobs.delete(refs[0])
        missing, *rest = await store.blobs.bodies([*refs, BlobRef("nonsense")])
        assert isinstance(missing, NotFound)
        assert rest[:2] == [b"", b"three"]
        assert isinstance(rest[2], NotFound)
        assert await store.blobs.bodies([]) == []

    keeps(promise)


def test_bodies_at_hand_are_put_and_given_up_together(keeps: Keeps) -> None:
    """They come back as they are, messages appended with them keep them, and a sweep finds those nobody wants."""

    async def promise(store: Store) -> None:
        date = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
        refs = await store.blobs.put_all([WholeBody(b"one", date), WholeBody(b"", date), WholeBody(b"three", WHEN)])
        assert await store.blobs.bodies(refs) == [b"one", b"", b"three"]
        new = [NewMessage(delivery_key=None, prefix=b"", body=ref, internal_date=date) for ref in refs]
        await store.index.append(ALICE, INBOX, new)
        soon = datetime.now(UTC) + timedelta(minutes=1)
        assert set(refs) <= {ref async for ref in store.blobs.list(older_than=soon)}
        await store.blobs.delete(*refs)
        assert not set(refs) & {ref async for ref in store.blobs.list(older_than=soon)}
        stored = await store.index.messages(ALICE, INBOX, range(1, 4))
        assert await store.blobs.bodies([one.body for one in stored.values()]) == [b"one", b"", b"three"]
        assert await store.blobs.put_all([]) == []

    keeps(promise)


def test_blob_is_gone_after_delete(keeps: Keeps) -> None:
    """Deleting twice is the same as once; the reference means nothing then."""

    async def promise(store: Store) -> None:
        ref = await store.blobs.put(chunks_of(b"x"))
        await store.blobs.delete(ref)
        await store.blobs.delete(ref)
        with pytest.raises(NotFound):
            await store.blobs.get(ref, 0, 1)
        with pytest.raises(NotFound):
            await store.blobs.size(ref)

    keeps(promise)


def test_a_stored_body_is_not_for_deletion(keeps: Keeps) -> None:
    """Only a body that was put can be deleted: a message's body goes with the message."""

    async def promise(store: Store) -> None:
        await store.index.append(ALICE, INBOX, [await new_message(store, "k")])
        stored = (await store.index.messages(ALICE, INBOX, [Uid(1)]))[Uid(1)]
        with pytest.raises(ValueError, match="belongs to"):
            await store.blobs.delete(stored.body)

    keeps(promise)


def test_list_finds_what_nobody_came_back_for(keeps: Keeps) -> None:
    """A sweep is told the blobs put before a time, not later ones, deleted ones or bodies of messages."""

    async def promise(store: Store) -> None:
        kept, gone = [await store.blobs.put(chunks_of(b"x")) for _ in range(2)]
        await store.blobs.delete(gone)
        await store.index.append(ALICE, INBOX, [await new_message(store, "k")])
        soon, past = datetime.now(UTC) + timedelta(minutes=1), datetime.now(UTC) - timedelta(minutes=1)
        assert kept in [ref async for ref in store.blobs.list(older_than=soon)]
        assert gone not in [ref async for ref in store.blobs.list(older_than=soon)]
        assert [ref async for ref in store.blobs.list(older_than=past)] == []

    keeps(promise)


@pytest.mark.parametrize("text", ["", "x", "spool:../../etc/passwd", "mail:1/2/../../x", "mail:1/1/1\n", "loose:"])
def test_nonsense_is_no_reference(keeps: Keeps, text: str) -> None:
    """A text that no engine made is NotFound, not a path."""

    async def promise(store: Store) -> None:
        with pytest.raises(NotFound):
            await store.blobs.get(BlobRef(text), 0, 1)
        with pytest.raises(NotFound):
            await store.blobs.size(BlobRef(text))
        with pytest.raises(NotFound):
            await store.index.append(
                ALICE, INBOX, [NewMessage(delivery_key="k", prefix=b"", body=BlobRef(text), internal_date=WHEN)]
            )

    keeps(promise)


def test_a_put_that_fails_is_told(keeps: Keeps) -> None:
    """When the source of the octets breaks off, the caller gets its error and no blob is left."""

    async def promise(store: Store) -> None:
        async def breaks_off() -> AsyncIterator[bytes]:
            yield b"half"
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await store.blobs.put(breaks_off())
        assert [ref async for ref in store.blobs.list(older_than=datetime.now(UTC) + timedelta(minutes=1))] == []

    keeps(promise)


# Leases


def test_a_lease_excludes_others_until_released(keeps: Keeps) -> None:
    """The second one to ask gets Conflict at once; other names are free; after release the number grows."""

    async def promise(store: Store) -> None:
        first = await store.leases.acquire("maildrop:1")
        with pytest.raises(Conflict):
            await store.leases.acquire("maildrop:1")
        other = await store.leases.acquire("maildrop:2")
        await first.release()
        second = await store.leases.acquire("maildrop:1")
        assert second.fencing > first.fencing
        await first.release()  # released before: the successor's lease stays
        with pytest.raises(Conflict):
            await store.leases.acquire("maildrop:1")
        await second.release()
        await other.release()

    keeps(promise)


@pytest.mark.parametrize(
    "names", [("a/b", "a%2Fb"), ("..", "."), ("A", "a b"), ("ä", "a\u0308"), ("x\0", "x\n"), ("", " ")]
)
def test_lease_names_are_only_data(keeps: Keeps, tmp_path: Path, names: tuple[str, str]) -> None:
    """Any two texts are two leases, and none leads out of its folder."""

    async def promise(store: Store) -> None:
        held = [await store.leases.acquire(name) for name in names]
        for name in names:
            with pytest.raises(Conflict):
                await store.leases.acquire(name)
        for lease in held:
            await lease.release()
        assert all(path.name in ("mail", "leases") for path in tmp_path.iterdir())

    keeps(promise)


def test_a_lease_may_want_an_interval(keeps: Keeps) -> None:
    """Who wants a name that was taken a moment ago is refused until the interval has passed; a refusal starts none, and
    other names and those who want no interval are not concerned.
    """

    async def promise(store: Store) -> None:
        await (await store.leases.acquire("n", interval_s=3600)).release()
        for _ in range(2):
            with pytest.raises(TooSoon):
                await store.leases.acquire("n", interval_s=3600)
        await (await store.leases.acquire("other", interval_s=3600)).release()
        await (await store.leases.acquire("n", interval_s=1e-9)).release()
        lease = await store.leases.acquire("n")
        with pytest.raises(Conflict) as refused:
            await store.leases.acquire("n", interval_s=3600)
        assert refused.type is Conflict
        await lease.release()

    keeps(promise)


def test_only_one_of_many_gets_the_lease(keeps: Keeps) -> None:
    """Of twenty that ask at the same moment one gets it."""

    async def promise(store: Store) -> None:
        answers = await asyncio.gather(*(store.leases.acquire("x") for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(answer, Conflict) for answer in answers) == 19

    keeps(promise)


def test_a_cancelled_acquire_holds_nothing(keeps: Keeps) -> None:
    """A session that ends while it waits for its lease does not keep it."""

    async def promise(store: Store) -> None:
        task = asyncio.create_task(store.leases.acquire("x"))
        await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(result, BaseException):  # it was faster than the cancellation
            await result.release()
        await (await store.leases.acquire("x")).release()

    keeps(promise)
