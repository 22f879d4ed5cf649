"""The conversation with an IMAP service: log-in, the very octets that were sent, mail that comes while a client waits
for it, and what the service has to refuse. RFC 9051, RFC 2177.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from maillib.settings.service import Listener, ServiceConfig
from orchestrator.rehearse.conversation import Guest, Letter, Scene
from orchestrator.rehearse.mailboxes import BUFFER_OCTETS, WRONG_PASSWORD, MailboxConversation, check_octets
from orchestrator.rehearse.report import Part, Unexpected
from orchestrator.rehearse.wire import Wire, shown

_TAG = "a"
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n\Z")
_APPENDED = re.compile(r"\[APPENDUID [0-9]+ ([0-9]+)\]")


class Response(NamedTuple):
    """One of a server's, without its end."""

    text: str
    """Its lines joined."""
    literal: bytes
    """The last one in it."""


class Client:
    """One connection after the greeting."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._expect("* OK", "a greeting")

    def say(self, line: str) -> None:
        self._wire.say(line)

    def command(self, line: str, status: str = "OK") -> list[Response]:
        """What is answered, the tagged response last. Raises Unexpected unless it has that status."""
        self.say(f"{_TAG} {line}")
        return self.answer(line.partition(" ")[0], status)

    def answer(self, command: str, status: str = "OK") -> list[Response]:
        """To a command that has been said."""
        responses = [self.hear()]
        while responses[-1].text.startswith("* "):
            responses.append(self.hear())
        if not f"{responses[-1].text} ".startswith(f"{_TAG} {status} "):
            raise Unexpected(f"an answer to {command}: {status}", responses[-1].text)
        return responses

    def hear(self) -> Response:
        line = self._wire.hear()
        text, literal = b"", b""
        while found := _LITERAL.search(line):
            literal = self._wire.take(int(found[1]))
            text += line[: found.start()]
            line = self._wire.hear()
        return Response(shown(text + line), literal)

    def capabilities(self) -> Sequence[str]:
        return next(one.text.split()[2:] for one in self.command("CAPABILITY") if one.text.startswith("* CAPABILITY "))

    def log_in(self, guest: Guest, password: str, status: str = "OK") -> None:
        self.command(f'LOGIN "{guest.address}" "{password}"', status)

    def select(self) -> int:
        """Messages in INBOX."""
        return max(_exists(one) for one in self.command("SELECT INBOX"))

    def append(self, octets: bytes) -> int:
        """Put a message into INBOX; its UID."""
        self.say(f"{_TAG} APPEND INBOX {{{len(octets)}}}")
        self._expect("+", "the word to go on with APPEND")
        self._wire.send(octets + b"\r\n")
        done = self.answer("APPEND")[-1].text
        found = _APPENDED.search(done)
        if found is None:
            raise Unexpected("the UID of what was appended", done)
        return int(found[1])

    def idle(self) -> None:
        self.say(f"{_TAG} IDLE")
        self._expect("+", "the word that IDLE has begun")

    def wait_for(self, messages: int) -> None:
        """In IDLE, until so many are said to be there; then leave it."""
        while _exists(self.hear()) < messages:
            pass
        self.say("DONE")
        self.answer("IDLE")

    def log_out(self) -> None:
        self.command("LOGOUT")
        if not self._wire.ended():
            raise Unexpected("the end of the connection after LOGOUT", "more")

    def _expect(self, beginning: str, what: str) -> None:
        line = shown(self._wire.hear())
        if not f"{line} ".startswith(f"{beginning} "):
            raise Unexpected(f"{what}: {beginning}", line)


class Imap(MailboxConversation):
    """Speaks with services of protocol imap."""

    doing = "FETCH and IDLE"
    lingering_clients = 2

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
        in_clear = self.listener.tls != "implicit" and not self.listener.cleartext_login
        with self.part.step(f"greets ({self.listener.tls})"), self._client(secured=False) as client:
            capabilities = client.capabilities()
            if ("STARTTLS" in capabilities) != (self.listener.tls == "starttls"):
                raise Unexpected("STARTTLS offered as declared", " ".join(capabilities))
            if ("LOGINDISABLED" in capabilities) != in_clear:
                raise Unexpected("LOGINDISABLED as declared", " ".join(capabilities))
            client.log_out()
        if self.listener.tls == "starttls":
            with self.part.step("turns to TLS"), self._client() as client:
                client.log_out()
        if in_clear:
            with self.part.step("refuses log-in without TLS"), self._client(secured=False) as client:
                client.log_in(self.letter.guest, self.letter.guest.password, "NO")

    def as_user(self) -> None:
        guest = self.letter.guest
        with self.part.step("refuses a wrong password"), self._client() as client:
            client.log_in(guest, WRONG_PASSWORD, "NO")
        with self.part.step("gets a message"):
            self.scene.deliver(self.letter)
        with contextlib.ExitStack() as stack:
            with self.part.step("takes log-in"):
                client = stack.enter_context(self._client())
                client.log_in(guest, guest.password)
            with self.part.step("lists the message"):
                _check_count(client.select(), 1)
            with self.part.step("gives the very octets"):
                _check(self.letter, client.command("FETCH 1 (RFC822.SIZE BODY.PEEK[])"))
            with self.part.step("keeps a message that the client brings"):
                uid = client.append(self.letter.octets)
                (fetched, *_) = client.command(f"UID FETCH {uid} (BODY.PEEK[])")
                if fetched.literal != self.letter.octets:
                    raise Unexpected(f"the {len(self.letter.octets)} octets", f"{len(fetched.literal)} that differ")
            with self.part.step("tells of a delivery in IDLE"):
                client.idle()
                self.scene.deliver(Letter.new(guest))
                client.wait_for(3)
            with self.part.step("deletes them"):
                client.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")
                client.command("EXPUNGE")
                client.log_out()
                if left := self.scene.guests.stored(guest):
                    raise Unexpected("an empty mailbox", f"{left} messages in it")

    def _client(self, *, secured: bool = True) -> contextlib.AbstractContextManager[Client]:
        return _connected(self.scene, self.service, self.listener, secured=secured)


class _HalfRead:
    """A client in the middle of FETCH, and one of the same guest in IDLE."""

    def __init__(self, scene: Scene, service: ServiceConfig, listener: Listener, letter: Letter) -> None:
        self._scene = scene
        self._letter, guest = letter, letter.guest
        with contextlib.ExitStack() as stack:
            self._reading, self._idling = (
                stack.enter_context(_connected(scene, service, listener, buffer=BUFFER_OCTETS)) for _ in range(2)
            )
            for client in (self._reading, self._idling):
                client.log_in(guest, guest.password)
                _check_count(client.select(), 1)
            self._idling.idle()
            self._reading.say(f"{_TAG} FETCH 1 (RFC822.SIZE BODY.PEEK[])")
            self._open = stack.pop_all()

    def finish(self) -> None:
        with self._open:
            _check(self._letter, self._reading.answer("FETCH"))
            self._scene.deliver(Letter.new(self._letter.guest))
            self._idling.wait_for(2)
            for client in (self._reading, self._idling):
                client.log_out()


def _exists(response: Response) -> int:
    """The number of messages it tells; 0: it tells something else."""
    match response.text.split():
        case ["*", number, "EXISTS"] if number.isdecimal():
            return int(number)
    return 0


def _check_count(found: int, expected: int) -> None:
    if found != expected:
        raise Unexpected(f"{expected} message in INBOX", str(found))


def _check(letter: Letter, fetched: Sequence[Response]) -> None:
    """Raises Unexpected unless that is the letter, and as long as it is said to be."""
    came = next((one.literal for one in fetched if " FETCH " in one.text and one.literal), b"")
    check_octets(letter, came)
    if not any(f"RFC822.SIZE {len(came)}" in one.text for one in fetched):
        raise Unexpected(f"RFC822.SIZE {len(came)}", " ".join(one.text for one in fetched))


@contextlib.contextmanager
def _connected(
    scene: Scene, service: ServiceConfig, listener: Listener, *, secured: bool = True, buffer: int | None = None
) -> Iterator[Client]:
    """`secured`: in TLS, where the listener has it. `buffer`: octets it takes unread."""
    with scene.connected(service, listener, buffer=buffer) as wire:
        client = Client(wire)
        if secured and listener.tls == "starttls":
            client.command("STARTTLS")
            scene.start_tls(service, wire)
        yield client
