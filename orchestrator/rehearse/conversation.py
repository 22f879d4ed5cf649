"""What a protocol adds to a rehearsal: `Conversation`; and what it finds there: guests, letters, a way to connect.

Guarantees of the scene: guests are accounts made for this rehearsal, nothing is sent to anybody else, and what they
have is gone afterwards.
"""

import contextlib
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Protocol

from maillib.networks import Networks
from maillib.settings.service import Listener, ServiceConfig
from maillib.settings.smtp import SmtpSettings
from orchestrator import probe
from orchestrator.rehearse.report import Report, Unexpected
from orchestrator.rehearse.wire import Wire

PATIENCE_S = 30.0
"""How long an answer or a delivery may take: milliseconds; more on a busy machine, or where log-ins have failed."""
_POLL_S = 0.02

_CLIENT_V4, _CLIENT_V6 = "192.0.2.1", "2001:db8::1"
"""Whom a balancer would name. RFC 5737, RFC 3849."""


@dataclass(frozen=True, slots=True)
class Guest:
    """An account that lives as long as the rehearsal."""

    address: str
    password: str = field(repr=False)

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of a guest to themselves."""

    guest: Guest
    octets: bytes
    """As they have to arrive, lines that begin with dots included."""

    @classmethod
    def new(cls, guest: Guest, *, at_least: int = 0) -> "Letter":
        token = secrets.token_hex(8)
        header = (
            f"From: {guest.address}\r\nTo: {guest.address}\r\nSubject: Rehearsal {token}\r\n"
            f"Date: {formatdate()}\r\nMessage-ID: <{token}@{guest.domain}>\r\n\r\n"
        )
        body = b".\r\n..\r\n.a line that begins with a dot\r\n" + b"x" * 200 + b"\r\n"
        line = b"0123456789" * 7 + b"\r\n"
        octets = header.encode() + body
        return cls(guest, octets + line * max(0, -(-(at_least - len(octets)) // len(line))))


class Guests(Protocol):
    """The store, as far as a rehearsal needs it. Given from outside: only administration touches the store."""

    def new(self) -> Guest:
        """One more account; the services know it when this returns."""

    def waits(self, queue_id: str) -> str | None:
        """What is known of a queued message; None: it is queued no more. Raises Unexpected when it was put off."""

    def stored(self, guest: Guest) -> int:
        """Messages in the mailboxes of `guest`."""

    def queue(self, letter: Letter, *, hostname: str) -> str:
        """Put it into the queue, where no SMTP service does; its queue ID."""

    def put(self, letter: Letter) -> None:
        """Put it into the guest's INBOX, where no spool does."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a conversation takes place."""

    guests: Guests
    services: Sequence[ServiceConfig]
    """All that run, those that are not talked to included."""
    authority: str | None
    """PEM file of the CA that signed the certificate; None: whoever it was, it is the certificate that counts."""
    certificates: Mapping[str, bytes]
    """Service to the certificate (DER) that it has to show."""
    letterbox: "Callable[[Scene, Letter], str] | None"
    """Hands a letter to a service that takes mail; its queue ID. None: there is no such service."""
    addresses: Sequence[str]
    """Of accounts, aliases and lists, that have to be known; nothing is sent to them."""
    declared: Mapping[str, str]
    """Address of a listener to the one it stands for in the spec, where that is another one."""

    def name_of(self, listener: Listener) -> str:
        """As in the spec: the same in each rehearsal."""
        return self.declared.get(listener.address, listener.address)

    @contextlib.contextmanager
    def connected(self, service: ServiceConfig, listener: Listener, *, buffer: int | None = None) -> Iterator[Wire]:
        """A client of `listener`, in TLS already where that comes first. `buffer`: octets it takes unread.

        Raises OSError.
        """
        with socket.socket(_family(listener), socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE_S)
            if buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.connect(probe.target(listener))
            own, own_port = sock.getsockname()[:2]
            if own in Networks(listener.proxy_from):
                version, client = ("TCP6", _CLIENT_V6) if ":" in own else ("TCP4", _CLIENT_V4)
                sock.sendall(f"PROXY {version} {client} {own} {own_port} {listener.port}\r\n".encode())
            with contextlib.closing(Wire(sock)) as wire:
                if listener.tls == "implicit":
                    self.start_tls(service, wire)
                yield wire

    def start_tls(self, service: ServiceConfig, wire: Wire) -> None:
        """Raises OSError, Unexpected when it is not the right certificate."""
        context = ssl.create_default_context(cafile=self.authority)
        if self.authority is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        shown = wire.start_tls(context, service.hostname)
        if shown != self.certificates.get(service.name, shown):
            raise Unexpected("the certificate of the spec", "another one; `postroom reload` takes a renewed one")

    def has(self, protocol: str) -> bool:
        return any(service.protocol == protocol for service in self.services)

    def deliver(self, letter: Letter) -> None:
        """Bring it into the guest's INBOX by the way that mail takes here. Raises Unexpected, OSError."""
        if self.has("spool"):
            self.arrived(letter.guest, self.queue(letter))
        else:
            self.guests.put(letter)

    def queue(self, letter: Letter) -> str:
        """Hand it to a service that takes mail, or put it where that would have put it; its queue ID."""
        if self.letterbox is not None:
            return self.letterbox(self, letter)
        return self.guests.queue(letter, hostname=self.services[0].hostname)

    def fitting(self, octets: int) -> int:
        """`octets`, or less where a service here would refuse a message of that size."""
        settings = [service.settings for service in self.services]
        limits = [one.max_message_size // 2 for one in settings if isinstance(one, SmtpSettings)]
        return min([octets, *limits])

    def arrived(self, guest: Guest, queue_id: str) -> None:
        """Wait until a queued message is in the mailbox. Raises Unexpected."""
        deadline = time.monotonic() + PATIENCE_S
        while (state := self.guests.waits(queue_id)) is not None:
            if time.monotonic() > deadline:
                raise Unexpected(f"delivery within {PATIENCE_S:g} s", f"{queue_id} is {state} still")
            time.sleep(_POLL_S)
        if not self.guests.stored(guest):
            raise Unexpected("a message in the mailbox", f"none; {queue_id} is queued no more")


class Lingering(Protocol):
    """Something that is going on while its service is stopped, started or reloaded."""

    def finish(self) -> None:
        """Go on to the good end. Raises Unexpected, OSError, when there is none."""


class Conversation(Protocol):
    """How to talk to the services of one protocol."""

    doing: str
    """What `linger` leaves half done: `DATA`."""
    lingering_clients: int
    """How many connections that takes."""

    def talk(self, scene: Scene, service: ServiceConfig, report: Report) -> None:
        """Whatever a client does with the service, listener by listener, step by step."""

    def linger(self, scene: Scene, service: ServiceConfig) -> Lingering:
        """Begin what a stop must let finish. Raises Unexpected, OSError."""


def _family(listener: Listener) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in probe.target(listener)[0] else socket.AF_INET
