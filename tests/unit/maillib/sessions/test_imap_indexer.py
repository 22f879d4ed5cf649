"""The indexer: what it derives, when, and what does not stop it."""

import asyncio

import pytest

from maillib.errors import Transient
from maillib.memory.blobs import MemoryBlobs
from maillib.memory.leases import MemoryLeases
from maillib.ports.directory import AccountId
from maillib.ports.index import EVERY_UID, INBOX, MailboxId, ModSeq, Uid
from maillib.sessions import imap_indexer
from maillib.sessions.imap_derive import Deriving
from maillib.sessions.imap_indexer import Indexer
from tests.support.imap_world import ImapWorld, run

FIRST, SECOND = b"Subject: one\r\n\r\n1", b"Subject: two\r\n\r\n2"
HERE = MailboxId(1)


def indexer(world: ImapWorld, leases: MemoryLeases | None = None) -> Indexer:
    return Indexer(world.index, world.shared.deriving, world.hints, leases or MemoryLeases())


async def known(world: ImapWorld) -> list[Uid]:
    return [row[0] for row in await world.index.views(world.account.id, INBOX, EVERY_UID, ())]


async def until_known(world: ImapWorld, uids: list[int]) -> None:
    while await known(world) != uids:
        await asyncio.sleep(0)


def test_what_is_missing_is_derived() -> None:
    """Messages between those that are known, and those that came since, once each."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(FIRST, SECOND, FIRST)
        await world.shared.deriving.views(world.account.id, HERE, [Uid(2)], ())
        one = indexer(world)
        await one.catch_up(world.account.id, HERE)
        assert await known(world) == [1, 2, 3]
        await world.deliver(SECOND)
        await one.catch_up(world.account.id, HERE)
        assert await known(world) == [1, 2, 3, 4]

    run(main)


def test_a_hint_sets_it_to_work() -> None:
    """What is delivered while it runs is known soon, without anybody asking; it outlives what goes wrong."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        leases = MemoryLeases()
        running = asyncio.create_task(indexer(world, leases).run())
        await asyncio.sleep(0)
        world.hints.publish(world.account.id, MailboxId(99), ModSeq(2))
        held = await leases.acquire(f"derive-{world.account.id}")  # another process is at it
        await world.deliver(FIRST)
        await asyncio.sleep(0)
        await held.release()
        await world.deliver(SECOND)
        await until_known(world, [1, 2])
        await world.deliver(SECOND)
        await until_known(world, [1, 2, 3])
        running.cancel()
        await asyncio.wait((running,))

    run(main)


def test_searches_are_made_quicker_when_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step until nothing is left; what goes wrong with that is told, and left."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        left = [True, True, False]
        done = asyncio.Event()

        async def settle(account: AccountId) -> bool:
            if not left:
                done.set()
                raise Transient("busy")
            assert await known(world) == [1]
            return left.pop(0)

        monkeypatch.setattr(world.index, "settle", settle)
        monkeypatch.setattr(imap_indexer, "QUIET_S", 0.001)
        running = asyncio.create_task(indexer(world).run())
        await asyncio.sleep(0)
        await world.deliver(FIRST)
        while left:
            await asyncio.sleep(0)
        world.hints.publish(world.account.id, HERE, ModSeq(9))
        await done.wait()
        await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        await asyncio.wait((running,))

    run(main)


def test_an_unreadable_message_is_passed_over() -> None:
    """It stays unknown; a client that asks for it is told so, and those behind it are derived."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(FIRST, SECOND, FIRST)
        (stored,) = (await world.index.messages(world.account.id, INBOX, [Uid(2)])).values()
        assert isinstance(world.blobs, MemoryBlobs)
        world.blobs.remove(stored.body)
        await indexer(world).catch_up(world.account.id, HERE)
        assert await known(world) == [1, 3]
        views = await world.shared.deriving.views(world.account.id, HERE, [Uid(1), Uid(2)], ())
        assert [isinstance(views[Uid(uid)], tuple) for uid in (1, 2)] == [True, False]
        client = await world.logged_in(INBOX)
        assert (await client.refused("FETCH 2 (ENVELOPE)")).startswith("NO")
        assert len(await client.ok("FETCH 1,3 (ENVELOPE PREVIEW)")) == 2

    run(main)


def test_what_is_gone_is_passed_over() -> None:
    """Messages without row are not derived, and nobody is told of them."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(FIRST, SECOND)
        await world.index.expunge(world.account.id, INBOX, [Uid(1)])
        deriving: Deriving = world.shared.deriving
        assert set(await deriving.views(world.account.id, HERE, [Uid(1), Uid(2)], ())) == {2}

    run(main)
