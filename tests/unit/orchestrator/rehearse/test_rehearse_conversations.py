"""What conversations notice: servers that do what they should not."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pytest

from maillib.settings.service import SETTINGS, Limits, Listener, ServiceConfig, Stop
from orchestrator.rehearse.conversation import Guest, Letter, Scene
from orchestrator.rehearse.report import Report, Result, Step
from orchestrator.rehearse.stage import CONVERSATIONS
from orchestrator.rehearse.wire import stuffed

MX = {"EHLO": "250 here", "MAIL": "250 ok", "RCPT": "550 no", "QUIT": "221 bye", "DATA": "354 go", ".": "250 ok as 7"}
"""A line, or its first word, to what a server answers."""

POP = {
    "CAPA": "+OK\r\nUSER\r\n.",
    "USER": "+OK",
    "PASS": "+OK",
    "PASS no password of anybody": "-ERR",
    "UIDL": "+OK\r\n1 abc\r\n.",
    "LIST": "+OK\r\n1 100\r\n.",
    "RETR": "+OK\r\nReturn-Path: <>\r\nanother message\r\n.",
    "QUIT": "+OK",
}

IMAP = {
    "CAPABILITY": "* CAPABILITY IMAP4rev1\r\na OK",
    "LOGIN": "a OK",
    'LOGIN "guest@example.test" "no password of anybody"': "a NO",
    "SELECT": "* 1 EXISTS\r\na OK",
    "FETCH": "* 1 FETCH (RFC822.SIZE 34 BODY[] {34}\r\nReturn-Path: <>\r\nanother message)\r\na OK",
    "LOGOUT": "* BYE\r\na OK",
}


class NoGuests:
    """A store that keeps nothing."""

    def new(self) -> Guest:
        return Guest("guest@example.test", "secret")

    def waits(self, queue_id: str) -> str | None:
        return None

    def stored(self, guest: Guest) -> int:
        return 0

    def queue(self, letter: Letter, *, hostname: str) -> str:
        return "7"

    def put(self, letter: Letter) -> None:
        pass


@contextlib.contextmanager
def server(greeting: str, answers: Mapping[str, str]) -> Iterator[int]:
    """The port of one that answers line by line, and to no line that it does not know."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, greeting, answers), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, greeting: str, answers: Mapping[str, str]) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            with sock, sock.makefile("rwb") as file, contextlib.suppress(OSError):
                file.write(f"{greeting}\r\n".encode())
                file.flush()
                for line in file:
                    text = line.decode().strip().removeprefix("a ")  # IMAP's tag
                    answer = answers.get(text) or answers.get(text.partition(" ")[0])
                    if answer is not None:
                        file.write(f"{answer}\r\n".encode())
                        file.flush()
                    if text in ("QUIT", "LOGOUT"):
                        break


def talk(protocol: Literal["smtp", "imap", "pop"], answers: Mapping[str, str], greeting: str) -> list[Step]:
    """The steps of a conversation with such a server, on a listener without TLS where log-in in clear is declared."""
    with server(greeting, answers) as port:
        listener = Listener(
            host="127.0.0.1",
            port=port,
            tls="none",
            role="mx" if protocol == "smtp" else None,
            cleartext_login=True,
        )
        service = ServiceConfig(
            name="it",
            protocol=protocol,
            hostname="mail.example.test",
            state_dir="/nonexistent",
            run_dir="/nonexistent",
            processes=1,
            user=None,
            listen=(listener,),
            stop=Stop(),
            limits=Limits(),
            tls=None,
            settings=SETTINGS[protocol](),
        )
        scene = Scene(
            guests=NoGuests(),
            services=[service],
            authority=None,
            certificates={},
            letterbox=None,
            addresses=["alice@example.test"],
            declared={},
        )
        report = Report(tell=lambda step: None, logs=Path("/logs"))
        CONVERSATIONS[protocol].talk(scene, service, report)
        return report.steps


@pytest.mark.parametrize(
    ("answers", "title", "expected", "came"),
    [
        ({**MX, "RCPT": "250 ok"}, "refuses to relay", "an answer to RCPT: 4yz or 5yz", "250 ok"),
        (MX, "knows the 1 declared addresses", "an answer to RCPT: 2yz", "550 no"),
        ({**MX, "EHLO": "250-here\r\n250 STARTTLS"}, "greets (none)", "STARTTLS offered as declared", "STARTTLS"),
    ],
)
def test_smtp_failures(answers: Mapping[str, str], title: str, expected: str, came: str) -> None:
    """An open relay, a declared address that is unknown, TLS that nobody declared."""
    failed = talk("smtp", answers, "220 here")[-1]
    assert (failed.result, failed.title, failed.expected, failed.came) == (Result.FAILED, title, expected, came)


@pytest.mark.parametrize(
    ("answers", "title", "came"),
    [
        (POP | {"PASS no password of anybody": "+OK"}, "refuses a wrong password", "+OK"),
        (POP | {"PASS": "-ERR"}, "takes log-in", "-ERR"),
        (POP, "gives the very octets", "34 octets that differ from them"),
        ({**POP, "CAPA": "+OK\r\nSTLS\r\n."}, "greets (none)", "STLS"),
    ],
)
def test_pop_failures(answers: Mapping[str, str], title: str, came: str) -> None:
    """Any password does, none does, another message comes, TLS that nobody declared."""
    failed = talk("pop", answers, "+OK here")[-1]
    assert (failed.result, failed.title, failed.came) == (Result.FAILED, title, came)


@pytest.mark.parametrize(
    ("answers", "title", "came"),
    [
        (IMAP | {'LOGIN "guest@example.test" "no password of anybody"': "a OK"}, "refuses a wrong password", "a OK"),
        (IMAP | {"LOGIN": "a NO"}, "takes log-in", "a NO"),
        (IMAP | {"SELECT": "* 2 EXISTS\r\na OK"}, "lists the message", "2"),
        (IMAP, "gives the very octets", "34 octets that differ from them"),
        (IMAP | {"CAPABILITY": "* CAPABILITY STARTTLS\r\na OK"}, "greets (none)", "STARTTLS"),
    ],
)
def test_imap_failures(answers: Mapping[str, str], title: str, came: str) -> None:
    """Any password does, none does, mail that nobody sent is there, another message comes, TLS that nobody declared."""
    failed = talk("imap", answers, "* OK here")[-1]
    assert (failed.result, failed.title, failed.came) == (Result.FAILED, title, came)


def test_a_server_of_another_protocol_is_told() -> None:
    """Its greeting is in the report, control characters are not."""
    failed = talk("pop", {}, "220 \x1b[2Jwhat?")[-1]
    assert (failed.title, failed.expected) == ("greets (none)", "a greeting: +OK")
    assert failed.came == "220 ?[2Jwhat?"


def test_dots_are_stuffed() -> None:
    """RFC 5321 §4.5.2: a line that begins with a dot gets one more; the message ends with a dot alone."""
    assert stuffed(b".\r\na\r\n..b\r\n") == b"..\r\na\r\n...b\r\n.\r\n"
    assert stuffed(b"a.\r\n") == b"a.\r\n.\r\n"


def test_a_letter_has_what_can_go_wrong() -> None:
    """Lines that begin with dots, and as many octets as asked for."""
    letter = Letter.new(Guest("guest@example.test", "secret"), at_least=5000)
    assert b"\r\n.\r\n" in letter.octets and 5000 <= len(letter.octets) < 5100
    assert b"secret" not in letter.octets
