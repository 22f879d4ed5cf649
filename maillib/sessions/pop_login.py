"""Who a POP client is: USER and PASS, AUTH. RFC 1939 §7, RFC 5034 §4.

APOP is not offered: it needs the password in clear at the server.

Leaves to others: whether a password may be said here and now, and whether it is right (`pop`).
"""

from maillib.protocols import pop3, sasl
from maillib.protocols.pop3 import Pop3Server, ok
from maillib.sessions.pop_replies import Refused


class PopLogin:
    """What a client has said of itself so far."""

    def __init__(self, core: Pop3Server) -> None:
        self._core = core
        self._name: str | None = None
        self._exchange: sasl.Plain | sasl.Login | None = None
        self.mechanism = ""
        """Of the last attempt; for the log."""

    def forget(self) -> None:
        """A name holds for the very next command only, and nothing from before TLS does. RFC 1939 §7, RFC 2595 §4."""
        self._name = self._exchange = None

    def step(self, event: pop3.LoginCommand) -> bytes | sasl.Credentials:
        """What to answer, or what to check. Raises Refused."""
        name, self._name = self._name, None
        match event:
            case pop3.User(text):
                self._name = text
                return ok("send the password")
            case pop3.Pass(password):
                if name is None:
                    raise Refused("USER comes right before PASS")
                self.mechanism = "USER"
                return sasl.Credentials(name, password, "")
            case pop3.Auth(mechanism, response):
                if mechanism is None:
                    return pop3.listing("mechanisms follow", sasl.MECHANISMS)
                if mechanism not in sasl.MECHANISMS:
                    raise Refused("no such mechanism")
                self.mechanism = mechanism
                self._exchange = sasl.MECHANISMS[mechanism]()
                return self._continue(response)
            case pop3.SaslAnswer(None):
                raise Refused("cancelled")
            case pop3.SaslAnswer(response):
                return self._continue(response)

    def _continue(self, response: bytes | None) -> bytes | sasl.Credentials:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None, "the core takes a line for an answer only when it was told to"
        try:
            said = exchange.step(response)
        except sasl.Malformed:
            raise Refused(f"that is no {self.mechanism} message") from None
        if isinstance(said, sasl.Credentials):
            return said
        self._exchange = exchange
        self._core.expect_answer()
        return pop3.challenge(said)
