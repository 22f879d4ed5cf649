"""Who is told about a failure, and that a crash does not tell twice."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from maillib.errors import StoreFull, Transient
from maillib.ports.queue import Draft, QueueId, RecipientState
from tests.support.spool_world import HEADER, SpoolWorld, parsed

Promise = Callable[[SpoolWorld], Awaitable[None]]

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@other.test"
NOBODY = "nobody@example.test"


class Died(BaseException):
    """A process that ends in the middle."""


def keeps(promise: Promise) -> None:
    async def main() -> None:
        await promise(await SpoolWorld.made())

    asyncio.run(main())


def test_sender_who_logged_in_is_told() -> None:
    """The sender gets a report with status, reason and the header of what he sent; other recipients get the mail."""

    async def promise(world: SpoolWorld) -> None:
        queue_id = await world.put(NOBODY, ALICE, sender=BOB, submitted=True)
        await world.deliver()
        assert await world.queued() == []
        assert len(await world.inbox(ALICE)) == 1
        (octets,) = await world.inbox(BOB)
        assert octets.startswith(b"Return-Path: <>\r\nDelivered-To: bob@example.test\r\n")
        report = parsed(octets)
        assert report["Message-ID"] == f"<{queue_id}B1@mail.example.test>"
        text, status, header = report.iter_parts()
        assert NOBODY in text.get_content()
        about_message, about_recipient = status.iter_parts()
        assert about_message["Reporting-MTA"] == "dns; mail.example.test"
        assert about_recipient["Final-Recipient"] == f"rfc822; {NOBODY}"
        assert (about_recipient["Action"], about_recipient["Status"]) == ("failed", "5.1.1")
        assert header.get_payload(decode=True) == HEADER

    keeps(promise)


def test_local_sender_is_told_without_log_in() -> None:
    """An unauthenticated message with a sender of ours is returned to that sender, which is no backscatter."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(NOBODY, sender=CAROL)
        await world.deliver()
        assert len(await world.inbox(CAROL)) == 1

    keeps(promise)


def test_strangers_get_no_backscatter() -> None:
    """What a stranger sent in vain is reported to the postmaster of the recipient's domain, nothing goes outside."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(NOBODY, "gone@other.test", BOB)
        await world.deliver()
        assert await world.queued() == []
        assert [len(await world.inbox(user)) for user in (ALICE, BOB, CAROL)] == [1, 1, 1]
        (octets,) = await world.inbox(ALICE)
        report = parsed(octets)
        assert report["To"] == "postmaster@example.test, postmaster@other.test"
        assert "stranger@elsewhere.test" in next(iter(report.iter_parts())).get_content()

    keeps(promise)


def test_null_sender_never_bounces() -> None:
    """A failed notification is logged and goes nowhere, not even to a postmaster."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(NOBODY, sender=None)
        await world.deliver()
        assert await world.queued() == []
        assert [len(await world.inbox(user)) for user in (ALICE, BOB, CAROL)] == [0, 0, 0]

    keeps(promise)


def test_target_of_an_alias_elsewhere_is_given_up_in_the_end() -> None:
    """Mail for elsewhere is returned after `give_up_after`, naming the address that the sender had written."""

    async def promise(world: SpoolWorld) -> None:
        await world.alias("sales@example.test", "partner@elsewhere.test")
        await world.put("sales@example.test", sender=BOB, submitted=True)
        await world.deliver()
        assert await world.inbox(BOB) == []
        world.now += timedelta(days=5)
        await world.deliver()
        assert await world.queued() == []
        (octets,) = await world.inbox(BOB)
        *_, about_recipient = list(parsed(octets).iter_parts())[1].iter_parts()
        assert about_recipient["Original-Recipient"] == "rfc822; sales@example.test"
        assert about_recipient["Final-Recipient"] == "rfc822; partner@elsewhere.test"
        assert about_recipient["Status"] == "4.4.7"

    keeps(promise)


def test_part_of_a_message_fails() -> None:
    """One who fails is returned at once, while another one still waits; each is reported once."""

    async def promise(world: SpoolWorld) -> None:
        await world.break_index(ALICE, Transient("busy"))
        await world.put(NOBODY, ALICE, sender=BOB, submitted=True)
        await world.deliver()
        assert await world.states() == {NOBODY: RecipientState.FAILED, ALICE: RecipientState.DEFERRED}
        assert len(await world.inbox(BOB)) == 1
        world.now += timedelta(days=5)
        await world.deliver()
        assert await world.queued() == []
        first, second = [parsed(octets) for octets in await world.inbox(BOB)]
        assert NOBODY in str(first)
        assert NOBODY not in str(second)
        assert ALICE in str(second)

    keeps(promise)


@pytest.mark.parametrize("delivered_before_repetition", [False, True])
def test_crash_does_not_tell_twice(delivered_before_repetition: bool) -> None:
    """A process that dies between the notification and the end of the message causes no second notification."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(NOBODY, sender=BOB, submitted=True)
        (delivery,) = await world.deliveries()
        done = world.queue.done

        async def die(_: object) -> None:
            raise Died

        world.queue.done = die  # type: ignore[method-assign, assignment]
        with pytest.raises(Died):
            await delivery.run()
        world.queue.done = done  # type: ignore[method-assign]
        if delivered_before_repetition:
            (notification,) = await world.deliveries()
            await notification.run()
        await delivery.give_back()
        await world.deliver()
        assert await world.queued() == []
        assert len(await world.inbox(BOB)) == 1

    keeps(promise)


def test_failure_waits_until_it_can_be_told() -> None:
    """Where no notification can be queued, the recipient has not failed yet, and is reported once there is space."""

    async def promise(world: SpoolWorld) -> None:
        await world.put(NOBODY, sender=BOB, submitted=True)
        draft = world.queue.draft

        class FullDraft:
            id = QueueId("X")

            async def write(self, data: bytes) -> None:
                raise StoreFull("no space")

            async def commit(self, envelope: object) -> None:
                raise AssertionError

            async def abort(self) -> None:
                pass

        def full(queue_id: QueueId | None = None) -> Draft:
            return FullDraft()

        world.queue.draft = full  # type: ignore[method-assign]
        await world.deliver()
        assert await world.states() == {NOBODY: RecipientState.DEFERRED}
        world.queue.draft = draft  # type: ignore[method-assign]
        world.now += timedelta(seconds=10)
        await world.deliver()
        assert await world.queued() == []
        assert len(await world.inbox(BOB)) == 1

    keeps(promise)
