"""What one IMAP connection does. RFC 9051, RFC 3501; for extensions see `imap_capabilities`.

Guarantees: no log-in without TLS unless the listener allows it, and then the name is refused before a password is
asked for; an unknown user and a wrong password are answered alike; commands are served one after the other, in order,
and what is new is told between a command's answer and its end; a client that says nothing is told news only in IDLE.

Leaves to others: who a client is (`imap_login`), what each command does (`imap_commands`, `imap_append`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from maillib import maillog
from maillib.dialog import Carrier, Next, Output
from maillib.errors import (
    AuthenticationFailed,
    Conflict,
    MailError,
    PeerError,
    PermanentError,
    TemporaryError,
)
from maillib.ports.directory import Account
from maillib.protocols import sasl
from maillib.protocols.imap import events, replies
from maillib.protocols.imap.commands import (
    Authenticate,
    Command,
    Compress,
    Id,
    Login,
    Plain,
    keyword,
)
from maillib.protocols.imap.server import ImapServer
from maillib.sessions import (
    imap_capabilities,
    imap_commands,
)
from maillib.sessions.imap_append import Appending
from maillib.sessions.imap_client import Client, Done, Shared
from maillib.sessions.imap_compression import Compressed
from maillib.sessions.imap_login import ImapLogin
from maillib.sessions.imap_replies import Bad, MailboxGone, Refused, refusal, refusal_of
from maillib.settings.imap import ImapSettings
from maillib.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for a connection from its first moment."""

    hostname: str
    tls: bool
    starttls: bool
    """TLS is to be had by STARTTLS."""
    cleartext_login: bool
    peer_host: str


