"""What one POP connection does. RFC 1939, RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034 (AUTH), RFC 6856 (UTF8, LANG).

Guarantees: no log-in without TLS unless the listener allows it, and then the name is refused before a password is
sent; an unknown user and a wrong password are answered alike; messages go only at QUIT, all that were deleted or none;
a connection that is lost, times out, is told goodbye or has lost its maildrop to another session deletes nothing.

Leaves to others: who a client is (`pop_login`), what is done with a maildrop (`pop_transaction`).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from maillib import maillog
from maillib.dialog import Next, Output
from maillib.errors import AuthenticationFailed, Conflict, PeerError, PermanentError, TemporaryError
from maillib.ports.blobs import Blobs
from maillib.ports.index import Index
from maillib.ports.leases import Leases
from maillib.protocols import pop3, sasl
from maillib.protocols.pop3 import BadCommand, Plain, Pop3Server, err, ok
from maillib.sessions.doorkeeper import Doorkeeper
from maillib.sessions.listing import Listings
from maillib.sessions.maildrop import Maildrop
from maillib.sessions.pop_login import PopLogin
from maillib.sessions.pop_message import Messages
from maillib.sessions.pop_replies import Refused, reply_to
from maillib.sessions.pop_transaction import Transaction
from maillib.settings.pop import PopSettings

LANGUAGE = "en"
"""Of our texts. RFC 6856 §3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the sessions of a process have in common."""

    doorkeeper: Doorkeeper
    index: Index
    listings: Listings
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
        self, settings: PopSettings, shared: Shared, terms: Terms, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._shared = shared
        self._terms = terms
        self._clock = clock
        self._core = Pop3Server()
        self._login = PopLogin(self._core)
        self._tls = terms.tls
        self._utf8 = False
        self._login_deadline = clock() + settings.login_timeout
        self._opened: Transaction | None = None
        """From the log-in on."""
        self._errors = 0

    @property
    def user(self) -> str | None:
        return self._opened.user if self._opened else None

    @property
    def doing(self) -> str:
        return self._opened.doing if self._opened else "login"

    @property
    def timeout_s(self) -> float:
        return self._settings.idle_timeout if self._opened else self._login_deadline - self._clock()

    async def greet(self, output: Output) -> Next:
        await output.send(ok(f"{self._terms.hostname} POP3 server ready"))
        return Next.AGAIN

    def receive(self, data: bytes) -> None:
        self._core.receive(data)

    def tls_started(self) -> None:
        self._tls = True
        self._utf8 = False
        self._core.forget()
        self._login.forget()

    def goodbye(self) -> bytes:
        return err("the server is shutting down", "SYS/TEMP")

    def timed_out(self) -> bytes:
        return b""  # "without ... sending any response to the client". RFC 1939 §3

    async def closed(self) -> None:
        if self._opened is not None:
            await self._opened.closed()

    async def advance(self, output: Output) -> Next:
        try:
            event = self._core.next_event()
        except PeerError:
            maillog.bad_command(command="unknown", reply="line too long")
            await output.send(err("line too long"))
            raise PeerError("errors") from None
        if event is None:
            return Next.NEED_DATA
        if isinstance(event, pop3.Retr) and self._opened is not None:  # most commands of most sessions
            await self._opened.serve(event, output)
            return Next.AGAIN
        return await self._serve(event, output)

    async def _serve(self, event: pop3.Command | BadCommand, output: Output) -> Next:
        if isinstance(event, pop3.LoginCommand):
            await self._log_in(event, output)
            return Next.AGAIN
        self._login.forget()
        try:
            match event:
                case pop3.Retr() | pop3.Dele() | pop3.Top() | pop3.Uidl() | pop3.List() if self._opened:
                    await self._opened.serve(event, output)
                case BadCommand(keyword, reason):
                    await self._refuse(keyword, reason, output)
                case Plain.QUIT:
                    await output.send(await self._opened.update() if self._opened else ok("bye"))
                    return Next.CLOSE
                case Plain.CAPA:
                    await output.send(pop3.listing("this is what is here", self._capabilities()))
                case pop3.Lang(language):
                    await output.send(_lang(language))
                case Plain.STLS:
                    return await self._stls(output)
                case Plain.UTF8:
                    if self._opened is not None:
                        raise Refused("not after log-in")
                    self._utf8 = True
                    await output.send(ok("UTF-8 it is"))
                case _ if self._opened is None:
                    raise Refused("log in first")
                case _:
                    await self._opened.serve(event, output)
        except Refused as refused:
            await self._refuse(pop3.keyword(event), str(refused), output)
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
        yield from ("TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "UTF8 USER", "LANG")
        if self._settings.login_delay:
            yield f"LOGIN-DELAY {self._settings.login_delay:.0f}"
        if self._may_log_in:
            yield from ("USER", "SASL " + " ".join(sasl.MECHANISMS))
        if self._may_start_tls:
            yield "STLS"
        yield "IMPLEMENTATION Postroom"

    # AUTHORIZATION state

    @property
    def _may_log_in(self) -> bool:
        return self._tls or self._terms.cleartext_login

    @property
    def _may_start_tls(self) -> bool:
        return self._terms.stls and not self._tls and self._opened is None

    async def _stls(self, output: Output) -> Next:
        if self._opened is not None:
            raise Refused("not after log-in")
        if not self._may_start_tls:
            raise Refused("TLS is on already" if self._tls else "there is no TLS here")
        await output.send(ok("begin TLS"))
        return Next.START_TLS

    async def _log_in(self, event: pop3.LoginCommand, output: Output) -> None:
        try:
            if self._opened is not None:
                raise Refused("not after log-in")
            if not self._may_log_in:
                if event == pop3.Auth(None, None):
                    await output.send(pop3.listing("there is none here", ()))
                    return
                hint = "use STLS first" if self._may_start_tls else "not on this port"
                raise Refused(f"no log-in without TLS: {hint}")
            step = self._login.step(event)
        except Refused as refused:
            await self._refuse(pop3.keyword(event), str(refused), output)
            return
        if isinstance(step, bytes):
            await output.send(step)
        else:
            await self._check(step, output)

    async def _check(self, credentials: sasl.Credentials, output: Output) -> None:
        login, mechanism = credentials.login, self._login.mechanism
        try:
            self._opened = await self._open(credentials)
        except AuthenticationFailed as error:
            maillog.login_failed(user=login, mechanism=mechanism, peer=self._terms.peer_host)
            await self._count_error(reply_to(error), output)
        except Conflict as error:
            maillog.maildrop_in_use(user=login)
            await self._count_error(reply_to(error), output)
        except (TemporaryError, PermanentError) as error:
            maillog.problem(what="log-in", error=str(error))
            await output.send(reply_to(error))
        else:
            maillog.login(user=self._opened.user, mechanism=mechanism)
            await output.send(ok(self._opened.contents))

    async def _open(self, credentials: sasl.Credentials) -> Transaction:
        if credentials.acts_for_another:
            raise AuthenticationFailed(credentials.login)
        shared = self._shared
        account = await shared.doorkeeper.authenticate(
            credentials.login, credentials.password, service="pop", host=self._terms.peer_host
        )
        maildrop = await Maildrop.open(account, shared.index, shared.listings, shared.leases, self._settings)
        return Transaction(maildrop, Messages(maildrop, shared.blobs), utf8=self._utf8)


def _lang(wanted: str | None) -> bytes:
    """There is one language; a range that means it in particular (`en-GB`) is met with it. RFC 6856 §3."""
    if wanted is None:
        return pop3.listing("languages follow", [f"{LANGUAGE} English"])
    if wanted == "*" or wanted.lower().partition("-")[0] == LANGUAGE:
        return ok(f"{LANGUAGE} English it is")
    return err("that language is not spoken here")
