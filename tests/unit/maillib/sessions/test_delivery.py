"""One attempt to deliver a message, on the memory engines."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from maillib.address import Address
from maillib.errors import OverQuota, StoreFull, Transient
from maillib.ports.directory import PutAccount
from maillib.ports.index import INBOX, Uid
from maillib.ports.queue import QueueState, RecipientState
from maillib.sessions.delivery import NO_OUTBOUND
from tests.support.spool_world import BODY, START, SpoolWorld

Promise = Callable[[SpoolWorld], Awaitable[None]]

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@other.test"
DELIVERED, DEFERRED = RecipientState.DELIVERED, RecipientState.DEFERRED
EXPANDED, FAILED, QUEUED = RecipientState.EXPANDED, RecipientState.FAILED, RecipientState.QUEUED


def keeps(promise: Promise) -> None:
    async def main() -> None:
        await promise(await SpoolWorld.made())

    asyncio.run(main())


def test_each_local_recipient_gets_a_copy_of_its_own() -> None:
    """A mailbox gets Return-Path and Delivered-To of its own copy, then the body as it was queued; nothing is left."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(ALICE, BOB, CAROL)
        await world.deliver()
        for user in (ALICE, BOB, CAROL):
            prefix = f"Return-Path: <stranger@elsewhere.test>\r\nDelivered-To: {user}\r\n"
            assert await world.inbox(user) == [prefix.encode() + BODY]
        assert await world.queued() == []

    keeps(promise)


def test_null_reverse_path() -> None:
    """A message without a sender is delivered with an empty Return-Path."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(ALICE, sender=None)
        await world.deliver()
        (stored,) = await world.inbox(ALICE)
        assert stored.startswith(b"Return-Path: <>\r\nDelivered-To: alice@example.test\r\nReceived: ")

    keeps(promise)


def test_alias_is_expanded_without_repetition() -> None:
    """Everybody whom aliases and direct addresses lead to gets exactly one copy."""

    async def promise(world: SpoolWorld) -> None:
        await world.alias("sales@example.test", ALICE, BOB)
        await world.alias("all@example.test", "sales@example.test", CAROL)
        await world.put("SALES@example.test", "all@example.test", BOB)
        await world.deliver()
        assert [len(await world.inbox(user)) for user in (ALICE, BOB, CAROL)] == [1, 1, 1]
        assert b"Delivered-To: alice@example.test\r\n" in (await world.inbox(ALICE))[0]

    keeps(promise)


def test_expansion_is_kept_over_a_change_of_the_alias() -> None:
    """A message that waits for one target of an alias does not go to targets that were added later."""

    async def promise(world: SpoolWorld) -> None:
        await world.alias("sales@example.test", ALICE, BOB)
        await world.break_index(BOB, Transient("busy"))
        await world.put("sales@example.test")
        await world.deliver()
        assert await world.states() == {"sales@example.test": EXPANDED, ALICE: DELIVERED, BOB: DEFERRED}
        (item,) = await world.queued()
        assert item.envelope is not None
        assert [str(one.original) for one in item.envelope.recipients[1:]] == ["sales@example.test"] * 2
        await world.alias("sales@example.test", CAROL)
        world.index.broken.clear()
        world.now += timedelta(hours=1)
        await world.deliver()
        assert [len(await world.inbox(user)) for user in (ALICE, BOB, CAROL)] == [1, 1, 0]

    keeps(promise)


def test_alias_for_elsewhere_waits_with_a_reason() -> None:
    """Mail for another domain is deferred and says why, and the local targets get theirs at once."""

    async def promise(world: SpoolWorld) -> None:
        await world.alias("sales@example.test", ALICE, "partner@elsewhere.test")
        await world.put("sales@example.test", sender=ALICE, submitted=True)
        await world.put("someone@elsewhere.test", sender=ALICE, submitted=True)
        await world.deliver()
        assert len(await world.inbox(ALICE)) == 1
        for item in await world.queued():
            assert item.state is QueueState.DEFERRED
            assert item.envelope is not None
            waiting = [one for one in item.envelope.recipients if one.state is DEFERRED]
            assert [(one.address.domain, one.attempts, one.last_reply) for one in waiting] == [
                ("elsewhere.test", 1, NO_OUTBOUND)
            ]

    keeps(promise)


def test_postmaster_is_always_there() -> None:
    """Mail for postmaster of a local domain reaches its owner, in any case of letters."""

    async def promise(world: SpoolWorld) -> None:
        await world.put("PostMaster@example.test")
        await world.deliver()
        assert len(await world.inbox(ALICE)) == 1

    keeps(promise)


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (Transient("database is locked"), "4.3.0 database is locked"),
        (OverQuota(BOB, used_octets=9, limit_octets=10), f"4.2.2 {BOB} is over quota: 9 of 10 octets used"),
        (ValueError("a bug of ours"), "4.3.0 internal error, see the log"),
    ],
    ids=["transient", "over-quota", "bug"],
)
def test_what_may_pass_is_tried_again(error: Exception, reply: str) -> None:
    """One recipient's temporary or unknown trouble keeps the mail for that one alone, and it comes once it is over."""

    async def promise(world: SpoolWorld) -> None:
        await world.break_index(BOB, error)
        await world.put(ALICE, BOB)
        await world.deliver()
        assert await world.states() == {ALICE: DELIVERED, BOB: DEFERRED}
        (item,) = await world.queued()
        assert item.envelope is not None
        assert (item.envelope.recipients[1].attempts, item.envelope.recipients[1].last_reply) == (1, reply)
        assert item.next_attempt == START + timedelta(minutes=5)
        world.index.broken.clear()
        world.now += timedelta(minutes=5)
        await world.deliver()
        assert await world.queued() == []
        assert [len(await world.inbox(user)) for user in (ALICE, BOB)] == [1, 1]

    keeps(promise)


