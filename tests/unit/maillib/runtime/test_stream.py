"""Connections over real sockets, on both event loops: TLS, time, slow and flooding peers, goodbye, every end."""

import asyncio
import socket

import pytest

from maillib.dialog import Carrier, Next
from maillib.errors import PeerError
from maillib.runtime import stream
from tests.support import live_port, tls
from tests.support.event_loops import Run
from tests.support.live_port import LivePort


class Lines:
    """The least protocol: each line comes back; BIG sends a lot first, WAIT waits, PAUSE pauses, FAIL and REFUSE raise.

    From BEGIN to END it is in the middle of a command. `news` are said as soon as they are seen.
    """

    user = None
    doing = "lines"
    big_octets = 40_000_000

    def __init__(self, timeout_s: float = 20.0) -> None:
        self.wait_s = timeout_s
        self.received = b""
        self.news = b""
        self.served: list[bytes] = []
        self.error: Exception | None = None
        self.waiting = asyncio.Event()
        self.go_on = asyncio.Event()
        self.closed_times = 0
        self.pause_s = 0.0
        self.in_command = False

    @property
    def timeout_s(self) -> float:
        return self.wait_s

    async def greet(self, output: Carrier) -> Next:
        await output.send(b"hello\n")
        return Next.AGAIN

    def receive(self, data: bytes) -> None:
        self.received += data

    async def advance(self, output: Carrier) -> Next:
        line, end, rest = self.received.partition(b"\n")
        if not end:
            if self.news:
                news, self.news = self.news, b""
                await output.send(news)
            return Next.NEED_DATA
        self.received = rest
        self.served.append(line)
        try:
            return await self.serve(line, output)
        except Exception as error:
            self.error = error
            raise

    async def serve(self, line: bytes, output: Carrier) -> Next:
        match line:
            case b"BIG":
                for _ in range(self.big_octets // 50_000):
                    await output.send(bytes(50_000))
            case b"WAIT":
                self.waiting.set()
                await self.go_on.wait()
            case b"PAUSE":
                await output.pause(self.pause_s)
            case b"BEGIN" | b"END":
                self.in_command = line == b"BEGIN"
            case b"FAIL":
                raise RuntimeError("told to fail")
            case b"REFUSE":
                await output.send(b"refused\n")
                raise PeerError("errors")
        await output.send(line + b"\n")
        return {b"STLS": Next.START_TLS, b"QUIT": Next.CLOSE}.get(line, Next.AGAIN)

    def tls_started(self) -> None:
        self.received = b""

    def goodbye(self) -> bytes | None:
        return None if self.in_command else b"goodbye\n"

    def timed_out(self) -> bytes:
        return b"too late\n"

    async def closed(self) -> None:
        self.closed_times += 1


async def connect(live: LivePort) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    assert await reader.readline() == b"hello\n"
    return reader, writer


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass  # the server was first


def session_of(live: LivePort) -> stream.StreamConnection:
    (session,) = live.registry
    assert isinstance(session, stream.StreamConnection)
    return session


def test_quit_ends_the_connection_once(run: Run) -> None:
    """After the last words the peer sees the end, and the session is told so exactly once."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"one\ntwo\nQUIT\nthree\n")
            assert await reader.read() == b"one\ntwo\nQUIT\n"
            await close(writer)
        assert lines.closed_times == 1
        assert lines.served == [b"one", b"two", b"QUIT"]

    run(main)


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "starttls"])
def test_much_data_over_tls(run: Run, implicit: bool) -> None:
    """Output far beyond every buffer arrives whole under TLS, and commands sent meanwhile are served."""

    async def main() -> None:
        lines = Lines()
        lines.big_octets = 5_000_000
        _, client_tls = tls.contexts()
        async with live_port.serve(lambda info: lines, implicit_tls=implicit) as live:
            if implicit:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", live.port, ssl=client_tls, server_hostname="localhost"
                )
                assert await reader.readline() == b"hello\n"
            else:
                reader, writer = await connect(live)
                writer.write(b"STLS\n")
                assert await reader.readline() == b"STLS\n"
                await writer.start_tls(client_tls, server_hostname="localhost")
            writer.write(b"BIG\n" + b"x" * 200_000 + b"\nQUIT\n")
            data = await reader.read()
            assert data == bytes(5_000_000) + b"BIG\n" + b"x" * 200_000 + b"\nQUIT\n"
            await close(writer)

    run(main)


def test_plain_text_behind_starttls_is_dropped(run: Run) -> None:
    """What came in clear behind the command that starts TLS is never served, though the session had it already."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"STLS\nevil\nhalf a li")
            assert await reader.readline() == b"STLS\n"
            await writer.start_tls(tls.contexts()[1], server_hostname="localhost")
            writer.write(b"good\nQUIT\n")
            assert await reader.read() == b"good\nQUIT\n"
            await close(writer)
        assert lines.served == [b"STLS", b"good", b"QUIT"]

    run(main)


@pytest.mark.parametrize("instead", [b"certainly no handshake\n" * 10, b""], ids=["rubbish", "end"])
def test_failed_handshake_ends_the_session(run: Run, instead: bytes) -> None:
    """A peer that says STLS and then something else, or goes away, leaves nothing behind."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"STLS\n")
            assert await reader.readline() == b"STLS\n"
            writer.write(instead)
            writer.write_eof()
            try:
                await reader.read()
            except ConnectionError:
                pass
            await live.registry.wait_idle()
            await close(writer)
        assert lines.closed_times == 1

    run(main)


def test_handshake_has_a_time_limit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that says STLS and then nothing is cut, and its session ends with it."""
    monkeypatch.setattr(stream, "HANDSHAKE_TIMEOUT_S", 0.05)

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"STLS\n")
            assert await reader.readline() == b"STLS\n"
            await live.registry.wait_idle()
            await close(writer)
        assert lines.closed_times == 1

    run(main)


