"""The client's half of an IMAP connection: literals, APPEND, what is too large, what is no command."""

from datetime import datetime, timedelta, timezone

import pytest

from maillib.errors import PeerError
from maillib.protocols.imap.commands import Authenticate, Login, Plain, Subscribe
from maillib.protocols.imap.events import (
    AppendBegun,
    AppendData,
    AppendEnded,
    AppendMessage,
    BadCommand,
    Event,
    IdleDone,
    LiteralAnnounced,
    SaslAnswer,
    Tagged,
)
from maillib.protocols.imap.reader import MAX_PASSED_OVER
from maillib.protocols.imap.server import LIMIT_AFTER_LOGIN, LIMIT_BEFORE_LOGIN, ImapServer

NOOP = Tagged("n", Plain.NOOP)


def server(*, logged_in: bool = True) -> ImapServer:
    core = ImapServer()
    if logged_in:
        core.logged_in()
    return core


def told(core: ImapServer, data: bytes) -> list[Event]:
    """What `data` makes it tell."""
    core.receive(data)
    found = list[Event]()
    while (event := core.next_event()) is not None:
        found.append(event)
    return found


def test_synchronizing_literal() -> None:
    """It is announced, nothing is read of it before the session says so, and what the client is told is `+ `."""
    core = server(logged_in=False)
    assert told(core, b"a LOGIN {3}\r\n") == [LiteralAnnounced(3)]
    assert told(core, b"joe") == []
    assert core.go_ahead().startswith(b"+ ")
    assert told(core, b" {2}\r\n") == [LiteralAnnounced(2)]
    core.go_ahead()
    assert told(core, b"pw\r\nn NOOP\r\n") == [Tagged("a", Login("joe", "pw")), NOOP]


def test_non_synchronizing_literal() -> None:
    """Nobody is asked; what looks like a command in it is none."""
    data = b"a LOGIN joe {10+}\r\nx NOOP\r\ny \r\nn NOOP\r\n"
    assert told(server(), data) == [Tagged("a", Login("joe", "x NOOP\r\ny ")), NOOP]


