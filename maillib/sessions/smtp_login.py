"""AUTH on one SMTP connection: the exchange of a mechanism's messages, and who came out of it. RFC 4954 §4.

Whether log-in is allowed at all, and when, is for the session to know.
"""

import base64

from maillib import maillog
from maillib.errors import AuthenticationFailed, LocalError, TemporaryError
from maillib.ports.directory import Account
from maillib.protocols import sasl
from maillib.protocols.smtp import Refused, Reply
from maillib.sessions.doorkeeper import MAX_NAME, Doorkeeper


class LogIn:
    """From the first AUTH on. An unknown user and a wrong password are answered alike."""

    def __init__(self, doorkeeper: Doorkeeper, host: str) -> None:
        self._doorkeeper = doorkeeper
        self._host = host
        self._mechanism = ""
        self._exchange: sasl.Plain | sasl.Login | None = None
        self.account: Account | None = None
        """Who has logged in."""

    @property
    def is_going_on(self) -> bool:
        """An answer to a challenge is waited for."""
        return self._exchange is not None

    async def begin(self, argument: str) -> Reply:
        """The argument of AUTH. 334: the client's next line is for `answer`."""
        name, _, initial = argument.partition(" ")
        self._mechanism = name.upper()
        mechanism = sasl.MECHANISMS.get(self._mechanism)
        if mechanism is None:
            raise Refused(504, "5.5.4", "No such mechanism")
        self._exchange = mechanism()
        if not initial:
            return await self._step(None)
        return await self._step(b"" if initial == "=" else initial.encode())

    async def answer(self, line: bytes) -> Reply:
        if line == b"*":
            self._exchange = None
            raise Refused(501, "5.7.0", "Log-in cancelled")
        return await self._step(line)

    async def _step(self, response: bytes | None) -> Reply:
        """`response` is in base64; None: the client waits for the first challenge."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            raise LocalError("an answer that nobody asked for")
        try:
            step = exchange.step(None if response is None else sasl.decode_base64(response))
        except sasl.Malformed as error:
            raise Refused(501, "5.5.2", f"Malformed: {error}") from None
        if isinstance(step, bytes):
            self._exchange = exchange
            return Reply(334, None, base64.b64encode(step).decode())
        return await self._check(step)

    async def _check(self, credentials: sasl.Credentials) -> Reply:
        try:
            if credentials.acts_for_another:
                raise AuthenticationFailed(credentials.login)
            self.account = await self._doorkeeper.authenticate(
                credentials.login, credentials.password, service="smtp", host=self._host
            )
        except AuthenticationFailed:
            maillog.login_failed(user=credentials.login[:MAX_NAME], mechanism=self._mechanism, peer=self._host)
            return Reply(535, "5.7.8", "User name or password is wrong")
        except TemporaryError as error:
            maillog.problem(what="log-in", error=str(error))
            return Reply(454, "4.7.0", "Log-in does not work now, try again later")
        maillog.login(user=str(self.account.address), mechanism=self._mechanism)
        return Reply(235, "2.7.0", "You are logged in")