def test_silence_ends_with_the_words_for_it(run: Run) -> None:
    """A peer that says nothing in time hears the session's words and the end."""

    async def main() -> None:
        async with live_port.serve(lambda info: Lines(timeout_s=0.05)) as live:
            reader, writer = await connect(live)
            assert await reader.read() == b"too late\n"
            await close(writer)

    run(main)


def test_octets_without_a_command_buy_no_time(run: Run) -> None:
    """A peer that sends an octet now and then, but no command, is out of time like a silent one."""

    async def main() -> None:
        async with live_port.serve(lambda info: Lines(timeout_s=0.2)) as live:
            reader, writer = await connect(live)

            async def trickle() -> None:
                while True:
                    writer.write(b"x")
                    await asyncio.sleep(0.01)

            trickling = asyncio.create_task(trickle())
            assert await reader.read() == b"too late\n"
            trickling.cancel()
            await close(writer)

    run(main)


def test_a_reader_that_stops_is_cut(run: Run) -> None:
    """A session that sends without end to a peer that reads nothing waits, and ends when the time is over."""

    async def main() -> None:
        lines = Lines(timeout_s=0.1)
        async with live_port.serve(lambda info: lines) as live:
            _, writer = await connect(live)
            writer.write(b"BIG\n")
            await live.registry.wait_idle()
            await close(writer)
        assert isinstance(lines.error, PeerError)
        assert str(lines.error) == "timeout"

    run(main)


def test_a_slow_reader_is_not_cut(run: Run) -> None:
    """As long as the peer takes something within the time, it may take as long as it likes for the whole."""

    class Slow(Lines):
        """Each time the connection begins to wait for its peer, the peer reads a little."""

        big_octets = 400_000

        def __init__(self) -> None:
            super().__init__()
            self.may_read = asyncio.Semaphore(0)
            self.waits = 0

        @property
        def timeout_s(self) -> float:
            if self.served:
                self.waits += 1
                self.may_read.release()
                return 0.1
            return 20

        async def serve(self, line: bytes, output: Carrier) -> Next:
            step = await super().serve(line, output)
            for _ in range(self.big_octets):
                self.may_read.release()
            return step

    async def main() -> None:
        lines = Slow()
        async with live_port.serve(lambda info: lines, send_buffer=16_384) as live:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", live.port))
            await loop.sock_sendall(sock, b"BIG\n")
            received = 0
            expected = len(b"hello\n") + Slow.big_octets + len(b"BIG\n")
            while received < expected:
                async with asyncio.timeout(10):
                    await lines.may_read.acquire()
                for _ in range(4):
                    if received < expected:
                        received += len(await loop.sock_recv(sock, 8_192))
            sock.close()
        assert lines.error is None

    run(main)


def test_goodbye_when_idle_comes_at_once(run: Run) -> None:
    """A session that waits for a command is told goodbye without waiting for one."""

    async def main() -> None:
        async with live_port.serve(lambda info: Lines()) as live:
            reader, writer = await connect(live)
            writer.write(b"half a comma")
            session_of(live).goodbye()
            assert await reader.read() == b"goodbye\n"
            await close(writer)

    run(main)