def test_quota_is_the_real_one() -> None:
    """A mailbox without room defers its copy; with room again it gets it."""

    async def promise(world: SpoolWorld) -> None:
        (bob,) = [one for one in (await world.directory.entries()).accounts if str(one.address) == BOB]
        await world.directory.edit([PutAccount(address=bob.address, quota_octets=10)])
        await world.put(BOB)
        await world.deliver()
        assert await world.states() == {BOB: DEFERRED}
        await world.directory.edit([PutAccount(address=bob.address, quota_octets=10_000)])
        world.now += timedelta(minutes=5)
        await world.deliver()
        assert len(await world.inbox(BOB)) == 1

    keeps(promise)


def test_full_disk_is_no_attempt() -> None:
    """While the disk is full a message is tried every few seconds, and its retry schedule does not move on."""

    async def promise(world: SpoolWorld) -> None:
        await world.break_index(ALICE, StoreFull("no space"))
        await world.put(ALICE)
        for _ in range(3):
            await world.deliver()
            (item,) = await world.queued()
            assert item.envelope is not None
            assert item.next_attempt is not None
            assert item.next_attempt - world.now <= timedelta(seconds=5)
            assert (item.envelope.recipients[0].attempts, item.envelope.recipients[0].last_reply) == (
                0,
                "4.3.1 no space",
            )
            world.now = item.next_attempt
        world.index.broken.clear()
        await world.deliver()
        assert len(await world.inbox(ALICE)) == 1

    keeps(promise)


def test_waits_follow_the_policy() -> None:
    """The waits are those of the settings, the last one repeats, and the moment of giving up is the last attempt."""

    async def promise(world: SpoolWorld) -> None:
        await world.break_index(ALICE, Transient("busy"))
        await world.put(ALICE, sender=None)
        waits = []
        while True:
            await world.deliver()
            items = await world.queued()
            if not items:
                break
            assert items[0].next_attempt is not None
            waits.append(items[0].next_attempt - world.now)
            world.now = items[0].next_attempt
        assert waits[:3] == [timedelta(minutes=5), timedelta(hours=1), timedelta(hours=1)]
        assert sum(waits, timedelta()) == timedelta(days=5)

    keeps(promise)


class Died(BaseException):
    """A process that ends in the middle."""


def test_repetition_after_a_crash_adds_nothing() -> None:
    """A message whose process died after delivering is delivered again without a second copy, a removed one too."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(ALICE, BOB)
        (delivery,) = await world.deliveries()
        done = world.queue.done

        async def die(_: object) -> None:
            raise Died

        world.queue.done = die  # type: ignore[method-assign, assignment]
        with pytest.raises(Died):
            await delivery.run()
        world.queue.done = done  # type: ignore[method-assign]
        await delivery.give_back()
        (account,) = (await world.directory.resolve(Address.parse(ALICE))).accounts
        await world.index.expunge(account.id, INBOX, [Uid(1)])
        await world.deliver()
        assert [len(await world.inbox(user)) for user in (ALICE, BOB)] == [0, 1]

    keeps(promise)


def test_a_bug_keeps_the_mail() -> None:
    """An error that nobody foresaw, outside any recipient, leaves the message queued as it was, for later."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(ALICE)
        (delivery,) = await world.deliveries()

        async def resolve(_: object) -> None:
            raise ZeroDivisionError

        world.directory.resolve = resolve  # type: ignore[method-assign, assignment]
        await delivery.run()
        assert await world.states() == {ALICE: QUEUED}
        (item,) = await world.queued()
        assert item.next_attempt == START + timedelta(minutes=5)

    keeps(promise)


def test_cancelled_delivery_gives_the_message_back() -> None:
    """A delivery that is cut leaves the message untouched for the next process."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(ALICE)
        (delivery,) = await world.deliveries()
        reached = asyncio.Event()

        async def resolve(_: object) -> None:
            reached.set()
            await asyncio.Event().wait()

        original = world.directory.resolve
        world.directory.resolve = resolve  # type: ignore[method-assign, assignment]
        task = asyncio.create_task(delivery.run())
        await reached.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        world.directory.resolve = original  # type: ignore[method-assign]
        (item,) = await world.queued()
        assert item.state is QueueState.INCOMING
        await world.deliver()
        assert len(await world.inbox(ALICE)) == 1

    keeps(promise)


def test_removed_account_fails() -> None:
    """A recipient who was there at RCPT and is gone at delivery has failed for good."""

    async def promise(world: SpoolWorld) -> None:
        await world.put("nobody@example.test", ALICE, sender=None)
        await world.deliver()
        assert await world.queued() == []
        assert len(await world.inbox(ALICE)) == 1

    keeps(promise)


def test_many_recipients() -> None:
    """Three hundred aliases that lead to three users, named directly and by another alias, make three copies."""

    async def promise(world: SpoolWorld) -> None:
        await world.alias("all@example.test", *(f"u{number}@example.test" for number in range(300)))
        for number in range(300):
            await world.alias(f"u{number}@example.test", (ALICE, BOB, CAROL)[number % 3])
        await world.put("all@example.test", *(f"u{number}@example.test" for number in range(300)))
        await world.deliver()
        assert [len(await world.inbox(user)) for user in (ALICE, BOB, CAROL)] == [1, 1, 1]

    keeps(promise)
