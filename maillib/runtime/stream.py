"""Connections of line-oriented protocols: bytes between a socket and a `StreamSession`, which never sees the socket.

Guarantees: a session is asked for its next step only when the one before has ended and its output has left our
buffers (up to the high-water mark); a peer has one span of time for a whole command, however it spreads the octets,
and as long again to take some of what we have for it; nothing received before TLS is seen after it; last words reach
a peer that is still sending; `closed` is called exactly once. It is the same on asyncio and on uvloop.

Leaves to others: accepting, limits and the handshake of implicit TLS (`accepting`), when to leave (`worker`).
"""

import asyncio
from collections.abc import Callable
from typing import cast

from maillib import maillog
from maillib.dialog import Next, StreamSession
from maillib.errors import LocalError, MailError, PeerError
from maillib.runtime.service import ClientsTurn, ConnectionInfo, Registry, SessionInfo, ended, say_and_abort

HIGH_WATER_OCTETS = 64 * 1024
"""Output kept for a slow reader before the session has to wait. Under TLS as much again lies below the encryption."""

PAUSE_READING_OCTETS = 64 * 1024
"""Input kept for a busy session before the peer has to wait: pipelining clients send ahead."""

STEPS_AT_ONCE = 32
"""Commands of one connection served in one go before others get their turn."""

HANDSHAKE_TIMEOUT_S = 30.0

PARTING_S = 30.0
"""How long a TLS peer may take for the rest of our words and its own farewell; asyncio has the same limit."""

LINGER_S = 2.0
"""How long a peer may go on sending after our last words: a close with octets unread makes the kernel drop them."""