def test_goodbye_waits_for_the_command(run: Run) -> None:
    """A command that is being served is answered whole; the goodbye takes the place of the next one."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"WAIT\nnext\n")
            await lines.waiting.wait()
            session_of(live).goodbye()
            session_of(live).goodbye()
            lines.go_on.set()
            assert await reader.read() == b"WAIT\ngoodbye\n"
            await close(writer)
        assert lines.served == [b"WAIT"]

    run(main)


def test_goodbye_waits_for_what_comes_in_parts(run: Run) -> None:
    """In the middle of a command that takes several turns there is no goodbye; the end of it is one."""

    async def main() -> None:
        async with live_port.serve(lambda info: Lines()) as live:
            reader, writer = await connect(live)
            writer.write(b"BEGIN\n")
            assert await reader.readline() == b"BEGIN\n"
            session_of(live).goodbye()
            writer.write(b"more\n")
            assert await reader.readline() == b"more\n"
            writer.write(b"END\nnext\n")
            assert await reader.read() == b"END\ngoodbye\n"
            await close(writer)

    run(main)


def test_replies_to_one_flight_leave_together(run: Run) -> None:
    """What is sent while more commands are there leaves in one write; before a pause it leaves at once."""

    async def main() -> None:
        lines = Lines()
        lines.pause_s = 60
        async with live_port.serve(lambda info: lines) as live:
            loop = asyncio.get_running_loop()
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", live.port))
            assert await loop.sock_recv(sock, 1000) == b"hello\n"
            await loop.sock_sendall(sock, b"one\ntwo\nthree\n")
            assert await loop.sock_recv(sock, 1000) == b"one\ntwo\nthree\n"
            await loop.sock_sendall(sock, b"four\nPAUSE\nfive\n")
            assert await loop.sock_recv(sock, 1000) == b"four\n"
            assert session_of(live).silent_since is not None  # who has to wait may be sent away
            session_of(live).abort()
            sock.close()
        assert lines.served[-1] == b"PAUSE"

    run(main)


def test_a_pause_ends(run: Run) -> None:
    """What is sent after a pause is held back for as long as it lasts, and then there."""

    async def main() -> None:
        lines = Lines()
        lines.pause_s = 0.05
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            begun = asyncio.get_running_loop().time()
            writer.write(b"PAUSE\nQUIT\n")
            assert await reader.read() == b"PAUSE\nQUIT\n"
            assert asyncio.get_running_loop().time() - begun > 0.04
            await close(writer)

    run(main)


def test_a_silent_peer_is_told_news(run: Run) -> None:
    """A session that is woken has its turn at once, also when it was busy; the peer's time goes on."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            connection = session_of(live)
            for news in (b"one\n", b"two\n"):
                lines.news = news
                connection.wake()
                assert await reader.readline() == news
            writer.write(b"WAIT\n")
            await lines.waiting.wait()
            lines.news = b"three\n"
            connection.wake()
            lines.go_on.set()
            assert await reader.readline() + await reader.readline() == b"WAIT\nthree\n"
            await close(writer)

    run(main)


def test_news_buy_no_time(run: Run) -> None:
    """A peer that says nothing is cut in time, however much it is told."""

    async def main() -> None:
        lines = Lines(timeout_s=0.3)
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            connection = session_of(live)
            said = b""
            while not said.endswith(b"too late\n"):
                lines.news = b"news\n"
                connection.wake()
                said += await reader.readline()
            await close(writer)

    run(main)


def test_who_waits_is_no_task(run: Run) -> None:
    """A connection between two commands holds no task, however many commands it has served."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            before = asyncio.all_tasks()
            reader, writer = await connect(live)
            writer.write(b"x\n" * 1000)
            await reader.readexactly(2000)
            writer.write(b"WAIT\n")
            await lines.waiting.wait()
            assert len(asyncio.all_tasks() - before) == 1
            lines.go_on.set()
            assert await reader.readline() == b"WAIT\n"
            assert asyncio.all_tasks() == before
            await close(writer)

    run(main)


def test_last_words_wait_for_a_slow_reader(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that reads what we have for it only after the session's end still gets all of it."""
    monkeypatch.setattr(stream, "LINGER_S", 0.02)

    async def main() -> None:
        lines = Lines()
        lines.big_octets = 100_000
        async with live_port.serve(lambda info: lines, send_buffer=16_384) as live:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", live.port))
            await loop.sock_sendall(sock, b"BIG\nQUIT\n")
            received = 0
            while received < 60_000:
                received += len(await loop.sock_recv(sock, 1_000))
            while not lines.closed_times:
                received += len(await loop.sock_recv(sock, 100))
            await asyncio.sleep(0.1)  # it lingers more than once
            while octets := await loop.sock_recv(sock, 8_192):
                received += len(octets)
            sock.close()
            assert received == len(b"hello\n") + 100_000 + len(b"BIG\nQUIT\n")

    run(main)


