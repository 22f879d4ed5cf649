"""The conversation with a POP service: log-in, the very octets that were sent, and what it has to refuse. RFC 1939.

Each log-in is of a guest of its own: `login_delay` may forbid a second one.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from maillib.settings.service import Listener, ServiceConfig
from orchestrator.rehearse.conversation import Guest, Letter, Scene
from orchestrator.rehearse.mailboxes import BUFFER_OCTETS, WRONG_PASSWORD, MailboxConversation, check_octets
from orchestrator.rehearse.report import Part, Unexpected
from orchestrator.rehearse.wire import Wire, shown


class Client:
    """One connection after the greeting."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._expect("+OK", "a greeting")

    def command(self, line: str, status: str = "+OK") -> str:
        """The rest of the answer's first line. Raises Unexpected unless it begins with `status`."""
        self._wire.say(line)
        return self._expect(status, f"an answer to {line.partition(' ')[0]}")

    def lines(self) -> Iterator[bytes]:
        """Of an answer with several lines, as they come, without the last one."""
        while (line := self._wire.hear()) != b".\r\n":
            yield line

    def capabilities(self) -> list[str]:
        self.command("CAPA")
        return [shown(line) for line in self.lines()]

    def log_in(self, guest: Guest, password: str, status: str = "+OK") -> None:
        """Of a name that is refused already, the password is not sent."""
        self._wire.say(f"USER {guest.address}")
        line = self._wire.hear()
        if line.startswith(b"+OK"):
            self.command(f"PASS {password}", status)
        elif status != "-ERR":
            raise Unexpected("an answer to USER: +OK", shown(line))

    def only_message(self) -> tuple[int, int]:
        """Number and octets of the one message, which has a unique ID. Raises Unexpected."""
        self.command("UIDL")
        unique = [line.split() for line in self.lines()]
        self.command("LIST")
        sizes = [line.split() for line in self.lines()]
        if len(unique) != 1 or len(sizes) != 1 or len(unique[0]) != 2 or unique[0][0] != sizes[0][0]:
            raise Unexpected("one message, in UIDL and LIST alike", f"{len(unique)} and {len(sizes)}")
        return int(sizes[0][0]), int(sizes[0][1])

    def retrieve(self, number: int) -> bytes:
        self.command(f"RETR {number}")
        return self.rest()

    def rest(self) -> bytes:
        """Of a message, from where it has been read to its end."""
        return b"".join(line.removeprefix(b".") for line in self.lines())

    def quit(self) -> None:
        self.command("QUIT")
        if not self._wire.ended():
            raise Unexpected("the end of the connection after QUIT", "more")

    def _expect(self, status: str, what: str) -> str:
        line = shown(self._wire.hear())
        word, _, rest = line.partition(" ")
        if word != status:
            raise Unexpected(f"{what}: {status}", line)
        return rest


class Pop(MailboxConversation):
    """Speaks with services of protocol pop."""

    doing = "RETR"
    lingering_clients = 1

    def _talk(self, scene: Scene, service: ServiceConfig, listener: Listener, part: Part, letter: Letter) -> "_Talk":
        return _Talk(scene, service, listener, part, letter)

    def _half_read(self, scene: Scene, service: ServiceConfig, listener: Listener, letter: Letter) -> "_HalfRead":
        return _HalfRead(scene, service, listener, letter)


@dataclass(frozen=True, slots=True)
class _Talk:
    """With one listener."""

    scene: Scene
    service: ServiceConfig
    listener: Listener
    part: Part
    letter: Letter

    def open(self) -> None:
        with self.part.step(f"greets ({self.listener.tls})"), self._client(secured=False) as client:
            capabilities = client.capabilities()
            if ("STLS" in capabilities) != (self.listener.tls == "starttls"):
                raise Unexpected("STLS offered as declared", " ".join(capabilities))
            client.quit()
        if self.listener.tls == "starttls":
            with self.part.step("turns to TLS"), self._client() as client:
                client.quit()
        if self.listener.tls != "implicit" and not self.listener.cleartext_login:
            with self.part.step("refuses log-in without TLS"), self._client(secured=False) as client:
                client.log_in(self.letter.guest, self.letter.guest.password, "-ERR")

    def as_user(self) -> None:
        guest = self.letter.guest
        with self.part.step("refuses a wrong password"), self._client() as client:
            client.log_in(guest, WRONG_PASSWORD, "-ERR")
        with self.part.step("gets a message"):
            self.scene.deliver(self.letter)
        with contextlib.ExitStack() as stack:
            with self.part.step("takes log-in"):
                client = stack.enter_context(self._client())
                client.log_in(guest, guest.password)
            with self.part.step("lists the message"):
                number, octets = client.only_message()
            with self.part.step("gives the very octets"):
                _check(self.letter, client.retrieve(number), octets)
            with self.part.step("deletes it"):
                client.command(f"DELE {number}")
                client.quit()
                if left := self.scene.guests.stored(guest):
                    raise Unexpected("an empty mailbox", f"{left} messages in it")

    def _client(self, *, secured: bool = True) -> contextlib.AbstractContextManager[Client]:
        return _connected(self.scene, self.service, self.listener, secured=secured)


class _HalfRead:
    """A client in the middle of RETR."""

    def __init__(self, scene: Scene, service: ServiceConfig, listener: Listener, letter: Letter) -> None:
        self._letter, guest = letter, letter.guest
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(_connected(scene, service, listener, buffer=BUFFER_OCTETS))
            client.log_in(guest, guest.password)
            number, self._octets = client.only_message()
            client.command(f"RETR {number}")
            self._client = client
            self._open = stack.pop_all()

    def finish(self) -> None:
        with self._open:
            _check(self._letter, self._client.rest(), self._octets)
            self._client.quit()


def _check(letter: Letter, came: bytes, octets: int) -> None:
    """Raises Unexpected unless `came` is the letter, and as long as LIST says."""
    check_octets(letter, came)
    if len(came) != octets:
        raise Unexpected(f"the {octets} octets that LIST says", f"{len(came)}")


@contextlib.contextmanager
def _connected(
    scene: Scene, service: ServiceConfig, listener: Listener, *, secured: bool = True, buffer: int | None = None
) -> Iterator[Client]:
    """`secured`: in TLS, where the listener has it. `buffer`: octets it takes unread."""
    with scene.connected(service, listener, buffer=buffer) as wire:
        client = Client(wire)
        if secured and listener.tls == "starttls":
            client.command("STLS")
            scene.start_tls(service, wire)
        yield client
