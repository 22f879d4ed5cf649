"""Whatever is asked of an Index, in whatever order: the engine on disk answers what the one in memory answers."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maillib.errors import MailError
from maillib.ports.flags import SYSTEM_FLAGS, FlagChange
from maillib.ports.index import INBOX, Copied, Mailbox, MailboxId, ModSeq, NewMessage, Uid, UidValidity
from tests.support.store_engines import ALICE, WHEN, Store, chunks_of, open_embedded, open_memory

Operation = Callable[[Store], Awaitable[object]]

NAMES = [INBOX, "inbox", "a", "a/b", "a/b/c", "b", "b/", ""]
boxes = st.sampled_from([*NAMES, MailboxId(1), MailboxId(2), MailboxId(3)])
names = st.sampled_from(NAMES)
flags = st.frozensets(st.sampled_from([*SYSTEM_FLAGS, "\\SEEN", "$Junk", "$junk", "x"]), max_size=4)
uid_sets = st.one_of(
    st.lists(st.integers(1, 12).map(Uid), max_size=5),
    st.tuples(st.integers(1, 9), st.integers(1, 12)).map(lambda t: range(*t)),
)
modseqs = st.integers(0, 30).map(ModSeq)


async def append(store: Store, box: str, messages: list[tuple[str | None, int, frozenset[str]]]) -> object:
    new = [
        NewMessage(
            delivery_key=key,
            prefix=b"P",
            body=await store.blobs.put(chunks_of(b"x" * size)),
            internal_date=WHEN,
            flags=its_flags,
        )
        for key, size, its_flags in messages
    ]
    return await store.index.append(ALICE, box, new)


async def everything(store: Store) -> object:
    """All that can be read."""
    seen = []
    for box in await store.index.mailboxes(ALICE):
        rows = await store.index.rows(ALICE, box.id)
        found = await store.index.messages(ALICE, box.id, [row.uid for row in rows])
        octets = {uid: one.prefix + await store.blobs.get(one.body, 0, one.size_octets) for uid, one in found.items()}
        seen.append((without_validity(box), list(rows), octets))
    return seen, await store.index.usage(ALICE), set(await store.index.subscriptions(ALICE))


def without_validity(answer: object) -> object:
    """It is the time."""
    if isinstance(answer, Mailbox | Copied):
        return replace(answer, uid_validity=UidValidity(0))
    return answer


operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(
        lambda box, messages: lambda store: append(store, box, messages),
        boxes,
        st.lists(st.tuples(st.sampled_from([None, "j", "k", "l"]), st.integers(0, 3), flags), max_size=4),
    ),
    st.builds(lambda name: lambda store: store.index.create(ALICE, name), names),
    st.builds(lambda name: lambda store: store.index.delete(ALICE, name), names),
    st.builds(lambda one, two: lambda store: store.index.rename(ALICE, one, two), names, names),
    st.builds(lambda name: lambda store: store.index.subscribe(ALICE, name), names),
    st.builds(lambda name: lambda store: store.index.unsubscribe(ALICE, name), names),
    st.builds(
        lambda box, uids, how, some, since: (
            lambda store: store.index.set_flags(ALICE, box, uids, how, some, unchanged_since=since)
        ),
        boxes,
        uid_sets,
        st.sampled_from(FlagChange),
        flags,
        st.none() | modseqs,
    ),
    st.builds(
        lambda box, uids, only: lambda store: store.index.expunge(ALICE, box, uids, only_deleted=only),
        boxes,
        uid_sets,
        st.booleans(),
    ),
    st.builds(lambda one, uids, two: lambda store: store.index.copy(ALICE, one, uids, two), boxes, uid_sets, boxes),
    st.builds(lambda one, uids, two: lambda store: store.index.move(ALICE, one, uids, two), boxes, uid_sets, boxes),
    st.builds(
        lambda box, since, limit: lambda store: store.index.changes(ALICE, box, since, limit=limit),
        boxes,
        modseqs,
        st.integers(1, 9),
    ),
    st.builds(
        lambda box, uids, limit: lambda store: store.index.rows(ALICE, box, uids, limit=limit),
        boxes,
        uid_sets,
        st.none() | st.integers(1, 4),
    ),
)


async def answer(operation: Operation, store: Store) -> object:
    try:
        return without_validity(await operation(store))
    except MailError as error:
        return type(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations, min_size=5, max_size=30), st.none() | st.integers(0, 12))
def test_disk_and_memory_agree(steps: list[Operation], quota: int | None) -> None:
    """Same calls, same answers, same errors, and the same is there afterwards."""

    async def main(state_dir: Path) -> None:
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(opened(state_dir)) for opened in (open_embedded, open_memory)]
            for store in stores:
                if quota is not None:
                    store.quotas[ALICE] = quota
                await store.index.create(ALICE, "a")
            for step in steps:
                on_disk, in_memory = [await answer(step, store) for store in stores]
                assert on_disk == in_memory
            on_disk, in_memory = [await everything(store) for store in stores]
            assert on_disk == in_memory

    with tempfile.TemporaryDirectory(prefix="postroom-index-") as folder:
        asyncio.run(main(Path(folder)))
