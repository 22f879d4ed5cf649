"""SMTP connections over real sockets, on both event loops: time, goodbye, joined replies, floods, every end."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from maillib.runtime import stream
from maillib.runtime.service import Session
from maillib.settings.smtp import SmtpSettings
from tests.support import tls
from tests.support.event_loops import Run
from tests.support.live_port import LivePort
from tests.support.smtp_world import SmtpWorld

GREETING = b"220 mail.example.test ESMTP Postroom\r\n"
TO_DATA = b"HELO me\r\nMAIL FROM:<carol@elsewhere.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
INVITED = b"354 End data with <CR><LF>.<CR><LF>\r\n"
GOODBYE = b"421 4.3.2 mail.example.test shutting down\r\n"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self, ending: bytes) -> bytes:
        """Everything up to `ending`."""
        return await self.reader.readuntil(ending)

    async def rest(self) -> bytes:
        return await self.reader.read()


@asynccontextmanager
async def connected(live: LivePort) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    assert await reader.readline() == GREETING
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass  # the server was first


def session_of(live: LivePort) -> Session:
    (session,) = live.registry
    return session


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_replies_to_one_flight_leave_together(run: Run) -> None:
    """Commands that arrive together are answered in one write, and so is EHLO with all its lines."""

    class Counting(asyncio.Protocol):
        def __init__(self) -> None:
            self.pieces: list[bytes] = []
            self.closed = asyncio.Event()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.pieces.append(data)

        def connection_lost(self, exc: Exception | None) -> None:
            self.closed.set()

    async def main() -> None:
        world = SmtpWorld()
        async with world.serve() as live:
            loop = asyncio.get_running_loop()
            transport, client = await loop.create_connection(Counting, "127.0.0.1", live.port)
            await until(lambda: bool(client.pieces))
            assert client.pieces.pop() == GREETING
            transport.write(b"EHLO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\nNOOP\r\nQUIT\r\n")
            await client.closed.wait()
            assert len(client.pieces) == 1
            assert client.pieces[0].count(b"\r\n") == 11

    run(main)


def test_goodbye_when_idle_comes_at_once(run: Run) -> None:
    """A session that waits for a command is told 421 without waiting for one, however often."""

    async def main() -> None:
        async with SmtpWorld().serve() as live, connected(live) as client:
            client.say(b"NOOP\r\nNO")
            await client.hear(b"Ok\r\n")
            session_of(live).goodbye()
            session_of(live).goodbye()
            assert await client.rest() == GOODBYE

    run(main)


def test_goodbye_waits_for_the_message(run: Run) -> None:
    """A message on its way gets its 250 first; commands behind it are not served any more."""

    async def main() -> None:
        world = SmtpWorld()
        async with world.serve() as live, connected(live) as client:
            client.say(TO_DATA)
            await client.hear(INVITED)
            client.say(b"text\r\n")
            await until(lambda: session_of(live).describe().doing == "DATA 4 octets")
            session_of(live).goodbye()
            client.say(b".\r\nNOOP\r\n")
            assert await client.rest() == b"250 2.0.0 Ok: queued as Q1\r\n" + GOODBYE
        assert len(world.queue.messages) == 1

    run(main)


def test_goodbye_in_the_middle_of_a_log_in(run: Run) -> None:
    """A log-in goes on to its end before the goodbye."""

    async def main() -> None:
        async with SmtpWorld().serve("submission", cleartext_login=True) as live, connected(live) as client:
            client.say(b"EHLO me\r\nAUTH PLAIN\r\n")
            await client.hear(b"334 \r\n")
            assert session_of(live).describe().doing == "AUTH"
            session_of(live).goodbye()
            client.say(b"AGFsaWNlQGV4YW1wbGUudGVzdABzZXNhbWUsIG9wZW4=\r\n")
            assert await client.rest() == b"235 2.7.0 You are logged in\r\n" + GOODBYE

    run(main)


def test_abort_in_the_middle_of_a_message_keeps_nothing(run: Run) -> None:
    """A session that is cut leaves neither a message nor a draft."""

    async def main() -> None:
        world = SmtpWorld()
        async with world.serve() as live, connected(live) as client:
            client.say(TO_DATA)
            await client.hear(INVITED)
            client.say(b"text\r\n")
            await until(lambda: world.queue.open_drafts == 1)
            session_of(live).abort()
            await live.registry.wait_idle()
        assert (world.queue.messages, world.queue.open_drafts) == ([], 0)

    run(main)


@pytest.mark.parametrize("sent", [b"", b"NOO", b"EHLO me\r\nAUTH LOGIN\r\nhalf"], ids=["silent", "command", "answer"])
def test_silence_ends_with_421(run: Run, sent: bytes) -> None:
    """A client that does not finish its line in time is told 421."""

    async def main() -> None:
        world = SmtpWorld(settings=SmtpSettings(command_timeout=0.2))
        async with world.serve("submission", cleartext_login=True) as live, connected(live) as client:
            client.say(sent)
            assert (await client.rest()).endswith(b"421 4.4.2 mail.example.test waited too long\r\n")

    run(main)


@pytest.mark.parametrize("prelude", [b"", TO_DATA], ids=["command", "message"])
def test_dribbling_buys_no_time(run: Run, prelude: bytes) -> None:
    """A client that sends an octet now and then is out of time like a silent one."""

    async def main() -> None:
        world = SmtpWorld(settings=SmtpSettings(command_timeout=0.3))
        async with world.serve() as live, connected(live) as client:
            client.say(prelude)

            async def dribble() -> None:
                while True:
                    client.say(b"x")
                    await asyncio.sleep(0.01)

            dribbling = asyncio.create_task(dribble())
            assert (await client.rest()).endswith(b"421 4.4.2 mail.example.test waited too long\r\n")
            dribbling.cancel()
        assert world.queue.open_drafts == 0

    run(main)


def test_a_slow_message_is_not_cut(run: Run) -> None:
    """A message takes as long as it likes, while it comes at a kilobyte in the time for a command."""

    async def main() -> None:
        world = SmtpWorld(settings=SmtpSettings(command_timeout=0.8))
        async with world.serve() as live, connected(live) as client:
            client.say(TO_DATA)
            await client.hear(INVITED)
            for _ in range(10):
                client.say(b"x" * 1022 + b"\r\n")
                await asyncio.sleep(0.1)
            client.say(b".\r\nQUIT\r\n")
            assert b"queued as" in await client.rest()

    run(main)


def test_many_errors_slow_the_session_down(run: Run) -> None:
    """From half of the errors allowed on replies are held back, longer each time; other sessions do not notice."""

    async def main() -> None:
        world = SmtpWorld(settings=SmtpSettings(max_errors=6), delay_step_s=0.05)
        loop = asyncio.get_running_loop()
        async with world.serve() as live, connected(live) as client, connected(live) as other:
            times = []
            for _ in range(5):
                started = loop.time()
                client.say(b"X\r\n")
                await client.hear(b"\r\n")
                times.append(loop.time() - started)
            assert times[3] > 0.04 and times[4] > 0.09
            client.say(b"X\r\n")
            other.say(b"QUIT\r\n")
            assert await other.rest() == b"221 2.0.0 mail.example.test closing\r\n"
            assert await client.rest() == b"421 4.7.0 mail.example.test too many errors\r\n"

    run(main)


def test_last_words_reach_a_flooding_client(run: Run) -> None:
    """A client that sends an endless line reads why the connection ended: it is not reset."""

    async def main() -> None:
        async with SmtpWorld().serve() as live, connected(live) as client:
            client.say(b"EHLO " + b"a" * 3_000_000)
            assert await client.rest() == b"500 5.5.2 Line too long\r\n"

    run(main)


def test_a_flood_of_commands_waits_in_the_kernel(run: Run) -> None:
    """A client that pipelines without reading is read no further than a bound, and cut when its time is over."""

    async def main() -> None:
        world = SmtpWorld(settings=SmtpSettings(command_timeout=0.3))
        async with world.serve() as live, connected(live) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for _ in range(60):
                client.say(b"HELP\r\n" * 10_000)
            connection = session_of(live)
            assert isinstance(connection, stream.StreamConnection)
            await live.registry.wait_idle()
            assert len(connection._inbox) <= stream.PAUSE_READING_OCTETS + 256 * 1024
            client.writer.transport.abort()

    run(main)


def test_a_commit_outlives_its_client(run: Run) -> None:
    """A client that goes away while its message is made durable does not cut that short."""

    async def main() -> None:
        world = SmtpWorld()
        world.queue.gate = asyncio.Event()
        async with world.serve() as live:
            async with connected(live) as client:
                client.say(TO_DATA)
                await client.hear(INVITED)
                client.say(b"text\r\n.\r\n")
                await until(lambda: session_of(live).describe().doing == "DATA 6 octets")
                sock = client.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset
            await until(lambda: session_of(live)._lost)  # type: ignore[attr-defined]
            world.queue.gate.set()
        assert len(world.queue.messages) == 1

    run(main)


def test_who_is_dismissed_is_told_why(run: Run) -> None:
    """A client that is silent, between commands or in the middle of a message, can be sent away with a word."""

    async def main() -> None:
        world = SmtpWorld()
        for words, ending in ((b"NOOP\r\n", b"250 2.0.0 Ok\r\n"), (TO_DATA, INVITED)):
            async with world.serve() as live, connected(live) as client:
                client.say(words)
                await client.hear(ending)
                await until(lambda live=live: session_of(live).silent_since is not None)  # type: ignore[misc]
                session_of(live).dismiss(b"421 4.7.0 too many\r\n")
                assert await client.rest() == b"421 4.7.0 too many\r\n"
        assert world.queue.open_drafts == 0 and not world.queue.messages

    run(main)


def test_dismissed_in_the_handshake(run: Run) -> None:
    """A client that stalls after STARTTLS can be sent away; nothing is said in clear where TLS was promised."""

    async def main() -> None:
        async with SmtpWorld().serve() as live, connected(live) as client:
            client.say(b"STARTTLS\r\n")
            await client.hear(b"start TLS\r\n")
            await until(lambda: session_of(live).silent_since is not None)
            session_of(live).dismiss(b"421 4.7.0 too many\r\n")
            try:
                assert await client.rest() == b""
            except ConnectionError:
                pass
            await live.registry.wait_idle()

    run(main)


def test_who_has_logged_in_is_not_silent(run: Run) -> None:
    """Who is to go first when there is no room is looked for among those who have not logged in."""

    async def main() -> None:
        async with SmtpWorld().serve("submission", cleartext_login=True) as live, connected(live) as client:
            await until(lambda: session_of(live).silent_since is not None)
            client.say(b"EHLO me\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZXNhbWUsIG9wZW4=\r\n")
            await client.hear(b"235 2.7.0 You are logged in\r\n")
            assert session_of(live).silent_since is None

    run(main)


@pytest.mark.parametrize("instead", [b"certainly no handshake\r\n" * 10, b""], ids=["rubbish", "end"])
def test_failed_handshake_ends_the_session(run: Run, instead: bytes) -> None:
    """A client that says STARTTLS and then something else, or goes away, leaves nothing behind."""

    async def main() -> None:
        async with SmtpWorld().serve() as live, connected(live) as client:
            client.say(b"STARTTLS\r\n")
            await client.hear(b"start TLS\r\n")
            client.say(instead)
            client.writer.write_eof()
            try:
                await client.rest()
            except ConnectionError:
                pass
            await live.registry.wait_idle()

    run(main)


def test_starttls_with_a_full_reader(run: Run) -> None:
    """However much came in clear behind STARTTLS, it is dropped, and the handshake goes on."""

    async def main() -> None:
        async with SmtpWorld().serve() as live, connected(live) as client:
            client.say(b"NOOP\r\n" + b"STARTTLS\r\n" + b"NOOP evil\r\n" * 5_000)
            await client.hear(b"start TLS\r\n")
            await client.writer.start_tls(tls.contexts()[1], server_hostname="localhost")
            client.say(b"RCPT TO:<x@y.test>\r\nQUIT\r\n")
            assert await client.rest() == b"503 5.5.1 Say MAIL first\r\n221 2.0.0 mail.example.test closing\r\n"

    run(main)


def test_implicit_tls(run: Run) -> None:
    """On a listener with implicit TLS log-in is offered at once, STARTTLS is not, and Received says what was used."""

    async def main() -> None:
        world = SmtpWorld()
        async with world.serve("submission", tls="implicit") as live:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", live.port, ssl=tls.contexts()[1], server_hostname="localhost"
            )
            writer.write(b"EHLO me\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZXNhbWUsIG9wZW4=\r\n")
            assert b"STARTTLS" not in await reader.readuntil(b"235 2.7.0 You are logged in\r\n")
            assert (session_of(live).describe().user, session_of(live).describe().tls) == ("alice@example.test", True)
            writer.write(b"MAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n")
            await reader.readuntil(INVITED)
            writer.write(b"\r\n.\r\nQUIT\r\n")
            await reader.read()
            writer.close()
            await writer.wait_closed()
        (message,) = world.queue.messages
        assert b"with ESMTPSA id Q1\r\n\t(using TLSv1.3 TLS_" in message.body

    run(main)


def test_a_bug_ends_one_connection(run: Run) -> None:
    """An error that nobody expected costs its own connection, and no other."""

    async def main() -> None:
        world = SmtpWorld()
        async with world.serve() as live, connected(live) as client, connected(live) as other:
            world.queue.draft = None  # type: ignore[method-assign,assignment]
            client.say(TO_DATA)
            assert (await client.rest()).endswith(b"250 2.1.5 Ok\r\n")
            other.say(b"QUIT\r\n")
            assert (await other.rest()).startswith(b"221")

    run(main)
