"""Connections of SMTP, on aiosmtpd: the one module that touches it. `docs/decisions/0003-smtp-on-aiosmtpd.md`.

aiosmtpd gives the protocol object with its streams and flow control, and STARTTLS: the handshake on a running
connection and the forgetting of what came in clear. Its loop over commands is replaced, because that takes an LF for
a line end, waits for ever for the end of a line, knows no end of a session but the client's, drops a session (a commit
on its way too) when the client has said its last word, and writes each reply alone.

Guarantees: a line ends with CRLF or the session ends; replies to commands that were sent together leave together; a
client has one span of time for a whole command, and for each kilobyte of a message; nothing received before TLS is seen
after it; a goodbye comes at a command boundary, at once where the client is idle; no error leaves the connection.

Private names of aiosmtpd 1.4.6 used here: `_handle_client`, `_timeout_cb`, `_reader`, `_writer`, and of asyncio's
`StreamReader` `_buffer`. `tests/unit/maillib/runtime/test_aiosmtpd_names.py` fails when a version changes them.
"""

import asyncio
from typing import NoReturn, Protocol, cast

from aiosmtpd import smtp as aiosmtpd

from maillib import maillog
from maillib.errors import MailError, PeerError
from maillib.runtime.service import ClientsTurn, ConnectionInfo, Registry, SessionInfo, ended, say_and_abort

READ_AHEAD_OCTETS = 32 * 1024
"""A line that has not ended by then never will; twice as much is read ahead of a session that is busy."""

PIECE_OCTETS = 64 * 1024
"""Of a message, taken in one go."""

SLOWEST_OCTETS = 1024
"""So much of a message has to come within the time that a command may take."""

JOINED_OCTETS = 16 * 1024
"""Replies kept back at most while more commands wait."""

PARTING_S = 30.0
"""How long a peer may take for the rest of our words and its own farewell under TLS; asyncio has the same limit."""

LINGER_S = 2.0
"""How long a peer may go on sending after our last words: a close with octets unread makes the kernel drop them."""


class Dialogue(Protocol):
    """What a session has to offer. Replies are whole; their code says what the client sends next."""

    @property
    def user(self) -> str | None: ...
    @property
    def doing(self) -> str: ...
    @property
    def timeout_s(self) -> float:
        """For a whole command."""

    @property
    def delay_s(self) -> float:
        """How long to hold back the reply that was given last."""

    def greeting(self) -> bytes: ...
    def goodbye(self) -> bytes: ...
    def timed_out(self) -> bytes: ...
    def endless_line(self) -> bytes: ...
    def bare_line_end(self) -> bytes: ...
    def tls_started(self, version: str, cipher: str) -> None: ...
    async def command(self, line: bytes) -> bytes: ...
    async def answer(self, line: bytes) -> bytes:
        """After 334."""

    async def receive(self, octets: bytes) -> bytes | None:
        """After 354: octets of the message; what follows its end, None while it has not come."""

    async def message_received(self) -> bytes: ...
    async def closed(self) -> None: ...


aiosmtpd.log.disabled = True  # our log says what happens; theirs would format each line for nobody


class _NoHooks:
    """In place of aiosmtpd's handler, whose names it looks through for each connection."""

    def __dir__(self) -> list[str]:
        return []


