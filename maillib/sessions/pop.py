"""What one POP connection does. RFC 1939, RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034 (AUTH), RFC 3206 (codes).

Guarantees: no log-in without TLS unless the listener allows it, and then the name is refused before a password is
sent; an unknown user and a wrong password are answered alike; a message is sent with as many octets as LIST said
(before dots are stuffed) or the connection breaks: a damaged body is never passed off as a whole one. Messages go only
at QUIT; a connection that is lost, times out or is told goodbye deletes nothing.

APOP is not offered: it needs the password in clear at the server.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from maillib import maillog
from maillib.dialog import Next, Output
from maillib.errors import (
    AuthenticationFailed,
    Conflict,
    LocalError,
    MailError,
    NotFound,
    PeerError,
    PermanentError,
    TemporaryError,
)
from maillib.ports.blobs import Blobs
from maillib.ports.index import Index
from maillib.ports.leases import Leases
from maillib.protocols import pop3, sasl
from maillib.protocols.pop3 import BadCommand, Plain, Pop3Server, TopFilter, err, ok
from maillib.sessions.doorkeeper import Doorkeeper
from maillib.sessions.maildrop import Maildrop
from maillib.sessions.pop_message import OutgoingMessage
from maillib.settings.pop import PopSettings

LINES_AT_ONCE = 1000
"""Of LIST and UIDL, sent in one piece."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client is told about an error."""

    code: str | None
    text: str


