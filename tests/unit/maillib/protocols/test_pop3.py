"""POP3 grammar: what each line means, and what is no command."""

import pytest

from maillib.errors import PeerError
from maillib.protocols import pop3
from maillib.protocols.pop3 import Auth, BadCommand, Pass, Plain, Pop3Server, SaslAnswer, TopFilter, User


def one(line: bytes) -> pop3.Command | BadCommand | None:
    core = Pop3Server()
    core.receive(line)
    return core.next_event()


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"STAT\r\n", Plain.STAT),
        (b"stat\n", Plain.STAT),
        (b"Quit  \r\n", Plain.QUIT),
        (b"LIST\r\n", pop3.List(None)),
        (b"LIST 12\r\n", pop3.List(12)),
        (b"UIDL\r\n", pop3.Uidl(None)),
        (b"UIDL 1\r\n", pop3.Uidl(1)),
        (b"RETR 4294967297\r\n", pop3.Retr(4294967297)),
        (b"RETR 007\r\n", pop3.Retr(7)),
        (b"DELE  3\r\n", pop3.Dele(3)),
        (b"TOP 1 99999999\r\n", pop3.Top(1, 99999999)),
        (b"USER alice@example.test\r\n", User("alice@example.test")),
        (b"USER al ice\r\n", User("al ice")),
        (b"PASS  two  spaces \r\n", Pass(" two  spaces ")),
        ("PASS p\u00e4ss\r\n".encode(), Pass("p\u00e4ss")),
        (b"PASS " + b"x" * 1000 + b"\r\n", Pass("x" * 1000)),
        (b"AUTH\r\n", Auth(None, None)),
        (b"auth plain\r\n", Auth("PLAIN", None)),
        (b"AUTH PLAIN =\r\n", Auth("PLAIN", b"")),
        (b"AUTH PLAIN AGEAYg==\r\n", Auth("PLAIN", b"\0a\0b")),
    ],
)
def test_commands(line: bytes, event: pop3.Command) -> None:
    """Keywords are known in any case; arguments are exactly what the client meant."""
    assert one(line) == event


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n",
        b" STAT\r\n",
        b"STAT 1\r\n",
        b"STAT\0\r\n",
        b"STAT\r\r\n",
        b"STAT\t\r\n",
        b"RETR\r\n",
        b"RETR 1 2\r\n",
        b"RETR -1\r\n",
        b"RETR +1\r\n",
        b"RETR 1_0\r\n",
        b"RETR 1.0\r\n",
        b"RETR 0x1\r\n",
        "RETR \u0661\r\n".encode(),
        b"RETR \xb2\r\n",
        b"TOP 1\r\n",
        b"LIST 1 2\r\n",
        b"USER\r\n",
        b"USER \r\n",
        b"USER a\0b\r\n",
        b"USER a\rb\r\n",
        b"USER \xff\r\n",
        "USER a\u0085b\r\n".encode(),
        "PASS a\u2028b\r\n".encode(),
        b"PASS\r\n",
        b"PA\xdf x\r\n",
        b"AUTH PLAIN ===\r\n",
        b"AUTH PLAIN AGEAYg\r\n",
        b"AUTH PLAIN AGEA Yg==\r\n",
        b"AUTH PLAIN \xff\r\n",
        b"APOP alice 0123\r\n",
        b"RETR " + b"0" * 250 + b"1\r\n",
    ],
)
def test_what_is_no_command(line: bytes) -> None:
    """A bad line yields one error and the next line is read as if nothing had happened."""
    core = Pop3Server()
    core.receive(line + b"NOOP\r\n")
    assert isinstance(core.next_event(), BadCommand)
    assert core.next_event() is Plain.NOOP
    assert core.next_event() is None


@pytest.mark.parametrize("line", [b"PASS a\0secret\r\n", b"secret\r\n", b"pass:secret\r\n", b"AUTH PLAIN secret=\r\n"])
def test_errors_hold_no_password(line: bytes) -> None:
    """What an error says for the log and the client never repeats what may be a password."""
    assert "secret" not in repr(one(line))


@pytest.mark.parametrize("event", [Pass("secret"), Auth("PLAIN", b"secret"), SaslAnswer(b"secret")])
def test_events_do_not_print_passwords(event: pop3.Command) -> None:
    """An event in a traceback gives nothing away."""
    assert "secret" not in repr(event)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"AGEAYg==\r\n", SaslAnswer(b"\0a\0b")),
        (b"\r\n", SaslAnswer(b"")),
        (b"*\r\n", SaslAnswer(None)),
        (b"STAT\n", SaslAnswer(b"I0\x13")),
    ],
)
def test_answers(line: bytes, event: SaslAnswer) -> None:
    """After a challenge exactly one line is an answer, whatever it looks like."""
    core = Pop3Server()
    core.expect_answer()
    core.receive(line + b"STAT\r\n")
    assert core.next_event() == event
    assert core.next_event() is Plain.STAT


@pytest.mark.parametrize("line", [b"* \r\n", b"a\r\n", b"\xff\r\n", b"QUIT!\r\n", b"AGEA Yg==\r\n"])
def test_bad_answers(line: bytes) -> None:
    """What is not base64 is one error, and ends the exchange."""
    core = Pop3Server()
    core.expect_answer()
    core.receive(line + b"STAT\r\n")
    assert isinstance(core.next_event(), BadCommand)
    assert core.next_event() is Plain.STAT


def test_a_line_has_a_greatest_length() -> None:
    """4096 octets with the line end are read; one more is an error that cannot be survived."""
    longest = b"PASS " + b"x" * (pop3.MAX_LINE_OCTETS - 7) + b"\r\n"
    assert one(longest) == Pass("x" * (pop3.MAX_LINE_OCTETS - 7))
    for line in (b"PASS " + b"x" * (pop3.MAX_LINE_OCTETS - 6) + b"\r\n", b"x" * pop3.MAX_LINE_OCTETS):
        with pytest.raises(PeerError):
            one(line)


def test_forget_drops_everything() -> None:
    """Neither a whole command, nor half of one, nor an awaited answer survives the start of TLS."""
    core = Pop3Server()
    core.expect_answer()
    core.receive(b"STAT\r\nRETR ")
    core.forget()
    core.receive(b"NOOP\r\n")
    assert core.next_event() is Plain.NOOP
    assert core.next_event() is None


MESSAGE = b"A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\nfour"


@pytest.mark.parametrize(
    ("message", "lines", "passed"),
    [
        (MESSAGE, 0, b"A: 1\r\nB: 2\r\n\r\n"),
        (MESSAGE, 1, b"A: 1\r\nB: 2\r\n\r\none\r\n"),
        (MESSAGE, 2, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n"),
        (MESSAGE, 3, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\n"),
        (MESSAGE, 4, MESSAGE),
        (MESSAGE, 10**100, MESSAGE),
        (b"\r\none\r\n", 0, b"\r\n"),
        (b"A: 1\r\n", 5, b"A: 1\r\n"),
        (b"A: 1", 0, b"A: 1"),
        (b"", 3, b""),
    ],
)
def test_top_over_any_cut(message: bytes, lines: int, passed: bytes) -> None:
    """The header, the empty line and so many lines of the body, wherever the message was cut between lines' octets."""
    cuts = [cut for cut in range(len(message) + 1) if message[cut - 1 : cut + 1] != b"\r\n" or cut == 0]
    for cut in cuts:
        top = TopFilter(lines)
        assert top.feed(message[:cut]) + top.feed(message[cut:]) == passed
    top = TopFilter(lines)
    pieces = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    assert b"".join(top.feed(piece) for piece in pieces) == passed