def test_abort_cuts_at_once(run: Run) -> None:
    """A peer that reads nothing and is aborted is gone, with what was still to be sent."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"BIG\n")
            await reader.readexactly(1)
            session_of(live).abort()
            await live.registry.wait_idle()
            await close(writer)
        assert lines.closed_times == 1
        assert isinstance(lines.error, PeerError)

    run(main)


def test_who_is_dismissed_is_told_why(run: Run) -> None:
    """A client that is silent can be sent away with a word; one whose command is served is not silent."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"WAIT\n")
            await lines.waiting.wait()
            assert session_of(live).silent_since is None
            lines.go_on.set()
            assert await reader.readline() == b"WAIT\n"
            while session_of(live).silent_since is None:
                await asyncio.sleep(0)
            session_of(live).dismiss(b"no room\n")
            assert await reader.read() == b"no room\n"
            await close(writer)

    run(main)


def test_a_dismissed_reader_of_nothing_gets_no_words(run: Run) -> None:
    """What is said to a client that is sent away never comes in the middle of what was being sent."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"BIG\n")
            while session_of(live).silent_since is None:
                await asyncio.sleep(0)
            session_of(live).dismiss(b"no room\n")
            try:
                assert b"no room" not in await reader.read()
            except ConnectionError:
                pass
            await close(writer)

    run(main)


@pytest.mark.parametrize("words", [b"FAIL\n", b"REFUSE\n"])
def test_a_session_that_raises_ends_alone(run: Run, words: bytes) -> None:
    """An error of one session ends its connection; others of the process go on."""

    async def main() -> None:
        sessions = [Lines(), Lines()]
        waiting = iter(sessions)
        async with live_port.serve(lambda info: next(waiting)) as live:
            bad_reader, bad_writer = await connect(live)
            reader, writer = await connect(live)
            bad_writer.write(words)
            assert await bad_reader.read() in (b"", b"refused\n")
            writer.write(b"QUIT\n")
            assert await reader.read() == b"QUIT\n"
            await close(bad_writer)
            await close(writer)
        assert [session.closed_times for session in sessions] == [1, 1]

    run(main)


def test_last_words_reach_a_flooding_peer(run: Run) -> None:
    """A peer that goes on sending still gets to read why the connection ended: it is not reset."""

    async def main() -> None:
        async with live_port.serve(lambda info: Lines()) as live:
            reader, writer = await connect(live)
            writer.write(b"REFUSE\n" + bytes(1_000_000))
            assert await reader.read() == b"refused\n"
            await close(writer)

    run(main)


def test_a_half_closed_peer_gets_all_answers(run: Run) -> None:
    """Commands sent before the peer closed its side are served; then the connection ends."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            reader, writer = await connect(live)
            writer.write(b"one\ntwo\nhalf")
            writer.write_eof()
            assert await reader.read() == b"one\ntwo\n"
            await close(writer)
        assert lines.closed_times == 1

    run(main)


def test_a_peer_that_vanishes_ends_the_session(run: Run) -> None:
    """A reset while a command is served is found when the answer is sent."""

    async def main() -> None:
        lines = Lines()
        async with live_port.serve(lambda info: lines) as live:
            _, writer = await connect(live)
            writer.write(b"WAIT\n")
            await lines.waiting.wait()
            writer.transport.abort()
            await close(writer)
            lines.go_on.set()
            await live.registry.wait_idle()
        assert lines.closed_times == 1

    run(main)


def test_one_peer_does_not_starve_another(run: Run) -> None:
    """While one connection has thousands of commands waiting, another one is answered."""

    async def main() -> None:
        busy, quick = Lines(), Lines()
        waiting = iter([busy, quick])
        async with live_port.serve(lambda info: next(waiting)) as live:
            busy_reader, busy_writer = await connect(live)
            reader, writer = await connect(live)
            busy_writer.write(b"x\n" * 20_000)
            writer.write(b"y\n")
            assert await reader.readline() == b"y\n"
            assert len(busy.served) < 20_000
            await close(writer)
            assert await busy_reader.readexactly(40_000) == b"x\n" * 20_000
            await close(busy_writer)

    run(main)


def test_describe_says_what_the_listing_needs(run: Run) -> None:
    """A session in the registry tells who it is and what it is doing."""

    async def main() -> None:
        async with live_port.serve(lambda info: Lines()) as live:
            _, writer = await connect(live)
            about = session_of(live).describe()
            assert (about.user, about.doing, about.tls) == (None, "lines", False)
            assert about.peer.startswith("127.0.0.1:")
            await close(writer)

    run(main)
