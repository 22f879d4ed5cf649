"""Retrieval entries: mailboxes elsewhere whose mail is fetched into accounts here."""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from maillib.address import Address, normalize_domain
from maillib.errors import AddressError, PermanentError
from maillib.secret import SecretRef

_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", re.ASCII)


class Tls(StrEnum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class Apop(StrEnum):
    """Whether the password is proved without being sent. RFC 1939 §7."""

    AUTO = "auto"
    """Where the server offers it and there is no TLS."""
    REQUIRE = "require"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Server:
    """A host, by name or address, and a port."""

    host: str
    """A-labels in lower case, or an IP address without brackets."""
    port: int

    @classmethod
    def parse(cls, text: str) -> "Server":
        """Reads `pop.elsewhere.test:995`, `192.0.2.1:110` or `[2001:db8::1]:110`. Raises PermanentError."""
        host, colon, port = text.rpartition(":")
        allowed = "allowed: HOST:PORT, with a name or an IP address ([v6] in brackets), and a port of 1 to 65535"
        if not colon or not _PORT.fullmatch(port) or int(port) > 65_535:
            raise PermanentError(f"{text!r} has no port; {allowed}")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            pass
        else:
            if bracketed == (address.version == 6) and "%" not in host:
                return cls(str(address), int(port))
        try:
            name = normalize_domain(host)
        except AddressError:
            raise PermanentError(f"{text!r} has no host; {allowed}") from None
        if name.rpartition(".")[2].isdigit():
            raise PermanentError(f"{text!r} has neither a name nor an IP address; {allowed}")
        return cls(name, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """One mailbox elsewhere. Where its account is not there or disabled, nothing is fetched."""

    name: str
    """Unique, whatever the case."""
    account: Address
    """Has to be there when an enabled entry is put."""
    server: Server
    tls: Tls = Tls.IMPLICIT
    ca: str | None = None
    """Absolute path of the certificates to trust, PEM; None: those of the system."""
    user: str
    secret: SecretRef
    """Where the password is. It is not kept here, nor anywhere else."""
    folder: str = "INBOX"
    """Mailbox of the account that the mail goes to."""
    keep_days: int | None = 0
    """How long a message stays on the server after it was fetched; 0: it is deleted then, None: it stays."""
    apop: Apop = Apop.AUTO
    interval_s: int | None = None
    """From one look to the next; None: as the service's settings say. So with the size below."""
    max_message_size: int | None = None
    """Octets; a larger message is left where it is."""
    enabled: bool = True


def check_retrieval_name(name: str) -> None:
    """Raises PermanentError."""
    if not _NAME.fullmatch(name):
        raise PermanentError(
            f"{name!r} is no name; allowed: at most 100 letters, digits, . _ @ -, a letter or digit first"
        )
