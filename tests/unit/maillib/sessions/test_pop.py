"""What a dialog script cannot say: deletions that do or do not happen, broken stores, time, and big maildrops."""

import asyncio
import tracemalloc
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from maillib.address import Address
from maillib.dialog import Next
from maillib.errors import Conflict, MailError, NotFound, PeerError, Transient
from maillib.ports.blobs import BlobRef
from maillib.ports.directory import AccountId
from maillib.ports.index import FIRST_UID, INBOX, Expunged, MailboxKey, Sizes, Uid, Uids
from maillib.sessions import pop_listing, pop_message
from maillib.sessions.pop import PopSession
from maillib.settings.pop import PopSettings
from tests.support.pop_world import LOGIN, PASSWORD, PopWorld

LOG_IN = f"USER {LOGIN}\nPASS {PASSWORD}\n"


class Sent:
    """An Output that keeps what was sent, and how."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def send(self, data: bytes) -> None:
        self.pieces.append(data)

    def take(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


async def say(session: PopSession, text: str, output: Sent | None = None) -> bytes:
    """All that is answered to the lines of `text`."""
    output = output or Sent()
    session.receive(text.replace("\n", "\r\n").encode())
    while await session.advance(output) is Next.AGAIN:
        pass
    return output.take()


async def logged_in(world: PopWorld) -> PopSession:
    session = world.session()
    assert (await say(session, f"USER {LOGIN}\nPASS {PASSWORD}\n")).count(b"+OK") == 2
    return session


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(limited())


def test_quit_removes_what_was_deleted_and_nothing_else() -> None:
    """QUIT removes the deleted messages; what was delivered meanwhile stays."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"x" * 10, b"x" * 20, b"x" * 30)
        session = await logged_in(world)
        await world.deliver(b"x" * 40)
        assert await say(session, "STAT\nRETR 4\nDELE 1\nDELE 3\n") == (
            b"+OK 3 60\r\n-ERR no such message\r\n+OK message 1 is marked\r\n+OK message 3 is marked\r\n"
        )
        assert await world.sizes() == [10, 20, 30, 40]
        assert await say(session, "QUIT\n") == b"+OK bye\r\n"
        await session.closed()
        assert await world.sizes() == [20, 40]

    run(main)


def test_without_quit_nothing_is_removed() -> None:
    """A connection that is lost after DELE leaves every message, and the maildrop free. RFC 1939 §6."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"x" * 10)
        session = await logged_in(world)
        await say(session, "DELE 1\n")
        await session.closed()
        assert await world.sizes() == [10]
        await (await world.leases.acquire(world.lease_name)).release()

    run(main)


def test_the_maildrop_is_free_before_quit_is_answered() -> None:
    """A client that logs in again as soon as it has the answer to QUIT is not told that the maildrop is in use."""

    async def main() -> None:
        world = await PopWorld().furnish()
        session = await logged_in(world)

        class Checks(Sent):
            async def send(self, data: bytes) -> None:
                await (await world.leases.acquire(world.lease_name)).release()
                await super().send(data)

        assert await say(session, "QUIT\n", Checks()) == b"+OK bye\r\n"

    run(main)


def test_two_sessions_exclude_each_other() -> None:
    """The second session is refused until the first has ended."""

    async def main() -> None:
        world = await PopWorld().furnish()
        first = await logged_in(world)
        second = world.session()
        login = f"USER {LOGIN}\nPASS {PASSWORD}\n"
        assert b"-ERR [IN-USE]" in await say(second, login)
        with pytest.raises(Conflict):
            await world.leases.acquire(world.lease_name)
        await first.closed()
        assert b"-ERR" not in await say(second, login)

    run(main)


async def fallen_silent(session: PopSession) -> None:
    """Return when the session has let go of its maildrop."""
    while not session.doing.startswith("silent"):
        await asyncio.sleep(0)


@pytest.mark.parametrize("command", ["STAT", "QUIT"])
def test_a_silent_session_gives_way(command: str) -> None:
    """A new log-in gets the maildrop of a client that says nothing; should that one come back, it is told so, its
    deletions do not happen, and it is over.
    """

    async def main() -> None:
        world = await PopWorld(settings=PopSettings(takeover_after=0.01)).furnish()
        await world.deliver(b"x" * 10, b"x" * 20)
        vanished = await logged_in(world)
        await say(vanished, "DELE 1\n")
        await fallen_silent(vanished)
        world.settings = PopSettings()
        successor = await logged_in(world)
        output = Sent()
        vanished.receive(f"{command}\r\n".encode())
        try:
            assert await vanished.advance(output) is Next.CLOSE
        except PeerError as error:
            assert str(error) == "taken-over"
        assert output.take() == b"-ERR [IN-USE] another session has this maildrop\r\n"
        await vanished.closed()
        assert await say(successor, "DELE 2\nQUIT\n") == b"+OK message 2 is marked\r\n+OK bye\r\n"
        await successor.closed()
        assert await world.sizes() == [10]

    run(main)


def test_a_silent_session_goes_on_when_nobody_came() -> None:
    """Silence alone changes nothing for a client: its numbers, its deletions and QUIT are as before."""

    async def main() -> None:
        world = await PopWorld(settings=PopSettings(takeover_after=0.01)).furnish()
        await world.deliver(b"x" * 10, b"x" * 20)
        session = await logged_in(world)
        await say(session, "DELE 1\n")
        for command, answer in (("STAT\n", b"+OK 1 20\r\n"), ("QUIT\n", b"+OK bye\r\n")):
            await fallen_silent(session)
            assert await say(session, command) == answer
        await session.closed()
        assert await world.sizes() == [20]

    run(main)


def test_the_login_delay_is_each_users_own() -> None:
    """After a session its user has to wait, and nobody else does; a refused log-in prolongs nothing."""

    async def main() -> None:
        world = await PopWorld(settings=PopSettings(login_delay=3600)).furnish()
        await world.directory.add_account(Address.parse("bob@example.test"), PASSWORD)
        await world.log_in_and_out()
        session = world.session()
        for _ in range(2):
            assert (await say(session, LOG_IN)).endswith(b"-ERR [LOGIN-DELAY] you were here only just now\r\n")
        assert b"-ERR" not in await say(session, LOG_IN.replace("alice", "bob"))
        world.settings = PopSettings(login_delay=1e-9)
        assert b"-ERR" not in await say(world.session(), LOG_IN)

    run(main)


def test_a_login_that_found_the_maildrop_in_use_starts_no_delay() -> None:
    """Who is told [IN-USE] may come in as soon as the maildrop is free."""

    async def main() -> None:
        world = await PopWorld().furnish()
        first = await logged_in(world)
        world.settings = PopSettings(login_delay=3600)
        second = world.session()
        assert b"-ERR [IN-USE]" in await say(second, LOG_IN)
        await first.closed()
        assert b"-ERR" not in await say(second, LOG_IN)

    run(main)


def test_a_failed_removal_is_said() -> None:
    """When the store cannot remove, QUIT is answered -ERR and the maildrop is free again. RFC 1939 §6."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"x")
        session = await logged_in(world)

        async def fails(account: AccountId, mailbox: MailboxKey, uids: Uids, *, only_deleted: bool = False) -> Expunged:
            raise Transient("the disk is gone")

        world.index.expunge = fails  # type: ignore[method-assign]
        assert await say(session, "DELE 1\nQUIT\n") == (
            b"+OK message 1 is marked\r\n-ERR [SYS/TEMP] deleted messages are not removed\r\n"
        )
        await (await world.leases.acquire(world.lease_name)).release()

    run(main)


