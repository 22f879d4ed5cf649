"""The way from `accept` to a session, with real sockets in one loop: who does not get on, and who is turned away."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest
import uvloop

from maillib.runtime import arrival
from maillib.runtime.accepting import Acceptor
from maillib.runtime.listeners import open_listener
from maillib.runtime.occupancy import Occupancy
from maillib.runtime.service import ConnectionInfo, ConnectionService, Registry
from maillib.runtime.worker import Setup
from maillib.settings.pop import PopSettings
from maillib.settings.service import Limits, Listener
from tests.support import tls


class FailingService(ConnectionService):
    """Cannot make a session."""

    def __init__(self) -> None:
        def fail(info: ConnectionInfo) -> asyncio.Protocol:
            raise RuntimeError(f"told to fail for {info.peer}")

        async def close() -> None: ...

        super().__init__(refusal=b"go\r\n", new_connection=fail, close=close)


@asynccontextmanager
async def door(listener: Listener) -> AsyncIterator[tuple[int, Occupancy]]:
    """The port, and who is in; afterwards all that have arrived are gone."""
    sock = open_listener(listener)
    port = int(sock.getsockname()[1])
    occupancy = Occupancy.create(10)
    setup = SimpleNamespace(
        listeners=[(listener, sock)],
        tls=tls.contexts()[0],
        config=SimpleNamespace(limits=Limits(), processes=1, settings=PopSettings()),
        occupancy=occupancy,
        seat=occupancy.seat(0),
    )
    acceptor = Acceptor(FailingService(), Registry(), cast(Setup, setup))
    acceptor.start()
    try:
        yield port, occupancy
    finally:
        acceptor.stop()
        async with asyncio.timeout(20):
            await acceptor.settled()
        assert occupancy.taken() == 0
        occupancy.close()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(limited())


async def heard(port: int, sent: bytes) -> bytes:
    """All that the other side says before it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("listener", "sent"),
    [
        (Listener(host="127.0.0.1", port=0, tls="none", proxy_from=("127.0.0.0/8",)), b"PROXY TCP4 192."),
        (Listener(host="127.0.0.1", port=0, tls="implicit"), b""),
        (Listener(host="127.0.0.1", port=0, tls="implicit"), b"\x16\x03\x01\x02\x00\x01\x00"),
        (Listener(host="127.0.0.1", port=0, tls="implicit", proxy_from=("127.0.0.0/8",)), b"PROXY UNKNOWN\r\n\x16\x03"),
    ],
    ids=["header", "nothing", "handshake", "handshake-behind-header"],
)
def test_who_does_not_get_on_is_closed(listener: Listener, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a header, before a handshake and in it: there is one span of time, and then the place is free."""
    monkeypatch.setattr(arrival, "ARRIVAL_S", 0.05)
    monkeypatch.setattr(FailingService, "protocol", lambda self, info: asyncio.Protocol())

    async def main() -> None:
        async with door(listener) as (port, occupancy):
            assert await heard(port, sent) in (b"", b"reset")
            while occupancy.taken():
                await asyncio.sleep(0)

    run(main)


def test_a_session_that_cannot_be_made(capfd: pytest.CaptureFixture[str]) -> None:
    """One connection ends, told as a bug; the next one arrives as if nothing had been."""

    async def main() -> None:
        async with door(Listener(host="127.0.0.1", port=0, tls="none")) as (port, _):
            assert [await heard(port, b"") for _ in range(3)] == [b"", b"", b""]

    run(main)
    assert capfd.readouterr().err.count(" bug ") == 3


def test_a_stop_waits_for_who_has_arrived() -> None:
    """A connection that waits in its handshake when a stop comes is settled only when that has ended."""

    async def main() -> None:
        async with door(Listener(host="127.0.0.1", port=0, tls="implicit")) as (port, occupancy):
            client = socket.create_connection(("127.0.0.1", port))
            while not occupancy.taken():
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.1, client.close)

    run(main)