@pytest.mark.parametrize("logged_in", [False, True])
def test_commands_have_a_limit(logged_in: bool) -> None:
    """A line, a literal or both together above it are refused with the tag, and the next command is understood."""
    limit = LIMIT_AFTER_LOGIN if logged_in else LIMIT_BEFORE_LOGIN
    long_line = b"a SUBSCRIBE " + b"x" * limit + b"\r\nn NOOP\r\n"
    assert told(server(logged_in=logged_in), long_line) == [BadCommand("a", "SUBSCRIBE", "command too long"), NOOP]
    too_large = BadCommand("a", "SUBSCRIBE", "literal too large", "TOOBIG")
    literal = b"a SUBSCRIBE {%d+}\r\n%b\r\nn NOOP\r\n" % (limit, b"x\n" * (limit // 2))
    assert told(server(logged_in=logged_in), literal) == [too_large, NOOP]
    held_back = b"a SUBSCRIBE {%d}\r\nn NOOP\r\n" % limit
    assert told(server(logged_in=logged_in), held_back) == [too_large, NOOP]
    half = limit // 2
    two = b"a LOGIN {%d+}\r\n%b {%d+}\r\n%b\r\nn NOOP\r\n" % (half, b"x" * half, half, b"y" * half)
    assert told(server(logged_in=logged_in), two) == [BadCommand("a", "LOGIN", "literal too large", "TOOBIG"), NOOP]


def test_refusal_comes_before_the_end() -> None:
    """Whoever sends a line without end hears so at the limit, not at the end."""
    core = server(logged_in=False)
    assert told(core, b"a NOOP " + b"(" * LIMIT_BEFORE_LOGIN) == [BadCommand("a", "NOOP", "command too long")]


@pytest.mark.parametrize(
    "octets",
    [
        b"a NOOP " + b"x" * (2 * MAX_PASSED_OVER),
        b"a SUBSCRIBE {99999999999999999999+}\r\n",
        b"a SUBSCRIBE {%b+}\r\n" % (b"9" * 100),
        b"a SUBSCRIBE {70000+}\r\n",
    ],
)
def test_what_cannot_be_passed_over(octets: bytes) -> None:
    """It ends the connection before log-in, and the core says nothing more of it."""
    core = server(logged_in=False)
    with pytest.raises(PeerError):
        told(core, octets)
    with pytest.raises(PeerError):
        told(core, b"\r\nn NOOP\r\n")


def test_huge_numbers_are_no_literals_that_come() -> None:
    """A client that would wait is told that it is too large."""
    large = b"a SUBSCRIBE {99999999999999999999}\r\nn NOOP\r\n"
    assert told(server(), large) == [BadCommand("a", "SUBSCRIBE", "literal too large", "TOOBIG"), NOOP]


def test_append() -> None:
    """Mailbox, what is said of the message, its octets as they come, the end. RFC 9051 §6.3.12."""
    core = server()
    date = datetime(1994, 2, 7, 21, 52, 25, tzinfo=timezone(timedelta(hours=-8)))
    line = b'A003 append saved-messages (\\seen \\Recent $x) " 7-Feb-1994 21:52:25 -0800" {9}\r\n'
    assert told(core, line) == [
        AppendBegun("A003", "saved-messages"),
        AppendMessage(("\\Seen", "$x"), date, 9),
    ]
    core.go_ahead()
    assert told(core, b"Date: ") == [AppendData(b"Date: ")]
    assert told(core, b"x\r\n\r\nn NOOP\r\n") == [AppendData(b"x\r\n"), AppendEnded(), NOOP]


def test_append_of_several() -> None:
    """Each message is told with its own flags; a literal8 and UTF8 are told apart. RFC 3502 §6.3.11, RFC 6855 §4."""
    data = b"a APPEND {5+}\r\nINBOX () {3+}\r\nabc (\\Draft) ~{2+}\r\n\0d UTF8 (~{1+}\r\ne) {0+}\r\n\r\nn NOOP\r\n"
    assert told(server(), data) == [
        AppendBegun("a", "INBOX"),
        AppendMessage((), None, 3),
        AppendData(b"abc"),
        AppendMessage(("\\Draft",), None, 2, binary=True),
        AppendData(b"\0d"),
        AppendMessage((), None, 1, utf8=True, binary=True),
        AppendData(b"e"),
        AppendMessage((), None, 0),
        AppendEnded(),
        NOOP,
    ]


def test_message_size_is_for_the_session() -> None:
    """A message may be larger than a command; it is handed on in pieces and not kept."""
    core = server()
    octets = 10 * LIMIT_AFTER_LOGIN
    assert told(core, b"a APPEND x {%d+}\r\n" % octets) == [AppendBegun("a", "x"), AppendMessage((), None, octets)]
    for _ in range(10):
        piece = b"y" * LIMIT_AFTER_LOGIN
        assert told(core, piece) == [AppendData(piece)]
        assert core.is_empty
    assert told(core, b"\r\n") == [AppendEnded()]


def test_refused_message_that_waits() -> None:
    """The client does not send it: the next line is a command."""
    core = server()
    told(core, b"a APPEND nobox {3}\r\n")
    core.refuse_literal()
    assert told(core, b"n NOOP\r\n") == [NOOP]


def test_refused_message_that_comes_anyway() -> None:
    """It is passed over, with all messages after it, and the next command is understood."""
    core = server()
    core.receive(b"a APPEND nobox {3+}\r\na\r\n (\\Seen) {12+}\r\nm NOOP\r\n\r\n\r\n {5}\r\nn NOOP\r\n")
    assert core.next_event() == AppendBegun("a", "nobox")
    assert core.next_event() == AppendMessage((), None, 3)
    core.refuse_literal()
    assert told(core, b"") == [NOOP]


def test_message_refused_after_all() -> None:
    """Once its client was told to send it, it comes, and is passed over."""
    core = server()
    told(core, b"a APPEND x {6}\r\n")
    core.go_ahead()
    core.refuse_literal()
    assert told(core, b"NOOP\r\n\r\nn NOOP\r\n") == [NOOP]


@pytest.mark.parametrize("announced", [b"{9}", b"{9+}"])
def test_message_refused_in_the_middle(announced: bytes) -> None:
    """What is still to come of it is passed over, whether the client has waited or not."""
    core = server()
    told(core, b"a APPEND x %b\r\n" % announced)
    core.go_ahead()
    assert told(core, b"abc") == [AppendData(b"abc")]
    core.refuse_literal()
    assert told(core, b"n NO\r\n\r\nn NOOP\r\n") == [NOOP]


@pytest.mark.parametrize(
    "line",
    [
        b"a APPEND x (\\Shiny) {3+}\r\nabc\r\n",
        b'a APPEND x "31-Feb-2000 00:00:00 +0000" {3+}\r\nabc\r\n',
        b'a APPEND x "31-Jan-2000 00:00:00 +9900" {3+}\r\nabc\r\n',
        b'a APPEND x "31-Jan-2000 00:00:61 +0000" {3+}\r\nabc\r\n',
        b"a APPEND x UTF8 ({3+}\r\nabc)\r\n",
        b"a APPEND x y {3+}\r\nabc\r\n",
        b"a APPEND &x {3+}\r\nabc\r\n",
        b"a APPEND x{3+}\r\nabc\r\n",
    ],
)
def test_bad_append(line: bytes) -> None:
    """What is wrong before the first message is told instead of it; the message is passed over."""
    events = told(server(), line + b"n NOOP\r\n")
    assert [type(event) for event in events] == [BadCommand, Tagged]
    assert (events[0].tag, events[1]) == ("a", NOOP)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "end", [b" x\r\n", b")\r\n", b" (\\Shiny) {3+}\r\nabc\r\n", b" {3+\r\n", b"x" * 70_000 + b"\r\n"]
)
def test_bad_end_of_append(end: bytes) -> None:
    """What is wrong after a message ends the APPEND with its tag."""
    events = told(server(), b"a APPEND x {3+}\r\nabc" + end + b"n NOOP\r\n")
    assert [type(event) for event in events] == [AppendBegun, AppendMessage, AppendData, BadCommand, Tagged]
    assert (events[3].tag, events[4]) == ("a", NOOP)  # type: ignore[union-attr]


def test_append_before_login() -> None:
    """Its message is a literal like any other then: within the limit of a command."""
    data = b"a APPEND x {9000}\r\nn NOOP\r\n"
    assert told(server(logged_in=False), data) == [BadCommand("a", "APPEND", "literal too large", "TOOBIG"), NOOP]


def test_sasl_answers() -> None:
    """The line after a challenge is an answer, whatever it looks like; then commands come again."""
    core = server(logged_in=False)
    assert told(core, b"a AUTHENTICATE PLAIN\r\n") == [Tagged("a", Authenticate("PLAIN", None))]
    core.expect_answer("a")
    assert told(core, b"AGEAYg==\r\nn NOOP\r\n") == [SaslAnswer(b"\0a\0b"), NOOP]
    core.expect_answer("b")
    assert told(core, b"*\r\n") == [SaslAnswer(None)]
    core.expect_answer("c")
    assert told(core, b"n NOOP\r\n") == [BadCommand("c", "AUTHENTICATE", "that is not base64")]
    core.expect_answer("d")
    assert told(core, b"A" * 9000 + b"\r\nn NOOP\r\n") == [BadCommand("d", "AUTHENTICATE", "answer too long"), NOOP]


def test_idle() -> None:
    """DONE in any case ends it; anything else does so badly. RFC 2177 §3."""
    core = server()
    assert told(core, b"a IDLE\r\n") == [Tagged("a", Plain.IDLE)]
    core.expect_done("a")
    assert told(core, b"done\r\nn NOOP\r\n") == [IdleDone(), NOOP]
    core.expect_done("b")
    assert told(core, b"x NOOP\r\nn NOOP\r\n") == [BadCommand("b", "IDLE", "DONE was expected"), NOOP]


def test_nothing_survives_starttls() -> None:
    """What was sent in clear behind STARTTLS is gone, half a literal too."""
    core = server(logged_in=False)
    assert told(core, b"a STARTTLS\r\nb LOGIN {30+}\r\njoe") == [Tagged("a", Plain.STARTTLS)]
    core.forget()
    assert told(core, b"n NOOP\r\n") == [NOOP]


def test_what_compress_takes() -> None:
    """What follows in the same octets can be had as it is."""
    core = server()
    core.receive(b"n NOOP\r\nx\x9c")
    assert core.next_event() == NOOP
    assert core.take_rest() == b"x\x9c"
    assert told(core, b"n NOOP\r\n") == [NOOP]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_line_ends(end: bytes) -> None:
    """An LF alone ends a line, too; a CR that does not end one makes it bad."""
    assert told(server(), b"n NOOP" + end) == [NOOP]
    assert told(server(), b"a SUBSCRIBE {1+}" + end + b"x" + end) == [Tagged("a", Subscribe("x"))]
    assert isinstance(told(server(), b"n NO\rOP" + end)[0], BadCommand)
