"""Mail to a list, delivered on the memory engines."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from maillib.address import Address
from maillib.errors import StoreFull
from maillib.ports.directory import RemoveAccount
from maillib.ports.lists import MailingList, Post
from maillib.ports.queue import RecipientState
from maillib.sessions.posting import PIECE_OCTETS
from tests.support.spool_world import BODY, SpoolWorld, parsed

Promise = Callable[[SpoolWorld], Awaitable[None]]

ALICE, BOB, CAROL, TEAM = "alice@example.test", "bob@example.test", "carol@other.test", "team@example.test"


class Died(BaseException):
    """The process was killed here."""


def keeps(promise: Promise) -> None:
    async def main() -> None:
        await promise(await SpoolWorld.made())

    asyncio.run(main())


async def make(world: SpoolWorld, *members: str, at: str = TEAM, owners: tuple[str, ...] = (CAROL,)) -> None:
    """A list that anyone may write to: who may is SMTP's to ask."""
    await world.directory.edit(
        [
            MailingList(
                address=Address.parse(at),
                name="The team",
                members=tuple(map(Address.parse, members)),
                post=Post.ANYONE,
                owners=tuple(map(Address.parse, owners)),
            )
        ]
    )


async def counts(world: SpoolWorld) -> list[int]:
    """Messages of alice, bob and carol."""
    return [len(await world.inbox(user)) for user in (ALICE, BOB, CAROL)]


def test_members_get_mail_of_the_list() -> None:
    """Each member gets one copy that says which list it comes from, in the name of the owner, the message unchanged."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE, BOB)
        await world.put(TEAM)
        await world.deliver()
        assert await counts(world) == [1, 1, 0]
        (stored,) = await world.inbox(BOB)
        assert stored.startswith(
            b"Return-Path: <team-owner@example.test>\r\nDelivered-To: bob@example.test\r\n"
            b"Received: by mail.example.test id "
        )
        assert stored.endswith(BODY)
        message = parsed(stored)
        assert message["List-Id"] == '"The team" <team.example.test>'
        assert message["List-Post"] == "<mailto:team@example.test>"
        assert message["List-Owner"] == "<mailto:team-owner@example.test>"
        assert await world.queued() == []

    keeps(promise)


def test_nobody_gets_two_copies_of_a_list() -> None:
    """Who is a member more than once, by way of aliases and other lists, gets one copy; circles end."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, BOB, at="inner@example.test")
        await world.alias("sales@example.test", ALICE, BOB)
        await make(world, "sales@example.test", "inner@example.test", ALICE, CAROL)
        await world.alias("everybody@example.test", TEAM)
        await world.put("everybody@example.test", TEAM)
        await world.deliver()
        assert await counts(world) == [1, 1, 1]
        assert b'List-Id: "The team" <team.example.test>' in (await world.inbox(BOB))[0]

    keeps(promise)


def test_mail_of_a_list_that_fails_is_told_its_owner() -> None:
    """What a member cannot be given is told to the owner of the list, not to the writer and not to the members."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE, BOB)
        await world.put(TEAM, sender=ALICE, submitted=True)
        (delivery,) = await world.deliveries()
        await delivery.run()
        await world.directory.edit([RemoveAccount(Address.parse(BOB))])
        await world.deliver()
        assert [len(await world.inbox(user)) for user in (ALICE, CAROL)] == [1, 1]
        notification = parsed((await world.inbox(CAROL))[0])
        assert notification["To"] == "team-owner@example.test"
        assert notification["Return-Path"] == "<>"

    keeps(promise)


def test_notifications_to_a_list_go_to_its_owners() -> None:
    """A message with the null reverse-path that is addressed to a list goes to the owners as it is, to no member."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE, BOB)
        await world.put(TEAM, sender=None)
        await world.put("team-owner@example.test", sender=None)
        await world.deliver()
        assert await counts(world) == [0, 0, 2]
        assert all(b"Return-Path: <>" in stored and b"List-Id" not in stored for stored in await world.inbox(CAROL))
        assert await world.queued() == []

    keeps(promise)


def test_owner_is_the_postmaster_when_nobody_is_named() -> None:
    """A list without owners belongs to the postmaster of its domain, and so does one whose owners have gone."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, BOB, owners=())
        await make(world, BOB, at="other@example.test", owners=(CAROL,))
        await world.directory.edit([RemoveAccount(Address.parse(CAROL))])
        await world.put("team-owner@example.test", "other-owner@example.test", sender=None)
        await world.deliver()
        assert [len(await world.inbox(user)) for user in (ALICE, BOB)] == [1, 0]

    keeps(promise)


def test_a_message_does_not_go_through_a_list_twice() -> None:
    """What a member's forwarding brings back to the list is returned to the owner instead of going round."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE)
        await world.put(TEAM)
        await world.deliver()
        (stored,) = await world.inbox(ALICE)
        body = stored[stored.index(b"Received:") :]
        await world.put(TEAM, sender="team-owner@example.test", body=body)
        await world.deliver()
        assert await counts(world) == [1, 0, 1]
        assert b"5.4.6" in (await world.inbox(CAROL))[0]

    keeps(promise)


