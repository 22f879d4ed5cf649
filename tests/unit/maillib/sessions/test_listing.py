"""Listings of a maildrop: the same whether made, kept or extended; few pieces, little memory."""

import tracemalloc
from array import array
from dataclasses import replace

import pytest

from maillib.ports.directory import AccountId
from maillib.ports.index import FIRST_UID, INBOX, MailboxKey, Sizes, Uid
from maillib.sessions import listing
from tests.support.pop_world import LOG_IN, PopWorld, Sent, logged_in, run, say


def test_ten_thousand_messages_are_listed_in_few_pieces() -> None:
    """A big maildrop is read once, and listed in bounded pieces, not line by line."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(*[b"x"] * 10_000)
        session = await logged_in(world)
        for command in (b"LIST\r\n", b"UIDL\r\n"):
            output = Sent()
            session.receive(command)
            await session.advance(output)
            assert len(output.pieces) < 20
            assert max(map(len, output.pieces)) < 128 * 1024
            assert output.take().count(b"\r\n") == 10_002

    run(main)


def test_listings_are_the_same_however_they_come_about() -> None:
    """From the cache, extended with new mail, or read anew after a removal: LIST and UIDL say what is there."""

    async def main() -> None:
        world = await PopWorld().furnish()
        sizes: list[int] = []
        uids: list[int] = []

        async def arrive(*new: int) -> None:
            await world.deliver(*[b"x" * size for size in new])
            uids.extend(range(len(uids) + len(gone) + 1, len(uids) + len(gone) + 1 + len(new)))
            sizes.extend(new)

        async def check() -> None:
            session = await logged_in(world)
            said = (await say(session, "LIST\nUIDL\n")).decode().split("\r\n")
            n = len(sizes)
            assert said[0] == said[n + 2] == f"+OK {n} messages ({sum(sizes)} octets)"
            assert said[1 : n + 1] == [f"{number} {size}" for number, size in enumerate(sizes, 1)]
            assert [line.split(".")[-1] for line in said[n + 3 : -2]] == [str(uid) for uid in uids]
            await session.closed()

        gone: list[int] = []
        await check()
        await arrive(*range(1, 1500))
        await check()
        await check()
        await arrive(*range(700))
        await check()
        await world.index.expunge(world.account.id, INBOX, [Uid(3)])
        gone.append(uids.pop(2))
        sizes.pop(2)
        await check()
        await world.index.expunge(world.account.id, INBOX, [Uid(1)])
        gone.append(uids.pop(0))
        sizes.pop(0)
        await arrive(1)  # as many messages and octets as before
        await check()

    run(main)


def test_an_unchanged_maildrop_is_not_read_again() -> None:
    """The second session on it asks the store for what is new, and nothing is."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"1", b"2")
        asked: list[tuple[Uid, int]] = []
        sizes = world.index.sizes

        async def counted(account: AccountId, mailbox: MailboxKey, since: Uid = FIRST_UID) -> Sizes:
            found = await sizes(account, mailbox, since)
            asked.append((since, len(found.uids)))
            return found

        world.index.sizes = counted  # type: ignore[method-assign]
        for _ in range(2):
            await world.log_in_and_out()
        await world.deliver(b"3")
        await world.log_in_and_out()
        assert asked == [(Uid(1), 2), (Uid(3), 0), (Uid(3), 1)]

    run(main)


def test_listings_are_kept_up_to_a_number_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those used least recently go first; the one just read always stays."""

    async def main() -> None:
        world = await PopWorld().furnish()
        monkeypatch.setattr(listing, "KEPT_MESSAGES", 3 * listing.LISTING_COST + 2)
        accounts = [AccountId(number) for number in range(1, 5)]
        listings = listing.Listings(world.index)
        reads: list[AccountId] = []
        sizes = world.index.sizes

        async def noted(account: AccountId, mailbox: MailboxKey, since: Uid = FIRST_UID) -> Sizes:
            if since == FIRST_UID:
                reads.append(account)
            found = await sizes(account, mailbox, since)
            return replace(found, mailbox=replace(found.mailbox, uid_next=Uid(2)))

        world.index.sizes = noted  # type: ignore[method-assign]
        for account in (*accounts[:3], accounts[0], accounts[3], accounts[0], accounts[1]):
            await listings.current(account)
        assert reads == [*accounts, accounts[1]]

    run(main)


def test_a_hundred_thousand_messages_take_little_memory() -> None:
    """A session that has listed them all and deleted every second one holds less than ten megabytes for it."""

    async def main() -> None:
        world = await PopWorld().furnish()
        count = 100_000
        box = (await world.index.mailboxes(world.account.id))[0]
        column = array("I", range(1, count + 1))
        many = Sizes(replace(box, messages=count, octets=sum(column)), column, array("Q", column))

        async def sizes(account: AccountId, mailbox: MailboxKey, since: Uid = FIRST_UID) -> Sizes:
            return many

        class Gone(Sent):
            async def send(self, data: bytes) -> None:
                pass

        world.index.sizes = sizes  # type: ignore[method-assign]
        session = world.session()
        tracemalloc.start()
        try:
            await say(session, LOG_IN + "LIST\nUIDL\n" + "DELE 1\nLIST\nUIDL\n", Gone())
            for number in range(3, count, 2):
                session.receive(b"DELE %d\r\n" % number)
                await session.advance(Gone())
            assert tracemalloc.get_traced_memory()[0] < 10 * 1024 * 1024
        finally:
            tracemalloc.stop()

    run(main)


def test_unique_ids_last() -> None:
    """A message keeps its unique id over sessions and removals, and no other message ever gets it. RFC 1939 §7."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"1", b"2", b"3")

        async def ids(commands: str) -> list[str]:
            session = await logged_in(world)
            lines = (await say(session, "UIDL\n" + commands)).decode().split("\r\n")
            await session.closed()
            return [line.split()[1] for line in lines[1 : lines.index(".")]]

        first = await ids("DELE 1\nDELE 3\nQUIT\n")
        await world.deliver(b"4")
        second = await ids("QUIT\n")
        assert second[0] == first[1]
        assert second[1] not in first
        assert all(1 <= len(text) <= 70 and all("!" <= char <= "~" for char in text) for text in first + second)

    run(main)