class SmtpConnection(aiosmtpd.SMTP):
    """One accepted connection, driven by a task of its own."""

    line_length_limit = READ_AHEAD_OCTETS

    def __init__(self, info: ConnectionInfo, dialogue: Dialogue, registry: Registry) -> None:
        super().__init__(_NoHooks(), hostname="unused", tls_context=info.tls_context, loop=asyncio.get_running_loop())
        self._info = info
        self._dialogue = dialogue
        self._registry = registry
        self._task: asyncio.Task[None] | None = None
        self._tls = info.tls
        self._unsaid = bytearray()
        """Replies that leave together with the next ones."""
        self._idle: asyncio.Timeout | None = None
        """Set while we wait for a command."""
        self._clients_turn = ClientsTurn()
        self._in_handshake = False
        self._leaving = False
        self._aborted = False

    def __dir__(self) -> list[str]:
        """aiosmtpd looks through it, twice for each connection, for commands; none of its own are used."""
        return []

    # asyncio.Protocol, and what aiosmtpd calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._task is None:  # else TLS has begun
            self._registry.opened(self)
            self._task = self.loop.create_task(self._run())

    async def _handle_client(self) -> None:
        """Not used: aiosmtpd cancels it as soon as the client has said its last word, which may be before our last."""

    def _timeout_cb(self) -> None:
        """Not used: time is limited where we wait."""

    async def push(self, status: object) -> None:
        """Called by smtp_STARTTLS alone, with an invitation that lacks the status code of RFC 2034."""
        await super().push("220 2.0.0 Ready to start TLS")

    # Session of the registry

    def describe(self) -> SessionInfo:
        return SessionInfo(
            id=self._info.conn,
            user=self._dialogue.user,
            peer=self._info.peer,
            listener=self._info.listener.address,
            tls=self._tls,
            since=self._info.since,
            doing=self._dialogue.doing,
        )

    def goodbye(self) -> None:
        self._leaving = True
        if self._idle is not None and not self._idle.expired():
            self._idle.reschedule(self.loop.time())

    def abort(self) -> None:
        self._aborted = True
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()  # uvloop's transports derive from none of asyncio's

    @property
    def silent_since(self) -> float | None:
        return None if self._dialogue.user or self._aborted else self._clients_turn.since

    def dismiss(self, words: bytes) -> None:
        self._aborted = True
        if self.transport is not None:
            say_and_abort(cast(asyncio.Transport, self.transport), words, tls=self._tls or self._in_handshake)

    # The task

    async def _run(self) -> None:
        maillog.bind_connection(self._info.conn)
        maillog.connected(peer=self._info.peer, listener=self._info.listener.address, tls=self._tls, via=self._info.via)
        reason = "failed"
        try:
            await self._converse()
        except PeerError as error:
            reason = str(error)
        except MailError as error:
            maillog.problem(what="session", error=str(error))
        except Exception as error:  # noqa: BLE001 - the top of a connection: it dies, the worker lives
            maillog.bug(what="session", error=error)
        finally:
            try:
                await self._dialogue.closed()
            except Exception as error:  # noqa: BLE001 - the same
                maillog.bug(what="end of session", error=error)
            with self._clients_turn:
                await self._part()
            ended(self, reason="aborted" if self._aborted else reason)
            self._registry.closed(self)

    async def _converse(self) -> None:
        """The whole dialogue. Raises PeerError, with the reason, when it has ended."""
        if self._tls:
            self._note_cipher()
        self._unsaid += self._dialogue.greeting()
        while True:
            if self._leaving:
                await self._end("goodbye", self._dialogue.goodbye())
            await self._serve(await self._dialogue.command(await self._line(between_commands=True)))

    async def _serve(self, reply: bytes) -> None:
        """Send the reply, and do what its code says, until the client may give its next command."""
        while True:
            if delay_s := self._dialogue.delay_s:
                await self._flush()
                with self._clients_turn:
                    await asyncio.sleep(delay_s)
            match reply[:3]:
                case b"220":
                    return await self._start_tls()
                case b"221":
                    await self._end("quit", reply)
                case b"421":
                    await self._end("errors", reply)
            self._unsaid += reply
            match reply[:3]:
                case b"334":
                    reply = await self._dialogue.answer(await self._line(between_commands=False))
                case b"354":
                    reply = await self._message()
                case _:
                    return None

    # Input

    async def _line(self, *, between_commands: bool) -> bytes:
        """The next line, without its end. Replies wait only while another whole line is there already."""
        if b"\n" not in self._buffered or len(self._unsaid) > JOINED_OCTETS:
            await self._flush()
        try:
            async with asyncio.timeout(self._dialogue.timeout_s) as patience:
                if between_commands:
                    self._idle = patience
                with self._clients_turn:
                    line = await self._reader.readuntil(b"\n")
        except TimeoutError:
            if self._leaving and between_commands:
                await self._end("goodbye", self._dialogue.goodbye())
            await self._end("timeout", self._dialogue.timed_out())
        except asyncio.LimitOverrunError:
            await self._end("errors", self._dialogue.endless_line())
        except (asyncio.IncompleteReadError, OSError):
            raise PeerError("lost") from None
        finally:
            self._idle = None
        if not line.endswith(b"\r\n"):
            await self._end("errors", self._dialogue.bare_line_end())
        return line[:-2]

    async def _message(self) -> bytes:
        """Hand the octets of a message to the dialogue, up to its end; the reply to it."""
        await self._flush()
        rest = None
        came = SLOWEST_OCTETS
        while rest is None:
            if came >= SLOWEST_OCTETS:
                came = 0
                deadline = self.loop.time() + self._dialogue.timeout_s
            piece = await self._piece(deadline)
            came += len(piece)
            rest = await self._dialogue.receive(piece)
        self._buffered[:0] = rest
        return await self._dialogue.message_received()

    async def _piece(self, deadline: float) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                with self._clients_turn:
                    piece = await self._reader.read(PIECE_OCTETS)
        except TimeoutError:
            await self._end("timeout", self._dialogue.timed_out())
        except OSError:
            raise PeerError("lost") from None
        if not piece:
            raise PeerError("lost")
        return piece

    @property
    def _buffered(self) -> bytearray:
        """What was received and not read yet."""
        buffer: bytearray = self._reader._buffer  # type: ignore[attr-defined]
        return buffer

    # Output

    async def _flush(self) -> None:
        """Send what is unsaid. Raises PeerError when the peer is gone or reads nothing."""
        if not self._unsaid:
            return
        if self._writer.transport.is_closing():
            raise PeerError("lost")
        self._writer.write(bytes(self._unsaid))
        self._unsaid.clear()
        try:
            async with asyncio.timeout(self._dialogue.timeout_s):
                with self._clients_turn:
                    await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()  # a close would wait for a reader that there is not
            raise PeerError("timeout") from None
        except OSError:
            raise PeerError("lost") from None

    async def _end(self, reason: str, words: bytes) -> NoReturn:
        """Say the last words, and raise PeerError with the reason."""
        self._unsaid += words
        await self._flush()
        raise PeerError(reason)

    # TLS

    async def _start_tls(self) -> None:
        """Invite the handshake and do it. What came in clear behind the command is an injection. RFC 3207 §6."""
        await self._flush()
        while self._buffered:  # aiosmtpd empties it too, but leaves a reader paused that was full
            await self._reader.read(PIECE_OCTETS)
        error = "the client went away"
        self._in_handshake = True
        try:
            with self._clients_turn:
                await self.smtp_STARTTLS("")
        except aiosmtpd.TLSSetupException as failure:
            error = str(failure.__cause__)
        if self.session is None or self.session.ssl is None:
            maillog.tls_failed(peer=self._info.peer, error=error)
            self._writer.transport.abort()
            self.connection_lost(None)  # nobody else says so: TLS has our place at the transport, and never came to be
            raise PeerError("tls")
        self._tls = True
        version, cipher = self._note_cipher()
        maillog.tls_started(version=version, cipher=cipher)

    def _note_cipher(self) -> tuple[str, str]:
        """Tell the dialogue that TLS is on; version and name of the cipher."""
        name, version, _ = self._writer.get_extra_info("cipher")
        self._dialogue.tls_started(version, name)
        return version, name

    # The end

    async def _part(self) -> None:
        """Close, and see to it that the last words are read if the peer wants to read them."""
        transport = self._writer.transport
        try:
            if not transport.is_closing() and transport.can_write_eof():
                transport.write_eof()
                async with asyncio.timeout(LINGER_S):
                    while await self._reader.read(PIECE_OCTETS):
                        pass
        except OSError:  # TimeoutError is one
            pass
        transport.close()
        try:
            async with asyncio.timeout(PARTING_S):
                await self._writer.wait_closed()
        except TimeoutError:
            transport.abort()
        except OSError:
            pass  # closed, though not by us