def test_two_lists_that_lead_to_each_other_elsewhere() -> None:
    """A message that comes back by way of another list, which has put its fields over ours, is known again."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE)
        await make(world, BOB, at="other@example.test")
        await world.put(TEAM)
        await world.deliver()
        (of_team,) = await world.inbox(ALICE)
        await world.put("other@example.test", body=of_team[of_team.index(b"Received:") :])
        await world.deliver()
        (of_both,) = await world.inbox(BOB)
        assert parsed(of_both).get_all("List-Id") == ['"The team" <other.example.test>']
        await world.put(TEAM, sender="other-owner@example.test", body=of_both[of_both.index(b"Received:") :])
        await world.deliver()
        assert await counts(world) == [1, 1, 1]
        assert b"5.4.6" in (await world.inbox(CAROL))[0]

    keeps(promise)


def test_fields_of_other_lists_are_replaced() -> None:
    """No field of a list is there twice, nor one that the writer chose; everything else is as it was."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE)
        header = (
            b"Received: x\r\nList-Id: <team.elsewhere.test>\r\nlist-post : <mailto:a@b.test>,\r\n <mailto:c@d.test>\r\n"
        )
        kept = b"List-Archive: <https://elsewhere.test/>\r\nSubject: x\r\n y\r\n\r\nList-Id: in the text\r\n"
        await world.put(TEAM, body=header + kept)
        await world.deliver()
        (stored,) = await world.inbox(ALICE)
        assert stored.endswith(b"X-BeenThere: team@example.test\r\nReceived: x\r\n" + kept)
        assert len(parsed(stored).get_all("List-Post", [])) == 1

    keeps(promise)


@pytest.mark.parametrize(
    "body", [b"Received: x\r\n\r\n" + b"x" * 3 * PIECE_OCTETS, b"Received: " + b"x" * 2 * PIECE_OCTETS]
)
def test_long_messages(body: bytes) -> None:
    """A message of any size reaches the members whole, also one without an end of its header."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE)
        await world.put(TEAM, body=body)
        await world.deliver()
        assert (await world.inbox(ALICE))[0].endswith(body)

    keeps(promise)


@pytest.mark.parametrize("delivered_before_repetition", [False, True])
def test_repetition_brings_nobody_a_second_copy(delivered_before_repetition: bool) -> None:
    """When a process dies after it has queued what the members get, the next attempt brings them nothing new."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE)
        await world.put(TEAM)
        (delivery,) = await world.deliveries()
        done = world.queue.done

        async def die(_: object) -> None:
            raise Died

        world.queue.done = die  # type: ignore[method-assign, assignment]
        with pytest.raises(Died):
            await delivery.run()
        world.queue.done = done  # type: ignore[method-assign]
        if delivered_before_repetition:
            (to_members,) = await world.deliveries()
            await to_members.run()
        await delivery.give_back()
        await world.deliver()
        assert await world.queued() == []
        assert await counts(world) == [1, 0, 0]

    keeps(promise)


def test_list_waits_for_space() -> None:
    """Where the members' message cannot be queued now, the list's mail waits; other recipients get theirs."""

    async def promise(world: SpoolWorld) -> None:
        await make(world, ALICE)
        await world.put(TEAM, BOB)
        accept = world.queue.accept

        def full(*_: object) -> None:
            raise StoreFull("no space")

        world.queue.accept = full  # type: ignore[method-assign, assignment]
        await world.deliver()
        assert await world.states() == {TEAM: RecipientState.DEFERRED, BOB: RecipientState.DELIVERED}
        world.queue.accept = accept  # type: ignore[method-assign]
        world.now += timedelta(seconds=10)
        await world.deliver()
        assert await world.queued() == []
        assert await counts(world) == [1, 1, 0]

    keeps(promise)


def test_empty_list() -> None:
    """Mail for a list without members is returned to a sender who can be told."""

    async def promise(world: SpoolWorld) -> None:
        await make(world)
        await world.put(TEAM, sender=ALICE, submitted=True)
        await world.deliver()
        (notification,) = await world.inbox(ALICE)
        assert b"has no members" in notification

    keeps(promise)
