"""What a dialog script cannot say: deletions that do or do not happen, broken stores, time, who has the maildrop."""

import asyncio

import pytest

from maillib.address import Address
from maillib.dialog import Next
from maillib.errors import Conflict, PeerError, Transient
from maillib.ports.directory import AccountId
from maillib.ports.index import FIRST_UID, Expunged, MailboxKey, Sizes, Uid, Uids
from maillib.sessions.pop import PopSession
from maillib.settings.pop import PopSettings
from tests.support.pop_world import LOG_IN, LOGIN, PASSWORD, PopWorld, Sent, logged_in, run, say


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
        assert b"-ERR [IN-USE]" in await say(second, LOG_IN)
        with pytest.raises(Conflict):
            await world.leases.acquire(world.lease_name)
        await first.closed()
        assert b"-ERR" not in await say(second, LOG_IN)

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
        assert b"-ERR [SYS/TEMP]" in await say(session, LOG_IN)
        world.index.sizes = sizes  # type: ignore[method-assign]
        assert b"-ERR" not in await say(session, LOG_IN)

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
        await say(session, LOG_IN)
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
        await say(session, LOG_IN)
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
        await say(session, LOG_IN + "QUIT\n")

    run(main)
    log = capfd.readouterr().err
    assert "login-failed" in log
    assert "hunter" not in log
    assert PASSWORD not in log