def test_a_store_that_cannot_now_refuses_the_login_for_now() -> None:
    """A temporary error at log-in is told as one, costs no lease, and the client may try again."""

    async def main() -> None:
        world = await PopWorld().furnish()
        session = world.session()
        sizes = world.index.sizes

        async def fails(account: AccountId, mailbox: MailboxKey, since: Uid = FIRST_UID) -> Sizes:
            raise Transient("busy")

        world.index.sizes = fails  # type: ignore[method-assign]
        login = f"USER {LOGIN}\nPASS {PASSWORD}\n"
        assert b"-ERR [SYS/TEMP]" in await say(session, login)
        world.index.sizes = sizes  # type: ignore[method-assign]
        assert b"-ERR" not in await say(session, login)

    run(main)


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
        monkeypatch.setattr(pop_listing, "KEPT_MESSAGES", 3 * pop_listing.LISTING_COST + 2)
        accounts = [AccountId(number) for number in range(1, 5)]
        listings = pop_listing.Listings(world.index)
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
        assert reads == [1, 2, 4, 8, 16, 32, 64, 64, 9]
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


def test_time_is_bounded_before_and_after_login() -> None:
    """Commands before the log-in buy no time for it; afterwards each command has the idle time. RFC 1939 §3."""

    async def main() -> None:
        now = 1000.0
        world = await PopWorld(settings=PopSettings(login_timeout=60, idle_timeout=600), clock=lambda: now).furnish()
        session = world.session()
        assert session.timeout_s == 60
        now += 45
        await say(session, "CAPA\n")
        assert session.timeout_s == 15
        now += 20
        assert session.timeout_s < 0
        await say(session, f"USER {LOGIN}\nPASS {PASSWORD}\n")
        assert session.timeout_s == 600
        assert session.timed_out() == b""
        assert session.goodbye().startswith(b"-ERR [SYS/TEMP]")

    run(main)


def test_doing_tells_the_command() -> None:
    """The listing of sessions shows the log-in, what is being fetched, and waiting."""

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"x" * 123456)
        session = world.session()
        assert (session.user, session.doing) == (None, "login")
        await say(session, f"USER {LOGIN}\nPASS {PASSWORD}\n")
        assert (session.user, session.doing) == (LOGIN, "waiting")

        class Looks(Sent):
            async def send(self, data: bytes) -> None:
                assert session.doing == "RETR 1 (123456 octets)"

        await say(session, "RETR 1\n", Looks())
        assert session.doing == "waiting"

    run(main)


def test_wrong_passwords_end_the_session_in_the_end() -> None:
    """Failed log-ins count as errors."""

    async def main() -> None:
        world = await PopWorld(settings=PopSettings(max_errors=3)).furnish()
        session, output = world.session(), Sent()
        with pytest.raises(PeerError):
            await say(session, f"USER {LOGIN}\nPASS wrong\n" * 4, output)
        assert output.take().count(b"-ERR [AUTH]") == 2

    run(main)


def test_the_log_holds_no_password(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a right nor a wrong password, nor a line that may be one, is logged."""

    async def main() -> None:
        world = await PopWorld().furnish()
        session = world.session()
        await say(
            session, f"PASS hunter2\nUSER {LOGIN}\nPASS hunter3\nhunter4\nAUTH PLAIN hunter5\nAUTH PLAIN\nhunter6\n"
        )
        await say(session, f"USER {LOGIN}\nPASS {PASSWORD}\nQUIT\n")

    run(main)
    log = capfd.readouterr().err
    assert "login-failed" in log
    assert "hunter" not in log
    assert PASSWORD not in log
