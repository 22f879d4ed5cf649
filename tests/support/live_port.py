"""A loopback port that is served by stream sessions, in the loop of the test."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from maillib.dialog import StreamSession
from maillib.runtime.service import ConnectionInfo, Registry
from maillib.runtime.stream import StreamConnection
from maillib.settings.pop import PopSettings
from maillib.settings.service import Listener
from tests.support import tls

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class LivePort:
    port: int
    registry: Registry


@asynccontextmanager
async def serve(
    new_session: Callable[[ConnectionInfo], StreamSession],
    *,
    stls: bool = True,
    implicit_tls: bool = False,
    send_buffer: int | None = None,
) -> AsyncIterator[LivePort]:
    """Until the block ends; then waits for the sessions, so that a test cannot leave one behind.

    `send_buffer`: octets that the kernel keeps for a slow reader.
    """
    registry = Registry()
    server_context, _ = tls.contexts()

    def protocol() -> asyncio.Protocol:
        number = next(_numbers)
        info = ConnectionInfo(
            conn=f"test.{number:x}",
            peer_host="127.0.0.1",
            peer_port=number,
            listener=Listener(host="127.0.0.1", port=0, tls="starttls"),
            since=time.time(),
            tls=implicit_tls,
            tls_context=server_context if stls and not implicit_tls else None,
            settings=PopSettings(),
        )
        return StreamConnection(info, new_session(info), registry)

    sock = socket.create_server(("127.0.0.1", 0))
    if send_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    server = await asyncio.get_running_loop().create_server(
        protocol, sock=sock, ssl=server_context if implicit_tls else None
    )
    try:
        yield LivePort(sock.getsockname()[1], registry)
    finally:
        server.close()
        async with asyncio.timeout(20):
            await registry.wait_idle()
