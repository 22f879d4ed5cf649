"""Who an IMAP client is: LOGIN and AUTHENTICATE. RFC 9051 §6.2, RFC 4959.

Leaves to others: whether a password may be said here and now, and whether it is right (`imap`).
"""

from maillib.protocols import sasl
from maillib.protocols.imap import replies
from maillib.protocols.imap.commands import Authenticate, Login
from maillib.protocols.imap.server import ImapServer
from maillib.sessions.imap_replies import Bad, Refused


class ImapLogin:
    """What a client has said of itself so far."""

    def __init__(self, core: ImapServer) -> None:
        self._core = core
        self._exchange: sasl.Plain | sasl.Login | None = None
        self.tag = ""
        """Of the command under way."""
        self.mechanism = ""
        """Of the last attempt; for the log."""

    def forget(self) -> None:
        """TLS has begun."""
        self._exchange = None

    def begin(self, tag: str, command: Login | Authenticate) -> bytes | sasl.Credentials:
        """What to ask, or what to check. Raises Refused."""
        self.tag = tag
        if isinstance(command, Login):
            self.mechanism = "LOGIN"
            return sasl.Credentials(command.name, command.password, "")
        if command.mechanism not in sasl.MECHANISMS:
            raise Refused("no such mechanism", code="CANNOT")
        self.mechanism = command.mechanism
        self._exchange = sasl.MECHANISMS[command.mechanism]()
        return self.answer(command.initial, is_first=True)

    def answer(self, response: bytes | None, *, is_first: bool = False) -> bytes | sasl.Credentials:
        """As `begin`, with the client's answer to what was asked."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None, "the core takes a line for an answer only when it was told to"
        if response is None and not is_first:
            raise Bad("cancelled")
        try:
            said = exchange.step(response)
        except sasl.Malformed:
            raise Bad(f"that is no {self.mechanism} message") from None
        if isinstance(said, sasl.Credentials):
            return said
        self._exchange = exchange
        self._core.expect_answer(self.tag)
        return replies.challenge(said)
