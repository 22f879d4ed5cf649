"""The conversation with an SMTP service: mail for us, mail of ours, and what it has to refuse. RFC 5321, RFC 6409.

Each refusal is tried on a connection of its own: whatever `max_errors` says, none of them is in another's way.
"""

import base64
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maillib.settings.service import Listener, ServiceConfig
from orchestrator.rehearse.conversation import Guest, Letter, Lingering, Scene
from orchestrator.rehearse.report import Part, Report, Unexpected
from orchestrator.rehearse.wire import Wire, shown, stuffed

_ELSEWHERE = "nobody@rehearsal.invalid"
"""In a domain that nobody ever has. RFC 6761 §6.4."""

_AT_A_TIME = 100
"""Recipients of one message that every server takes. RFC 5321 §4.5.3.1.8."""

_WRONG_PASSWORD = "no password of anybody"  # noqa: S105 - that is the point

_GOOD, _GO_ON, _REFUSED = "2", "3", "45"
"""First digits of replies. RFC 5321 §4.2.1."""


class Client:
    """One connection after the greeting and EHLO."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.extensions: Sequence[str] = ()
        self.expect(_GOOD, "a greeting")

    def command(self, line: str, first_digits: str) -> str:
        """The last line of the reply. Raises Unexpected."""
        self._wire.say(line)
        return self.expect(first_digits, f"an answer to {line.partition(' ')[0]}")[-1]

    def hello(self) -> None:
        self._wire.say("EHLO rehearsal.invalid")
        self.extensions = [line[4:] for line in self.expect(_GOOD, "an answer to EHLO")[1:]]

    def offers(self, keyword: str) -> bool:
        return any(extension.split(" ")[0] == keyword for extension in self.extensions)

    def log_in(self, guest: Guest, password: str, first_digits: str) -> None:
        response = base64.b64encode(f"\0{guest.address}\0{password}".encode()).decode()
        self.command(f"AUTH PLAIN {response}", first_digits)

    def begin(self, letter: Letter) -> None:
        """Up to the 354."""
        self.command(f"MAIL FROM:<{letter.guest.address}>", _GOOD)
        self.command(f"RCPT TO:<{letter.guest.address}>", _GOOD)
        self.command("DATA", _GO_ON)

    def send(self, letter: Letter) -> str:
        """Its queue ID."""
        self.begin(letter)
        return self.end(stuffed(letter.octets))

    def feed(self, octets: bytes) -> None:
        """Some of a message."""
        self._wire.send(octets)

    def end(self, octets: bytes) -> str:
        """The rest of a message; its queue ID."""
        self._wire.send(octets)
        return self.expect(_GOOD, "the message to be taken")[-1].rpartition(" ")[2]

    def quit(self) -> None:
        self.command("QUIT", _GOOD)
        if not self._wire.ended():
            raise Unexpected("the end of the connection after QUIT", "more")

    def expect(self, first_digits: str, what: str) -> list[str]:
        """The lines of a reply. Raises Unexpected, saying `what` was expected."""
        lines = [self._wire.hear()]
        while lines[-1][3:4] == b"-":
            lines.append(self._wire.hear())
        if lines[-1][:1].decode(errors="replace") not in [*first_digits]:
            wanted = " or ".join(f"{digit}yz" for digit in first_digits)
            raise Unexpected(f"{what}: {wanted}", shown(lines[-1]))
        return [shown(line) for line in lines]


class Smtp:
    """Speaks with services of protocol smtp."""

    doing = "DATA"
    lingering_clients = 1

    def talk(self, scene: Scene, service: ServiceConfig, report: Report) -> None:
        for listener in service.listen:
            guest = scene.guests.new()
            with report.part(service.name, f"{scene.name_of(listener)} {listener.role}") as part:
                talk = _Talk(scene, service, listener, part, guest)
                talk.open()
                if listener.role == "mx":
                    talk.as_stranger()
                elif listener.tls == "none" and not listener.cleartext_login:
                    part.skip("takes mail of who has logged in", "it has no TLS, and so no log-in")
                else:
                    talk.as_user()

    def linger(self, scene: Scene, service: ServiceConfig) -> Lingering:
        listener = _way_in([service])
        if listener is None:
            raise Unexpected("a listener that takes mail", "none: without TLS there is no log-in")
        return _HalfSent(scene, service, listener)


def hand_in(scene: Scene, letter: Letter) -> str:
    """Give a letter to the first service that takes it; its queue ID. Raises Unexpected, OSError."""
    for service in scene.services:
        listener = _way_in([service])
        if listener is not None:
            with _sender(scene, service, listener, letter.guest) as client:
                queue_id = client.send(letter)
                client.quit()
                return queue_id
    raise Unexpected("a listener that takes mail", "none")


def takes_mail(services: Sequence[ServiceConfig]) -> bool:
    """Whether `hand_in` has somebody to give a letter to."""
    return _way_in(services) is not None


def _way_in(services: Sequence[ServiceConfig]) -> Listener | None:
    """The first listener that takes mail from a guest; best one that wants no log-in."""
    usable = [
        listener
        for service in services
        if service.protocol == "smtp"
        for listener in service.listen
        if listener.role == "mx" or listener.tls != "none" or listener.cleartext_login
    ]
    return min(usable, key=lambda listener: listener.role != "mx", default=None)


@dataclass(frozen=True, slots=True)
class _Talk:
    """With one listener."""

    scene: Scene
    service: ServiceConfig
    listener: Listener
    part: Part
    guest: Guest

    def open(self) -> None:
        with self.part.step(f"greets ({self.listener.tls})"), self._client(secured=False) as client:
            if client.offers("STARTTLS") != (self.listener.tls == "starttls"):
                raise Unexpected("STARTTLS offered as declared", " ".join(client.extensions) or "no extension")
        if self.listener.tls == "starttls":
            with self.part.step("turns to TLS"), self._client() as client:
                client.quit()
        if self.listener.role == "submission" and self.listener.tls != "implicit" and not self.listener.cleartext_login:
            with self.part.step("refuses log-in without TLS"), self._client(secured=False) as client:
                client.log_in(self.guest, self.guest.password, _REFUSED)

    def as_stranger(self) -> None:
        with self.part.step("refuses to relay"), self._client() as client:
            client.command(f"MAIL FROM:<{_ELSEWHERE}>", _GOOD)
            client.command(f"RCPT TO:<{_ELSEWHERE}>", _REFUSED)
        self._know_addresses()
        self._take(Letter.new(self.guest))

    def as_user(self) -> None:
        with self.part.step("refuses mail without log-in"), self._client() as client:
            client.command(f"MAIL FROM:<{self.guest.address}>", _REFUSED)
        with self.part.step("refuses a wrong password"), self._client() as client:
            client.log_in(self.guest, _WRONG_PASSWORD, _REFUSED)
        with self.part.step("refuses another's address"), self._client() as client:
            client.log_in(self.guest, self.guest.password, _GOOD)
            client.command(f"MAIL FROM:<{_ELSEWHERE}>", _REFUSED)
        self._take(Letter.new(self.guest))

    def _know_addresses(self) -> None:
        addresses = self.scene.addresses
        if not addresses:
            return
        with self.part.step(f"knows the {len(addresses)} declared addresses"):
            for first in range(0, len(addresses), _AT_A_TIME):
                with self._client() as client:
                    client.command("MAIL FROM:<> SMTPUTF8", _GOOD)  # which lists take from anybody
                    for address in addresses[first : first + _AT_A_TIME]:
                        client.command(f"RCPT TO:<{address}>", _GOOD)
                    client.quit()

    def _take(self, letter: Letter) -> None:
        with (
            self.part.step("takes a message"),
            _sender(self.scene, self.service, self.listener, letter.guest) as client,
        ):
            queue_id = client.send(letter)
            client.quit()
        if self.scene.has("spool"):
            with self.part.step("it arrives in the mailbox"):
                self.scene.arrived(letter.guest, queue_id)

    def _client(self, *, secured: bool = True) -> contextlib.AbstractContextManager[Client]:
        return _connected(self.scene, self.service, self.listener, secured=secured)


class _HalfSent:
    """A client in the middle of DATA."""

    def __init__(self, scene: Scene, service: ServiceConfig, listener: Listener) -> None:
        self._scene = scene
        self._letter = Letter.new(scene.guests.new())
        octets = stuffed(self._letter.octets)
        self._rest = octets[len(octets) // 2 :]
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(_sender(scene, service, listener, self._letter.guest))
            client.begin(self._letter)
            client.feed(octets[: len(octets) // 2])
            self._client = client
            self._open = stack.pop_all()

    def finish(self) -> None:
        with self._open:
            queue_id = self._client.end(self._rest)
            self._client.quit()
        if self._scene.has("spool"):
            self._scene.arrived(self._letter.guest, queue_id)


@contextlib.contextmanager
def _connected(scene: Scene, service: ServiceConfig, listener: Listener, *, secured: bool = True) -> Iterator[Client]:
    """`secured`: in TLS, where the listener has it."""
    with scene.connected(service, listener) as wire:
        client = Client(wire)
        client.hello()
        if secured and listener.tls == "starttls":
            client.command("STARTTLS", _GOOD)
            scene.start_tls(service, wire)
            client.hello()
        yield client


@contextlib.contextmanager
def _sender(scene: Scene, service: ServiceConfig, listener: Listener, guest: Guest) -> Iterator[Client]:
    """A client that may send mail of `guest`."""
    with _connected(scene, service, listener) as client:
        if listener.role == "submission":
            client.log_in(guest, guest.password, _GOOD)
        yield client