REPLIES: Mapping[type[MailError], Reply] = {  # the nearest class on the MRO wins
    AuthenticationFailed: Reply("AUTH", "user name or password is wrong"),
    Conflict: Reply("IN-USE", "another session has this maildrop"),
    NotFound: Reply(None, "no such message"),
    TemporaryError: Reply("SYS/TEMP", "that does not work now, try again later"),
    PermanentError: Reply("SYS/PERM", "that does not work"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a session needs of the store."""

    doorkeeper: Doorkeeper
    index: Index
    blobs: Blobs
    leases: Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for a connection from its first moment."""

    hostname: str
    tls: bool
    stls: bool
    """TLS is to be had by STLS."""
    cleartext_login: bool
    peer_host: str


class PopSession:
    """One connection."""

    def __init__(
        self, settings: PopSettings, ports: Ports, terms: Terms, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._terms = terms
        self._clock = clock
        self._core = Pop3Server()
        self._tls = terms.tls
        self._login_deadline = clock() + settings.login_timeout
        self._name: str | None = None
        """From USER; only the command right after it may use it."""
        self._maildrop: Maildrop | None = None
        """From the log-in on."""
        self._doing = "login"
        self._errors = 0
        self._retrieved = 0
        self._retrieved_octets = 0

    @property
    def user(self) -> str | None:
        return str(self._maildrop.account.address) if self._maildrop else None

    @property
    def doing(self) -> str:
        return self._doing

    @property
    def timeout_s(self) -> float:
        return self._settings.idle_timeout if self._maildrop else self._login_deadline - self._clock()

    async def greet(self, output: Output) -> Next:
        await output.send(ok(f"{self._terms.hostname} POP3 server ready"))
        return Next.AGAIN

    def receive(self, data: bytes) -> None:
        self._core.receive(data)

    def tls_started(self) -> None:
        self._tls = True
        self._core.forget()
        self._name = None

    def goodbye(self) -> bytes:
        return err("the server is shutting down", "SYS/TEMP")

    def timed_out(self) -> bytes:
        return b""  # "without ... sending any response to the client". RFC 1939 §3

    async def closed(self) -> None:
        if self._maildrop is None:
            return
        await self._maildrop.release()
        if self._retrieved:
            maillog.retrieved(
                user=str(self._maildrop.account.address), messages=self._retrieved, octets=self._retrieved_octets
            )

    async def advance(self, output: Output) -> Next:
        try:
            event = self._core.next_event()
        except PeerError:
            maillog.bad_command(command="unknown", reply="line too long")
            await output.send(err("line too long"))
            raise PeerError("errors") from None
        if event is None:
            return Next.NEED_DATA
        name, self._name = self._name, None
        match event:
            case BadCommand(keyword, reason):
                await self._refuse(keyword, reason, output)
            case Plain.QUIT:
                return await self._quit(output)
            case Plain.CAPA:
                await output.send(ok("this is what is here") + pop3.lines(self._capabilities()) + pop3.END)
            case _ if self._maildrop is not None:
                try:
                    await self._transact(event, self._maildrop, output)
                finally:
                    self._doing = "waiting"
            case _:
                return await self._authorize(event, name, output)
        return Next.AGAIN

    async def _refuse(self, keyword: str, reason: str, output: Output) -> None:
        maillog.bad_command(command=keyword, reply=reason)
        await self._count_error(err(reason), output)

    async def _count_error(self, reply: bytes, output: Output) -> None:
        """Send `reply`, or end the session when it has made too many mistakes."""
        self._errors += 1
        if self._errors >= self._settings.max_errors:
            await output.send(err("too many errors"))
            raise PeerError("errors")
        await output.send(reply)

    def _capabilities(self) -> Iterator[str]:
        yield from ("TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER")
        if self._may_log_in:
            yield from ("USER", "SASL PLAIN")
        if self._may_start_tls:
            yield "STLS"
        yield "IMPLEMENTATION Postroom"

    # AUTHORIZATION state

    @property
    def _may_log_in(self) -> bool:
        return self._tls or self._terms.cleartext_login

    @property
    def _may_start_tls(self) -> bool:
        return self._terms.stls and not self._tls and self._maildrop is None

    async def _authorize(self, event: pop3.Command, name: str | None, output: Output) -> Next:
        match event:
            case Plain.STLS:
                return await self._stls(output)
            case pop3.Auth(None):
                mechanisms = ["PLAIN"] if self._may_log_in else []
                await output.send(ok("mechanisms follow") + pop3.lines(mechanisms) + pop3.END)
            case pop3.User() | pop3.Pass() | pop3.Auth() if not self._may_log_in:
                hint = "use STLS first" if self._may_start_tls else "not on this port"
                await self._refuse(_keyword(event), f"no log-in without TLS: {hint}", output)
            case pop3.User(text):
                self._name = text
                await output.send(ok("send the password"))
            case pop3.Pass(password):
                if name is None:
                    await self._refuse("PASS", "USER comes right before PASS", output)
                else:
                    await self._log_in(name, password, "USER", output)
            case pop3.Auth("PLAIN", response) | pop3.SaslAnswer(bytes(response)):
                await self._authenticate_plain(response, output)
            case pop3.Auth():
                await self._refuse("AUTH", "no such mechanism", output)
            case pop3.SaslAnswer():
                await self._refuse("AUTH", "cancelled", output)
            case _:
                await self._refuse(_keyword(event), "log in first", output)
        return Next.AGAIN

    async def _stls(self, output: Output) -> Next:
        if not self._may_start_tls:
            await self._refuse("STLS", "TLS is on already" if self._tls else "there is no TLS here", output)
            return Next.AGAIN
        await output.send(ok("begin TLS"))
        return Next.START_TLS

    async def _authenticate_plain(self, response: bytes | None, output: Output) -> None:
        """PLAIN, with or without an initial response. RFC 5034 §4."""
        try:
            step = sasl.Plain().step(response)
        except sasl.Malformed:
            await self._refuse("AUTH", "that is no PLAIN message", output)
            return
        if isinstance(step, bytes):
            self._core.expect_answer()
            await output.send(pop3.challenge(step))
        elif step.acts_for_another:
            await self._fail_login(AuthenticationFailed(), step.login, "PLAIN", output)
        else:
            await self._log_in(step.login, step.password, "PLAIN", output)

    async def _log_in(self, login: str, password: str, mechanism: str, output: Output) -> None:
        try:
            account = await self._ports.doorkeeper.authenticate(
                login, password, service="pop", host=self._terms.peer_host
            )
            maildrop = await Maildrop.open(account, self._ports.index, self._ports.leases)
        except AuthenticationFailed as error:
            await self._fail_login(error, login, mechanism, output)
            return
        except Conflict as error:
            maillog.maildrop_in_use(user=login)
            await self._count_error(_reply(error), output)
            return
        except (TemporaryError, PermanentError) as error:
            maillog.problem(what="log-in", error=str(error))
            await output.send(_reply(error))
            return
        self._maildrop = maildrop
        self._doing = "waiting"
        maillog.login(user=str(account.address), mechanism=mechanism)
        await output.send(ok(_contents(maildrop)))

    async def _fail_login(self, error: AuthenticationFailed, login: str, mechanism: str, output: Output) -> None:
        maillog.login_failed(user=login, mechanism=mechanism)
        await self._count_error(_reply(error), output)

    # TRANSACTION state

    async def _transact(self, event: pop3.Command, maildrop: Maildrop, output: Output) -> None:
        match event:
            case pop3.User() | pop3.Pass() | pop3.Auth() | pop3.SaslAnswer() | Plain.STLS:
                await self._refuse(_keyword(event), "not after log-in", output)
                return
        try:
            answer = await self._answer(event, maildrop)
        except (TemporaryError, PermanentError) as error:
            if not isinstance(error, NotFound):
                maillog.problem(what=_keyword(event), error=str(error))
            await output.send(_reply(error))
            return
        if isinstance(answer, bytes):
            await output.send(answer)
        elif isinstance(answer, OutgoingMessage):
            await answer.send(output)
            if isinstance(event, pop3.Retr):
                self._retrieved += 1
                self._retrieved_octets += maildrop.size(event.number)
        else:
            await _send_list(ok(_contents(maildrop)), answer, output)

    async def _answer(self, event: pop3.Command, maildrop: Maildrop) -> bytes | Iterator[str] | OutgoingMessage:
        """One line, the lines of a listing, or a message. Raises NotFound, TemporaryError, PermanentError."""
        match event:
            case Plain.STAT:
                return ok(f"{maildrop.count} {maildrop.octets}")
            case Plain.NOOP:
                return ok("nothing done")
            case Plain.RSET:
                maildrop.reset()
                return ok(_contents(maildrop))
            case pop3.List(None):
                return (f"{number} {maildrop.size(number)}" for number in maildrop.numbers())
            case pop3.List(int(number)):
                return ok(f"{number} {maildrop.size(number)}")
            case pop3.Uidl(None):
                return (f"{number} {maildrop.unique_id(number)}" for number in maildrop.numbers())
            case pop3.Uidl(int(number)):
                return ok(f"{number} {maildrop.unique_id(number)}")
            case pop3.Dele(number):
                maildrop.delete(number)
                return ok(f"message {number} is marked")
            case pop3.Retr(number):
                return await self._message(maildrop, number, None)
            case pop3.Top(number, body_lines):
                return await self._message(maildrop, number, TopFilter(body_lines))
        raise LocalError(f"{_keyword(event)} has no answer after log-in")

    async def _message(self, maildrop: Maildrop, number: int, top: TopFilter | None) -> OutgoingMessage:
        size = maildrop.size(number)
        self._doing = f"{'TOP' if top else 'RETR'} {number} ({size} octets)"
        opening = ok("the top follows" if top else f"{size} octets")
        return await OutgoingMessage.open(opening, self._ports.blobs, await maildrop.stored(number), top)

    async def _quit(self, output: Output) -> Next:
        """UPDATE state: the one place where messages go. The maildrop is free before the answer. RFC 1939 §6."""
        answer = ok("bye")
        if self._maildrop is not None:
            try:
                if removed := await self._maildrop.update():
                    maillog.expunged(user=str(self._maildrop.account.address), messages=removed)
            except (TemporaryError, PermanentError) as error:
                maillog.problem(what="QUIT", error=str(error))
                answer = err("deleted messages are not removed", "SYS/TEMP")
            await self._maildrop.release()
        await output.send(answer)
        return Next.CLOSE


def _reply(error: MailError) -> bytes:
    reply = next(REPLIES[kind] for kind in type(error).__mro__ if kind in REPLIES)
    return err(reply.text, reply.code)


def _keyword(event: pop3.Command) -> str:
    if isinstance(event, Plain):
        return event.value
    return "AUTH" if isinstance(event, pop3.SaslAnswer) else type(event).__name__.upper()


def _contents(maildrop: Maildrop) -> str:
    return f"{maildrop.count} messages ({maildrop.octets} octets)"


async def _send_list(waiting: bytes, texts: Iterator[str], output: Output) -> None:
    while batch := list(itertools.islice(texts, LINES_AT_ONCE)):
        await output.send(waiting + pop3.lines(batch))
        waiting = b""
    await output.send(waiting + pop3.END)