class StreamConnection(asyncio.Protocol):
    """One accepted connection, driven by a task of its own."""

    _transport: asyncio.Transport

    def __init__(self, info: ConnectionInfo, session: StreamSession, registry: Registry) -> None:
        self._info = info
        self._session = session
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._tls = info.tls
        self._inbox = bytearray()
        self._reading_paused = False
        self._upgrading = False
        """In a handshake: the first octets of TLS may come before we know their transport."""
        self._eof = False
        """The peer will send no more; it may still be reading."""
        self._lost = False
        self._leaving = False
        self._parting = False
        """Everything is said; what still comes in is dropped."""
        self._aborted = False
        self._clients_turn = ClientsTurn()
        self._news = asyncio.Event()
        """Something of the above may have changed."""
        self._writable = asyncio.Event()
        self._writable.set()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports derive from none of asyncio's
        self._transport.set_write_buffer_limits(high=HIGH_WATER_OCTETS)
        self._registry.opened(self)
        self._task = self._loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        if self._parting:
            return
        self._inbox += data
        self._news.set()
        self._pause_reading_if_full()

    def eof_received(self) -> bool:
        self._eof = True
        self._news.set()
        return not self._tls  # a half-closed peer still gets its answers; TLS knows no half

    def connection_lost(self, exc: Exception | None) -> None:
        self._mark_lost()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # Output

    async def send(self, data: bytes) -> None:
        self._require_peer()
        self._transport.write(data)
        await self._taken()

    async def _taken(self) -> None:
        """Wait until the peer has taken enough, as long as it takes anything. Raises PeerError."""
        left = self._transport.get_write_buffer_size()
        while not self._writable.is_set():
            try:
                async with asyncio.timeout(self._session.timeout_s):
                    with self._clients_turn:
                        await self._writable.wait()
            except TimeoutError:
                before, left = left, self._transport.get_write_buffer_size()
                if left >= before:
                    raise PeerError("timeout") from None
        if self._lost:
            raise PeerError("lost")

    def _require_peer(self) -> None:
        if self._lost or self._transport.is_closing():
            raise PeerError("lost")

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
        self._news.set()

    def abort(self) -> None:
        self._aborted = True
        self._transport.abort()

    @property
    def silent_since(self) -> float | None:
        return None if self._session.user or self._aborted else self._clients_turn.since

    def dismiss(self, words: bytes) -> None:
        self._aborted = True
        say_and_abort(self._transport, words, tls=self._tls or self._upgrading)

    # The task

    async def _run(self) -> None:
        maillog.bind_connection(self._info.conn)
        maillog.connected(peer=self._info.peer, listener=self._info.listener.address, tls=self._tls, via=self._info.via)
        reason = "failed"
        try:
            reason = await self._converse()
        except PeerError as error:
            reason = str(error)
        except MailError as error:
            maillog.problem(what="session", error=str(error))
        except Exception as error:  # noqa: BLE001 - the top of a connection: it dies, the worker lives
            maillog.bug(what="session", error=error)
            reason = "bug"
        finally:
            await self._end(reason)

    async def _converse(self) -> str:
        """The whole dialogue; why it ended."""
        step = await self._session.greet(self)
        deadline = self._command_deadline()
        steps = 0
        while step is not Next.CLOSE:
            if step is Next.START_TLS:
                await self._start_tls()
                deadline = self._command_deadline()
            if self._leaving:
                await self.send(self._session.goodbye())
                return "goodbye"
            if step is Next.NEED_DATA:
                if not await self._until(lambda: bool(self._inbox) or self._eof or self._leaving, deadline):
                    await self.send(self._session.timed_out())
                    return "timeout"
                if self._inbox:
                    self._session.receive(self._take_input())
                elif self._eof:
                    return "lost"
            step = await self._session.advance(self)
            if step is Next.AGAIN:
                deadline = self._command_deadline()
                steps += 1
                if steps % STEPS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        return "quit"

    def _command_deadline(self) -> float:
        """When, by the loop's clock, the next command has to be there."""
        return self._loop.time() + self._session.timeout_s

    async def _until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait for `condition`; False when `deadline` passes first."""
        while not condition():
            self._news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    with self._clients_turn:
                        await self._news.wait()
            except TimeoutError:
                return condition()
        return True

    def _take_input(self) -> bytes:
        data = bytes(self._inbox)
        self._inbox.clear()
        self._resume_reading()
        return data

    def _pause_reading_if_full(self) -> None:
        if len(self._inbox) > PAUSE_READING_OCTETS and not self._reading_paused and not self._upgrading:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._transport.resume_reading()
        self._reading_paused = False

    def _mark_lost(self) -> None:
        self._eof = self._lost = True
        self._news.set()
        self._writable.set()

    async def _start_tls(self) -> None:
        """Handshake. What came in clear behind the command is an injection and is dropped. RFC 2595 §4, RFC 3207 §6.

        From here to the moment when the loop reads for TLS nothing is awaited: a peer that waits for our invitation
        cannot lose the beginning of its handshake.
        """
        context = self._info.tls_context
        if context is None or self._tls:
            raise LocalError("a session asked for TLS where there is none to have")
        self._require_peer()
        self._inbox.clear()
        self._reading_paused = False  # start_tls reads again, whatever was before
        self._upgrading = True
        plain = self._transport
        upgraded = None
        try:
            with self._clients_turn:
                upgraded = await self._loop.start_tls(
                    plain, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
                )
        except OSError as error:
            maillog.tls_failed(peer=self._info.peer, error=str(error) or type(error).__name__)
        if upgraded is None or upgraded.is_closing():
            # A connection that ends within the handshake ends without a call of connection_lost.
            plain.abort()
            self._mark_lost()
            raise PeerError("tls")
        self._upgrading = False
        self._transport = upgraded
        self._tls = True
        self._pause_reading_if_full()
        upgraded.set_write_buffer_limits(high=HIGH_WATER_OCTETS)
        cipher = upgraded.get_extra_info("cipher") or ("unknown", "unknown", 0)
        maillog.tls_started(version=cipher[1], cipher=cipher[0])
        self._session.tls_started()

    # The end

    async def _end(self, reason: str) -> None:
        try:
            await self._session.closed()
            await self._part()
        except Exception as error:  # noqa: BLE001 - the top of a connection, as in `_run`
            maillog.bug(what="end of session", error=error)
        finally:
            self._transport.abort()
            ended(self, reason="aborted" if self._aborted else reason)
            self._registry.closed(self)

    async def _part(self) -> None:
        """Close, and see to it that the last words are read if the peer wants to read them."""
        self._parting = True
        self._inbox.clear()
        if not self._transport.is_closing():
            self._resume_reading()  # also under TLS: a close with octets undecrypted would be an error there
            try:
                self._transport.set_write_buffer_limits(high=1, low=0)
                await self._taken()
            except PeerError:
                self.abort()
        if not self._transport.is_closing() and self._transport.can_write_eof():
            try:
                self._transport.write_eof()
                await self._until(lambda: self._eof, self._loop.time() + LINGER_S)
            except OSError:
                pass  # reset by the peer, and the loop has not told yet
        self._transport.close()
        await self._until(lambda: self._lost, self._loop.time() + PARTING_S)
