"""Connections of line-oriented protocols: bytes between a socket and a `StreamSession`, which never sees the socket.

Guarantees: a session is asked for its next step only when the one before has ended and its output has left our
buffers (up to the high-water mark); nothing received before TLS is seen after it; a peer that reads nothing is cut
after `WRITE_TIMEOUT_S`; `closed` is called exactly once.
"""

import asyncio
import time
from typing import cast

from maillib import maillog
from maillib.dialog import Next, StreamSession
from maillib.errors import LocalError, MailError, PeerError
from maillib.runtime.service import ConnectionInfo, Registry, SessionInfo, ended

HIGH_WATER_OCTETS = 256 * 1024
"""Output kept for a slow reader before the session has to wait."""

PAUSE_READING_OCTETS = 128 * 1024
"""Input kept for a busy session before the peer has to wait: pipelining clients send ahead."""

WRITE_TIMEOUT_S = 60.0
"""How long a peer may take nothing of what we have for it."""

HANDSHAKE_TIMEOUT_S = 30.0


class StreamConnection(asyncio.Protocol):
    """One accepted connection, driven by a task of its own."""

    def __init__(self, info: ConnectionInfo, session: StreamSession, registry: Registry) -> None:
        self._info = info
        self._session = session
        self._registry = registry
        self._tls = info.tls
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._inbox = bytearray()
        self._eof = False
        self._lost = False
        self._paused = False
        self._upgrading = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._leaving = False
        self._between_commands = False
        self._task: asyncio.Task[None] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's transports derive from none of asyncio's
        self._transport = stream
        if self._upgrading:
            return
        stream.set_write_buffer_limits(high=HIGH_WATER_OCTETS)
        self._registry.opened(self)
        self._task = self._loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        self._arrived.set()
        if len(self._inbox) > PAUSE_READING_OCTETS and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        self._arrived.set()
        return not self._tls  # a half-closed peer still gets its answers; TLS knows no half

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = self._lost = True
        self._arrived.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # Output

    async def send(self, data: bytes) -> None:
        if self._transport is None or self._lost:
            raise PeerError("the connection is gone")
        self._transport.write(data)
        if not self._writable.is_set():
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await self._writable.wait()
            except TimeoutError:
                raise PeerError(f"nothing was read for {WRITE_TIMEOUT_S:g} s") from None
            if self._lost:
                raise PeerError("the connection is gone")

    # Session of the registry

    def describe(self) -> SessionInfo:
        return SessionInfo(
            id=self._info.conn,
            user=self._session.user,
            peer=self._info.peer,
            listener=self._info.listener.address,
            tls=self._tls,
            since=self._info.since,
            doing=self._session.doing,
        )

    def goodbye(self) -> None:
        self._leaving = True
        self._arrived.set()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # The task

    async def _run(self) -> None:
        maillog.bind_connection(self._info.conn)
        maillog.connected(peer=self._info.peer, listener=self._info.listener.address, tls=self._tls)
        reason = "lost"
        try:
            reason = await self._converse()
        except PeerError as error:
            reason = str(error)
        except MailError as error:
            maillog.problem(what="session", error=str(error))
            reason = "failed"
        except Exception as error:  # noqa: BLE001 - the top of a connection: it dies, the worker lives
            maillog.bug(what="session", error=error)
            reason = "bug"
        finally:
            try:
                await self._session.closed()
            except Exception as error:  # noqa: BLE001 - the same
                maillog.bug(what="end of session", error=error)
            if self._transport is not None:
                self._transport.close()
                await self._flushed()
            ended(self, reason=reason)
            self._registry.closed(self)

    async def _flushed(self) -> None:
        """Wait until the last words have left; a peer that does not read them is cut."""
        waited_until = time.monotonic() + WRITE_TIMEOUT_S
        while not self._lost:
            self._arrived.clear()
            try:
                async with asyncio.timeout(max(0.0, waited_until - time.monotonic())):
                    await self._arrived.wait()
            except TimeoutError:
                self.abort()
                return

    async def _converse(self) -> str:
        step = await self._session.greet(self)
        while step is not Next.CLOSE:
            if step is Next.START_TLS:
                await self._start_tls()
            elif self._leaving:
                await self.send(self._session.goodbye())
                return "goodbye"
            elif step is Next.NEED_DATA and not await self._more():
                if self._lost or self._eof:
                    return "lost"
                if not self._leaving:
                    await self.send(self._session.timed_out())
                    return "timeout"
            step = await self._session.advance(self)
        return "quit"

    async def _more(self) -> bool:
        """Hand on what has arrived, waiting for it. False: the peer has ended, fell silent, or we are to leave."""
        while not self._inbox:
            if self._eof or self._lost or self._leaving:
                return False
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._session.timeout_s):
                    await self._arrived.wait()
            except TimeoutError:
                return False
        data = bytes(self._inbox)
        self._inbox.clear()
        if self._paused and self._transport is not None and not self._lost:
            self._paused = False
            self._transport.resume_reading()
        self._session.receive(data)
        return True

    async def _start_tls(self) -> None:
        """Handshake. What came in clear behind the command is an injection and is dropped. RFC 2595 §4, RFC 3207 §6."""
        transport, context = self._transport, self._info.tls_context
        if transport is None or context is None or self._tls:
            raise LocalError("a session asked for TLS where there is none to have")
        if self._lost:
            raise PeerError("the connection is gone")
        self._inbox.clear()
        self._upgrading = True
        try:
            upgraded = await self._loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
            )
        except (OSError, TimeoutError) as error:
            maillog.tls_failed(peer=self._info.peer, error=str(error) or type(error).__name__)
            raise PeerError("handshake failed") from None
        finally:
            self._upgrading = False
        if upgraded is None:
            raise PeerError("the connection is gone")
        self._transport = upgraded
        self._tls = True
        upgraded.set_write_buffer_limits(high=HIGH_WATER_OCTETS)
        cipher = upgraded.get_extra_info("cipher") or ("unknown", "unknown", 0)
        maillog.tls_started(version=cipher[1], cipher=cipher[0])
        self._session.tls_started()