class ImapSession:
    """One connection."""

    __slots__ = (
        "_appending", "_client", "_clock", "_compressed", "_core", "_doing", "_errors", "_idle", "_login",
        "_login_deadline", "_settings", "_shared", "_terms", "_tls", "_wake",
    )  # fmt: skip

    def __init__(
        self, settings: ImapSettings, shared: Shared, terms: Terms, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._shared = shared
        self._terms = terms
        self._clock = clock
        self._core = ImapServer()
        self._login = ImapLogin(self._core)
        self._tls = terms.tls
        self._login_deadline = clock() + settings.login_timeout
        self._client: Client | None = None
        """From the log-in on."""
        self._appending: Appending | None = None
        """While an APPEND comes in."""
        self._compressed: Compressed | None = None
        """From COMPRESS on."""
        self._idle: str | None = None
        """The tag of an IDLE under way."""
        self._wake: Callable[[], None] = lambda: None
        self._doing = ""
        """What takes long; empty: nothing."""
        self._errors = 0

    @property
    def user(self) -> str | None:
        return str(self._client.account.address) if self._client else None

    @property
    def doing(self) -> str:
        if self._client is None:
            return "login"
        return self._doing or ("APPEND" if self._appending else "IDLE" if self._idle else "waiting")

    @property
    def timeout_s(self) -> float:
        return self._settings.idle_timeout if self._client else self._login_deadline - self._clock()

    async def greet(self, output: Carrier) -> Next:
        self._wake = output.wake
        words = " ".join(self._capabilities())
        text = f"{self._terms.hostname} IMAP server ready"
        await output.send(replies.untagged("OK", text, code=f"CAPABILITY {words}"))
        return Next.AGAIN

    def receive(self, data: bytes) -> None:
        if self._compressed is None:
            self._core.receive(data)
        else:
            self._compressed.deflate.receive(data)

    def tls_started(self) -> None:
        self._tls = True
        self._core.forget()
        self._login.forget()

    def goodbye(self) -> bytes | None:
        if self._appending is not None:
            return None
        return self._last_words(replies.untagged("BYE", "the server is shutting down", code="UNAVAILABLE"))

    def timed_out(self) -> bytes:
        return self._last_words(replies.untagged("BYE", "you have said nothing for too long"))

    def _last_words(self, words: bytes) -> bytes:
        return words if self._compressed is None else self._compressed.deflate.compress(words)

    async def closed(self) -> None:
        if self._appending is not None:
            await self._appending.abort()
        if self._client is not None:
            self._client.unselect()

    async def advance(self, output: Carrier) -> Next:
        output = self._compressed or output
        try:
            event = self._next_event()
        except PeerError as error:
            maillog.bad_command(command="unknown", reply=str(error))
            await self._bye(str(error), output)
            raise PeerError("errors") from None
        try:
            if event is None:
                return await self._look_around(output)
            return await self._take(event, output)
        except MailboxGone:
            await self._bye("the selected mailbox was deleted", output)
            raise PeerError("mailbox-deleted") from None

    def _next_event(self) -> events.Event | None:
        """Raises PeerError."""
        event = self._core.next_event()
        while event is None and self._compressed is not None and (piece := self._compressed.deflate.next_piece()):
            self._core.receive(piece)
            event = self._core.next_event()
        return event

    async def _bye(self, text: str, output: Output) -> None:
        await output.send(replies.untagged("BYE", text))

    async def _look_around(self, output: Output) -> Next:
        client = self._client
        if self._idle is not None and client is not None and client.has_news:
            await self._tell_news(client, output, expunges=True)
        return Next.NEED_DATA

    # Events

    async def _take(self, event: events.Event, output: Carrier) -> Next:
        match event:
            case events.Tagged(tag, command):
                step = await self._serve(tag, command, output)
                is_all = step is Next.AGAIN and self._core.is_empty and self._compressed is None
                return Next.SERVED if is_all else step
            case events.AppendBegun(tag, mailbox):
                self._appending = Appending(self._logged_in(), tag)
                await self._appending.begin(mailbox)
            case events.AppendMessage() | events.AppendData() | events.AppendEnded():
                await self._append(event, output)
            case events.LiteralAnnounced():
                await output.send(self._core.go_ahead())
            case events.SaslAnswer(data):
                await self._go_on(self._login.tag, lambda: self._login.answer(data), output)
            case events.IdleDone():
                tag, self._idle = self._idle or "", None
                await self._finish(tag, Done("that was IDLE", has_changed=True), output, expunges=True)
            case events.BadCommand():
                if self._appending is not None:
                    await self._appending.abort()
                self._appending = self._idle = None
                maillog.bad_command(command=event.keyword, reply=event.reason)
                await self._count_error(replies.refusal(event), output)
        return Next.AGAIN

    def _logged_in(self) -> Client:
        """Raises Bad."""
        if self._client is None:
            raise Bad("log in first")
        return self._client

    async def _append(
        self, event: events.AppendMessage | events.AppendData | events.AppendEnded, output: Output
    ) -> None:
        appending = self._appending
        assert appending is not None, "the core tells nothing of an APPEND that is over"
        try:
            match event:
                case events.AppendMessage():
                    await appending.announce(event)
                    await output.send(self._core.go_ahead())
                case events.AppendData(data):
                    await appending.feed(data)
                case events.AppendEnded():
                    done = await appending.finish()
                    self._appending = None
                    await self._finish(appending.tag, done, output, expunges=True)
        except (Refused, TemporaryError, PermanentError) as error:
            await appending.abort()
            self._appending = None
            if not isinstance(event, events.AppendEnded):
                self._core.refuse_literal()
            await self._refuse(appending.tag, "APPEND", error, output)

    async def _serve(self, tag: str, command: Command, output: Carrier) -> Next:
        if isinstance(command, Login | Authenticate):
            await self._go_on(tag, lambda: self._begin_login(tag, command), output)
            return Next.AGAIN
        client = self._client
        try:
            if command is Plain.LOGOUT:
                await self._bye("until next time", output)
                await output.send(replies.tagged(tag, "OK", "logged out"))
                return Next.CLOSE
            if command is Plain.STARTTLS:
                return await self._start_tls(tag, output)
            if isinstance(command, Compress):
                await self._compress(tag, command, output)
                return Next.AGAIN
            if command is Plain.IDLE:
                await self._begin_idle(tag, self._logged_in(), output)
                return Next.AGAIN
            done = await self._any_state(command, output)
            if done is None:
                done = await imap_commands.serve(self._logged_in(), tag, command, output)
        except (Refused, TemporaryError, PermanentError, Conflict) as error:
            if client is not None and client.has_selected and not isinstance(error, Bad):
                await self._tell_news(client, output, expunges=not imap_commands.is_by_number(command))
            await self._refuse(tag, keyword(command), error, output)
        else:
            await self._finish(tag, done, output, expunges=not imap_commands.is_by_number(command))
        return Next.AGAIN

    async def _any_state(self, command: Command, output: Output) -> Done | None:
        """Commands that need no log-in; None: it is none of them."""
        match command:
            case Plain.CAPABILITY:
                await output.send(replies.capability(self._capabilities()))
            case Plain.NOOP if self._client is None:
                pass
            case Id():
                await output.send(replies.server_id({"name": "Postroom", "version": VERSION}))
            case _:
                return None
        return Done("done")

    async def _finish(self, tag: str, done: Done, output: Output, *, expunges: bool) -> None:
        client = self._client
        if client is not None:
            self._errors = 0
            if client.has_selected and (done.has_changed or client.has_news or client.selected.owes(expunges=expunges)):
                await self._tell_news(client, output, expunges=expunges)
        code = done.code
        if code is None and done.tells_modseq and client is not None and client.condstore:
            code = f"HIGHESTMODSEQ {client.selected.modseq}"
        await output.send(replies.tagged(tag, "OK", done.text, code=code))

    async def _tell_news(self, client: Client, output: Output, *, expunges: bool) -> None:
        try:
            await client.tell_news(output, expunges=expunges)
        except TemporaryError as error:  # the next command tries again
            client.has_news = True
            maillog.problem(what="news of a mailbox", error=str(error))

    async def _refuse(self, tag: str, name: str, error: MailError, output: Output) -> None:
        if not isinstance(error, Refused):
            if isinstance(error, TemporaryError):
                maillog.problem(what=name, error=str(error))
            error = refusal_of(error)
        if isinstance(error, Bad):
            maillog.bad_command(command=name, reply=error.text)
            await self._count_error(refusal(tag, error), output)
        else:
            await output.send(refusal(tag, error))

    async def _count_error(self, reply: bytes, output: Output) -> None:
        """Send `reply`; end the session when it has made too many mistakes."""
        self._errors += 1
        await output.send(reply)
        if self._errors >= self._settings.max_errors:
            await self._bye("too many errors", output)
            raise PeerError("errors")

    async def _begin_idle(self, tag: str, client: Client, output: Output) -> None:
        """RFC 2177. News from before are told at once."""
        await output.send(replies.continuation("idling"))
        self._idle = tag
        self._core.expect_done(tag)
        if client.has_selected:
            await self._tell_news(client, output, expunges=True)

    async def _compress(self, tag: str, command: Compress, carrier: Carrier) -> None:
        """RFC 4978 §3. What has come behind the command is compressed already."""
        self._logged_in()
        if command.mechanism != "DEFLATE":
            raise Refused(f"{command.mechanism} is not spoken here")
        if self._compressed is not None:
            raise Refused("compression is on already", code="COMPRESSIONACTIVE")
        await carrier.send(replies.tagged(tag, "OK", "compressed from here on"))
        self._compressed = Compressed(carrier)
        self._compressed.deflate.receive(self._core.take_rest())

    # Before the log-in

    def _capabilities(self) -> list[str]:
        if self._client is not None:
            return imap_capabilities.after_login(self._settings, may_compress=self._compressed is None)
        return imap_capabilities.before_login(may_log_in=self._may_log_in, may_start_tls=self._may_start_tls)

    @property
    def _may_log_in(self) -> bool:
        return self._tls or self._terms.cleartext_login

    @property
    def _may_start_tls(self) -> bool:
        return self._terms.starttls and not self._tls and self._client is None

    async def _start_tls(self, tag: str, output: Output) -> Next:
        if self._client is not None:
            raise Bad("not after log-in")
        if not self._may_start_tls:
            raise Bad("TLS is on already" if self._tls else "there is no TLS here")
        await output.send(replies.tagged(tag, "OK", "begin TLS"))
        return Next.START_TLS

    def _begin_login(self, tag: str, command: Login | Authenticate) -> bytes | sasl.Credentials:
        if self._client is not None:
            raise Bad("not after log-in")
        if not self._may_log_in:
            hint = "use STARTTLS first" if self._may_start_tls else "not on this port"
            raise Refused(f"no log-in without TLS: {hint}", code="PRIVACYREQUIRED")
        return self._login.begin(tag, command)

    async def _go_on(self, tag: str, step: Callable[[], bytes | sasl.Credentials], output: Output) -> None:
        """With a log-in."""
        try:
            said = step()
        except Refused as refused:
            await self._refuse(tag, self._login.mechanism or "LOGIN", refused, output)
            return
        if isinstance(said, bytes):
            await output.send(said)
        else:
            await self._check(tag, said, output)

    async def _check(self, tag: str, credentials: sasl.Credentials, output: Output) -> None:
        login, mechanism = credentials.login, self._login.mechanism
        try:
            if credentials.acts_for_another:
                raise AuthenticationFailed(login)
            account = await self._shared.doorkeeper.authenticate(
                login, credentials.password, service="imap", host=self._terms.peer_host
            )
        except AuthenticationFailed as error:
            maillog.login_failed(user=login, mechanism=mechanism, peer=self._terms.peer_host)
            await self._count_error(refusal(tag, refusal_of(error)), output)
        except (TemporaryError, PermanentError) as error:
            await self._refuse(tag, "log-in", error, output)
        else:
            await self._furnish(account)
            self._client = Client(account, self._shared, self._settings, self._core)
            self._client.wake = self._hear
            self._core.logged_in()
            self._errors = 0
            maillog.login(user=str(account.address), mechanism=mechanism)
            words = " ".join(self._capabilities())
            await output.send(replies.tagged(tag, "OK", "logged in", code=f"CAPABILITY {words}"))

    async def _furnish(self, account: Account) -> None:
        """Nobody is kept out because a mailbox cannot be made."""
        try:
            await self._shared.furnisher.furnish(account.id)
        except (TemporaryError, PermanentError) as error:
            maillog.problem(what="mailboxes for a new account", error=str(error))

    def _hear(self) -> None:
        if self._idle is not None:
            self._wake()
