"""Messages on their way out: in pieces or ahead of the client, and never damaged ones for whole."""

from collections.abc import Sequence

import pytest

from maillib.errors import MailError, NotFound, PeerError
from maillib.ports.blobs import BlobRef
from maillib.sessions import pop_message
from tests.support.pop_world import PopWorld, Sent, logged_in, run, say


def test_a_missing_body_gets_its_error() -> None:
    """A body that cannot be read at all is an error of one command; the session goes on."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"x" * 10)
        session = await logged_in(world)

        async def gone(refs: Sequence[BlobRef]) -> Sequence[bytes | MailError]:
            return [NotFound("removed by somebody") for _ in refs]

        world.blobs.bodies = gone  # type: ignore[method-assign]
        assert await say(session, "RETR 1\nNOOP\n") == b"-ERR no such message\r\n+OK nothing done\r\n"

    run(main)


def test_a_damaged_body_never_looks_whole() -> None:
    """When a body ends early the connection breaks: the client sees no end of data and deletes nothing."""

    async def main() -> None:
        world = await PopWorld().furnish()
        size = 3 * pop_message.SMALL_OCTETS
        await world.deliver(b"x" * size)
        session = await logged_in(world)
        get = world.blobs.get

        async def short(ref: BlobRef, offset: int, length: int) -> bytes:
            return (await get(ref, offset, length))[: size - offset - 1]

        world.blobs.get = short  # type: ignore[method-assign]
        output = Sent()
        with pytest.raises(PeerError, match="failed"):
            await say(session, "RETR 1\nNOOP\n", output)
        sent = output.take()
        assert sent.startswith(f"+OK {size} octets\r\n".encode())
        assert b"\r\n." not in sent
        assert b"nothing done" not in sent

    run(main)


def test_a_damaged_small_body_is_an_error_of_its_own() -> None:
    """A small body that is too short or too long gets -ERR; what was read ahead with it is served."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(*[f"message {number}\r\n".encode() for number in range(1, 9)])
        session = await logged_in(world)
        bodies = world.blobs.bodies

        async def damaged(refs: Sequence[BlobRef]) -> Sequence[bytes | MailError]:
            return [
                body + b"more" if body == b"message 2\r\n" else body[:-1] if body == b"message 5\r\n" else body
                for body in await bodies(refs)
                if not isinstance(body, MailError)
            ]

        world.blobs.bodies = damaged  # type: ignore[method-assign]
        said = await say(session, "".join(f"RETR {number}\n" for number in range(1, 9)))
        replies = [reply for reply in said.split(b"\r\n") if reply not in (b"", b".")]
        for number in range(1, 9):
            reply = replies.pop(0)
            if number in (2, 5):
                assert reply.startswith(b"-ERR [SYS/TEMP]")
            else:
                assert reply == b"+OK 11 octets"
                assert replies.pop(0) == f"message {number}".encode()

    run(main)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_big_bodies_come_in_pieces(extra: int) -> None:
    """What is sent is prefix and body, octet for octet, and no piece is much bigger than a chunk, whatever the size."""

    async def main() -> None:
        world = await PopWorld().furnish()
        chunk = pop_message.SMALL_OCTETS
        line = b"." + b"y" * 61 + b"\r\n"  # 64 octets: a chunk ends with a line, and its successor begins with a dot
        body = line * (4 * chunk // len(line)) + b"z" * (chunk + extra - 2) + b"\r\n"
        prefix = b"Return-Path: <>\r\n"
        await world.deliver(body, prefix=prefix)
        session = await logged_in(world)
        output = Sent()
        session.receive(b"RETR 1\r\n")
        await session.advance(output)
        assert max(map(len, output.pieces)) < 2 * chunk
        opening, _, rest = output.take().partition(b"\r\n")
        assert opening == f"+OK {len(prefix) + len(body)} octets".encode()
        message = rest.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        assert message == prefix + body

    run(main)


def test_a_downgraded_message_is_announced_as_long_as_it_is() -> None:
    """Whatever its size, the octets that RETR names are those that come, without the stuffed dots. RFC 6858 §4."""

    async def main() -> None:
        world = await PopWorld().furnish()
        header = "Subject: Grüße\r\n\r\n".encode()
        for size in (100, pop_message.SMALL_OCTETS, pop_message.SMALL_OCTETS + 1, 5 * pop_message.SMALL_OCTETS):
            await world.deliver(header + b"x" * (size - len(header) - 2) + b"\r\n")
        session = await logged_in(world)
        for number in range(1, 5):
            opening, _, rest = (await say(session, f"RETR {number}\n")).partition(b"\r\n")
            assert rest.startswith(b"Subject: =?utf-8?B?")
            assert int(opening.split()[1]) == len(rest.removesuffix(b".\r\n"))

    run(main)


def test_top_reads_no_more_than_it_sends() -> None:
    """TOP of a huge message reads its first chunk only."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"Subject: x\r\n\r\n" + b"y" * 62 + b"\r\n" * 1_000_000)
        session = await logged_in(world)
        reads = []
        get = world.blobs.get

        async def counted(ref: BlobRef, offset: int, length: int) -> bytes:
            reads.append(offset)
            return await get(ref, offset, length)

        world.blobs.get = counted  # type: ignore[method-assign]
        assert (await say(session, "TOP 1 1\n")).endswith(b"\r\n\r\n" + b"y" * 62 + b"\r\n.\r\n")
        assert reads == [0]

    run(main)


def test_messages_in_order_are_read_ahead() -> None:
    """A client that takes messages in order, one by one or pipelined, costs few reads; one that picks, one each."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(*[b"%d\r\n" % number for number in range(1, 201)])
        reads: list[int] = []
        bodies = world.blobs.bodies

        async def counted(refs: Sequence[BlobRef]) -> Sequence[bytes | MailError]:
            reads.append(len(refs))
            return await bodies(refs)

        world.blobs.bodies = counted  # type: ignore[method-assign]
        session = await logged_in(world)
        for number in range(1, 201):
            assert f"\r\n{number}\r\n.\r\n".encode() in await say(session, f"RETR {number}\nDELE {number}\n")
        assert reads == [1, 2, 4, 8, 16, 32, 64, 73]
        reads.clear()
        await say(session, "RSET\nRETR 5\nRETR 100\nRETR 3\nRETR 200\n")
        assert reads == [1, 1, 1, 1]

    run(main)


def test_read_ahead_is_bounded_in_octets() -> None:
    """What is read ahead of a client fits its share of memory, however many messages that is; big ones are no part."""

    async def main() -> None:
        world = await PopWorld().furnish()
        half, big = pop_message.AHEAD_OCTETS // 5, pop_message.SMALL_OCTETS + 1
        await world.deliver(*[b"x" * half] * 20, b"x" * big, *[b"x"] * 3)
        held: list[int] = []
        bodies = world.blobs.bodies

        async def counted(refs: Sequence[BlobRef]) -> Sequence[bytes | MailError]:
            found = await bodies(refs)
            held.append(sum(len(body) for body in found if not isinstance(body, MailError)))
            return found

        world.blobs.bodies = counted  # type: ignore[method-assign]
        session = await logged_in(world)
        for number in range(1, 25):
            assert b"-ERR" not in await say(session, f"RETR {number}\n")
        assert max(held) <= pop_message.AHEAD_OCTETS
        assert len(held) < 12

    run(main)
