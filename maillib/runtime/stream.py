"""Connections of line-oriented protocols: bytes between a socket and a `StreamSession`, which never sees the socket.

Guarantees: a session is asked for its next step only when the one before has ended and its output has left our
buffers (up to the high-water mark); replies to commands that came together leave together; a peer has one span of time
for a whole command, however it spreads the octets, and as long again to take some of what we have for it; nothing
received before TLS is seen after it; a goodbye comes between two commands, at once where the peer is idle; last words
reach a peer that is still sending; a step is never cut because its peer went away; `closed` is called exactly once; no
error leaves the connection. It is the same on asyncio and on uvloop.

A connection that waits for its peer is this object, its session and one timer, which is moved only when it has fired:
there is no task. What arrives is served within the call that brings it, see `eager`.

Leaves to others: accepting, limits and the handshake of implicit TLS (`accepting`), when to leave (`worker`).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import cast

from maillib import maillog
from maillib.dialog import Next, StreamSession
from maillib.errors import LocalError, MailError, PeerError
from maillib.runtime import eager
from maillib.runtime.service import ConnectionInfo, Registry, SessionInfo, say_and_abort

HIGH_WATER_OCTETS = 64 * 1024
"""Output kept for a slow reader before the session has to wait. Under TLS as much again lies below the encryption."""

JOINED_OCTETS = 64 * 1024
"""Output kept back at most while more commands wait."""

PAUSE_READING_OCTETS = 64 * 1024
"""Input kept for a busy session before the peer has to wait: pipelining clients send ahead."""

STEPS_AT_ONCE = 32
"""Commands of one connection served in one go before others get their turn."""

HANDSHAKE_TIMEOUT_S = 30.0

PARTING_S = 30.0
"""How long a TLS peer may take for its own farewell; asyncio has the same limit."""

LINGER_S = 2.0
"""How long a peer may go on sending after our last words: a close with octets unread makes the kernel drop them."""


class StreamConnection(asyncio.Protocol):
    """One accepted connection."""

    __slots__ = (
        "_aborted", "_busy", "_deadline", "_eof", "_inbox", "_info", "_leaving", "_left", "_loop", "_lost", "_parting",
        "_reading_paused", "_reason", "_registry", "_session", "_task", "_timer", "_timer_at", "_tls", "_transport",
        "_unsaid", "_unsaid_octets", "_upgrading", "_waiter", "_waiting_since", "_woken", "_writing_paused",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, info: ConnectionInfo, session: StreamSession, registry: Registry) -> None:
        self._info = info
        self._session = session
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._tls = info.tls
        self._busy = False
        """A step of the session, or a handshake, is under way."""
        self._task: asyncio.Task[None] | None = None
        """It had to wait for something."""
        self._waiter: asyncio.Future[None] | None = None
        """It waits for the peer, in the middle of a step."""
        self._waiting_since: float | None = None
        """By the loop's clock; None: it is our turn."""
        self._deadline: float | None = None
        """When the next command has to be there; None: its time begins with our waiting for it."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._inbox = bytearray()
        """What came while the session was busy."""
        self._unsaid: list[bytes] = []
        """Output that leaves together with the next one."""
        self._unsaid_octets = 0
        self._reading_paused = False
        self._writing_paused = False
        self._woken = False
        """The session wants its turn though nothing has come."""
        self._upgrading = False
        """In a handshake: the first octets of TLS may come before we know their transport."""
        self._eof = False
        """The peer will send no more; it may still be reading."""
        self._lost = False
        self._leaving = False
        self._aborted = False
        self._parting = False
        """Everything is said; what still comes in is dropped."""
        self._reason = ""
        """Why it ended."""
        self._left: int | None = None
        """Octets of our last words that had not left when we looked last."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports derive from none of asyncio's
        self._transport.set_write_buffer_limits(high=HIGH_WATER_OCTETS)
        self._registry.opened(self)
        self._begin(self._greet())

    def data_received(self, data: bytes) -> None:
        if self._parting:
            return
        if self._busy:
            self._inbox += data
            self._pause_reading_if_full()
        else:
            self._begin(self._hear(data))

    def eof_received(self) -> bool:
        self._eof = True
        if self._parting:
            self._linger()
        elif not self._busy:
            self._begin(self._serve(Next.NEED_DATA))
        return not self._tls  # a half-closed peer still gets its answers; TLS knows no half

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._eof = self._lost = True
        self._wake()
        if self._parting:
            self._gone()
        elif not self._busy:
            self._begin(self._serve(Next.NEED_DATA))

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    # Carrier

    @property
    def cipher(self) -> str | None:
        if not self._tls:
            return None
        version, name = self._version_and_cipher()
        return f"{version} {name}"

    async def send(self, data: bytes) -> None:
        if self._lost:
            raise PeerError("lost")
        self._unsaid.append(data)
        self._unsaid_octets += len(data)
        if self._unsaid_octets > JOINED_OCTETS:
            await self._flush()

    async def pause(self, delay_s: float) -> None:
        await self._flush()
        deadline = self._loop.time() + delay_s
        while not self._lost and self._loop.time() < deadline:
            await self._wait(deadline)

    def wake(self) -> None:
        self._woken = True
        if not self._busy and not self._parting:
            self._begin(self._serve(Next.NEED_DATA))

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
        if not self._busy and not self._parting:
            self._begin(self._serve(Next.NEED_DATA))

    def abort(self) -> None:
        self._aborted = True
        self._transport.abort()

    @property
    def silent_since(self) -> float | None:
        return None if self._session.user or self._aborted else self._waiting_since

    def dismiss(self, words: bytes) -> None:
        self._aborted = True
        say_and_abort(self._transport, words, tls=self._tls or self._upgrading)

    # The dialogue: each of these serves until the session needs more than has come (None), or is over (why)

    async def _greet(self) -> str | None:
        info = self._info
        maillog.connected(peer=info.peer, listener=info.listener.address, tls=self._tls, via=info.via)
        return await self._serve(await self._session.greet(self))

    async def _hear(self, data: bytes) -> str | None:
        self._session.receive(data)
        return await self._serve(await self._session.advance(self))

    async def _serve(self, step: Next) -> str | None:
        session = self._session
        steps = 0
        while True:
            if step is Next.CLOSE:
                return "quit"
            if step is Next.START_TLS:
                await self._start_tls()
            if step is not Next.NEED_DATA:
                self._deadline = None
            needs_data = step is Next.SERVED or step is Next.NEED_DATA
            if needs_data and not self._inbox:
                await self._flush()
            if self._leaving and (words := session.goodbye()) is not None:
                await self.send(words)
                return "goodbye"
            if needs_data and self._inbox:
                session.receive(self._take_input())
            elif needs_data and (self._eof or not self._woken):
                return "lost" if self._eof else None
            self._woken = False
            steps += 1
            if steps % STEPS_AT_ONCE == 0:
                await asyncio.sleep(0)
            step = await session.advance(self)

    async def _time_out(self) -> str:
        await self.send(self._session.timed_out())
        return "timeout"

    def _begin(self, work: Coroutine[object, None, str | None]) -> None:
        maillog.bind_connection(self._info.conn)
        self._busy = True
        self._waiting_since = None
        self._task = eager.start(self._run(work))

    async def _run(self, work: Coroutine[object, None, str | None]) -> None:
        reason: str | None = "failed"
        try:
            reason = await work
        except PeerError as error:
            reason = str(error)
        except MailError as error:
            maillog.problem(what="session", error=str(error))
        except Exception as error:  # noqa: BLE001 - the top of a connection: it dies, the worker lives
            maillog.bug(what="session", error=error)
            reason = "bug"
        finally:
            if reason is None:
                self._wait_for_command()
            else:
                await self._end(reason)
            self._task = None

    # Waiting

    def _wait_for_command(self) -> None:
        self._busy = False
        self._waiting_since = now = self._loop.time()
        if self._deadline is None:
            self._deadline = now + self._session.timeout_s
        if self._timer is None or self._deadline < self._timer_at:
            self._set_timer(self._deadline, self._command_due)

    def _set_timer(self, when: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, call)

    def _command_due(self) -> None:
        self._timer = None
        if self._busy or self._deadline is None:
            return  # whoever waits next sets it again
        if self._loop.time() < self._deadline:  # a command has moved it
            self._set_timer(self._deadline, self._command_due)
        else:
            self._begin(self._time_out())

    async def _wait(self, deadline: float) -> None:
        """In the middle of a step: return at `deadline`, or when something has happened to the transport."""
        timer = self._loop.call_at(deadline, self._wake)
        self._waiter = self._loop.create_future()
        self._waiting_since = self._loop.time()
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = self._waiting_since = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Input

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

    # Output

    def _write(self) -> None:
        """Give what is unsaid to the transport. Raises PeerError when the peer is gone."""
        if not self._unsaid:
            return
        if self._lost or self._transport.is_closing():
            raise PeerError("lost")
        self._transport.write(b"".join(self._unsaid))
        self._unsaid.clear()
        self._unsaid_octets = 0

    async def _flush(self) -> None:
        """Write, and wait until the peer has taken enough, as long as it takes anything. Raises PeerError."""
        self._write()
        if not self._writing_paused:
            return
        left = self._transport.get_write_buffer_size()
        deadline = self._loop.time() + self._session.timeout_s
        while self._writing_paused and not self._lost:
            await self._wait(deadline)
            if self._loop.time() >= deadline:
                before, left = left, self._transport.get_write_buffer_size()
                if left >= before:
                    raise PeerError("timeout")
                deadline = self._loop.time() + self._session.timeout_s
        if self._lost:
            raise PeerError("lost")

    # TLS

    async def _start_tls(self) -> None:
        """Handshake. What came in clear behind the command is an injection and is dropped. RFC 2595 §4, RFC 3207 §6.

        From the moment when our invitation has left to that when the loop reads for TLS nothing is awaited: a peer
        that waits for it cannot lose the beginning of its handshake.
        """
        context = self._info.tls_context
        if context is None or self._tls:
            raise LocalError("a session asked for TLS where there is none to have")
        await self._flush()
        self._inbox.clear()
        self._reading_paused = False  # start_tls reads again, whatever was before
        self._upgrading = True
        self._waiting_since = self._loop.time()
        plain = self._transport
        upgraded = None
        try:
            upgraded = await self._loop.start_tls(
                plain, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
            )
        except OSError as error:
            maillog.tls_failed(peer=self._info.peer, error=str(error) or type(error).__name__)
        if upgraded is None or upgraded.is_closing():
            # A connection that ends within the handshake ends without a call of connection_lost.
            plain.abort()
            self._eof = self._lost = True
            raise PeerError("tls")
        self._upgrading = False
        self._waiting_since = None
        self._transport = upgraded
        self._tls = True
        self._pause_reading_if_full()
        upgraded.set_write_buffer_limits(high=HIGH_WATER_OCTETS)
        version, name = self._version_and_cipher()
        maillog.tls_started(version=version, cipher=name)
        self._session.tls_started()

    def _version_and_cipher(self) -> tuple[str, str]:
        name, version, _ = self._transport.get_extra_info("cipher") or ("unknown", "unknown", 0)
        return version, name

    # The end

    async def _end(self, reason: str) -> None:
        """Let the session release what it holds, and close."""
        self._reason = reason
        try:
            await self._session.closed()
        except Exception as error:  # noqa: BLE001 - the top of a connection, as in `_run`
            maillog.bug(what="end of session", error=error)
        self._parting = True
        self._waiting_since = self._loop.time()
        self._inbox.clear()
        if self._lost:
            self._gone()
            return
        with contextlib.suppress(PeerError):
            self._write()
        self._resume_reading()  # also under TLS: a close with octets undecrypted would be an error there
        if not self._transport.is_closing() and self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # reset by the peer, and the loop has not told yet
                self._transport.write_eof()
        self._linger()

    def _linger(self) -> None:
        """See to it that the last words are read if the peer wants to read them; then close."""
        now = self._loop.time()
        left = self._transport.get_write_buffer_size()
        if self._left is None or left < self._left:
            self._left = left
            self._deadline = now + (self._session.timeout_s if left else LINGER_S)
        assert self._deadline is not None
        if left == 0 and (self._eof or self._tls or now >= self._deadline):
            self._transport.close()
            if self._tls:  # else that is all
                self._set_timer(now + PARTING_S, self._transport.abort)
        elif now >= self._deadline:
            self.abort()
        else:
            self._set_timer(min(self._deadline, now + LINGER_S), self._linger)

    def _gone(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        maillog.disconnected(
            reason="aborted" if self._aborted else self._reason,
            duration_s=time.monotonic() - self._info.began,
            user=self._session.user,
        )
        self._registry.closed(self)
