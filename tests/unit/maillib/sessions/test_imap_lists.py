"""Lists of many messages: what is derived and what rows say, on one line for each."""

from maillib.ports.flags import FlagChange
from maillib.ports.index import INBOX, MailboxId, Uid
from tests.support.imap_world import ImapWorld, Peer, run

COUNT = 1100
ITEMS = "(UID FLAGS ENVELOPE PREVIEW BODY.PEEK[HEADER.FIELDS (Subject)])"


def message(number: int) -> bytes:
    return f"From: a@b\r\nSubject: {number} %d\r\n\r\ntext {number}\r\n".encode()


async def listed(client: Peer, numbers: str = "1:*") -> dict[int, str]:
    lines = [line for line in await client.ok(f"FETCH {numbers} {ITEMS}") if " FETCH " in line]
    return {int(line.split()[1]): line for line in lines}


def test_a_long_list_says_what_a_short_one_says() -> None:
    """Of each message the same, whether it was derived before, is asked for alone, or has other flags by now."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*[message(number) for number in range(1, COUNT + 1)])
        client = await world.logged_in(INBOX)
        await world.shared.deriving.views(world.account.id, MailboxId(1), [Uid(5)], ())
        first = await listed(client)
        assert list(first) == list(range(1, COUNT + 1))
        assert await listed(client) == first
        assert await listed(client, "7,1000:1002") == {number: first[number] for number in (7, 1000, 1001, 1002)}
        assert '"7 %d"' in first[7]
        assert "Subject: 7 %d\r\n" in first[7]
        await world.index.set_flags(world.account.id, INBOX, [Uid(7)], FlagChange.ADD, frozenset({"$x"}))
        assert "FLAGS ($x)" in (await listed(client))[7]

    run(main)


def test_a_long_list_leaves_out_what_is_gone() -> None:
    """A message that another session has removed has no line, and the answer says that some are not there."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*[message(number) for number in range(1, COUNT + 1)])
        client = await world.logged_in(INBOX)
        before = await listed(client)
        await world.index.expunge(world.account.id, INBOX, [Uid(7)])
        lines, end = await client.command(f"FETCH 1:* {ITEMS}")
        assert end.startswith("OK [EXPUNGEISSUED]")
        del before[7]
        assert [line for line in lines if "ENVELOPE" in line] == list(before.values())

    run(main)
