"""POP3, server side, without I/O: octets in, commands out; replies as octets. RFC 1939, RFC 2449, RFC 5034, RFC 6856.

`Pop3Server` finds the end of a line first and reads the line second, so that a bad command never costs the place in
the stream. Every line yields exactly one event. It keeps one state only, whether the next line is a command or the
answer to a SASL challenge; whether a command may be given now is the session's to know.

What a line is: it ends with LF; a CR before it belongs to the end (some clients send LF alone, and as no POP command
carries data, taking it opens no gap between two readers). A CR elsewhere, a NUL or any other control character makes
the line bad. Octets over 127 are taken in user names and passwords only, as UTF-8 (the form of RFC 6856 §2.2).
"""

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from maillib.address import has_controls
from maillib.errors import PeerError
from maillib.protocols.sasl import Malformed, decode_base64

MAX_COMMAND_OCTETS = 255
"""With the line end. RFC 2449 §4."""

MAX_LINE_OCTETS = 4096
"""AUTH with its response and PASS may be longer than other commands; past this no end of line is waited for."""

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class Plain(Enum):
    """Commands without arguments."""

    CAPA = "CAPA"
    NOOP = "NOOP"
    QUIT = "QUIT"
    RSET = "RSET"
    STAT = "STAT"
    STLS = "STLS"
    UTF8 = "UTF8"


@dataclass(frozen=True, slots=True)
class User:
    """RFC 1939 §7."""

    name: str


@dataclass(frozen=True, slots=True)
class Pass:
    """The password is everything after the first space. RFC 1939 §7."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Auth:
    """RFC 5034 §4. Without a mechanism: which are there, as clients older than CAPA ask."""

    mechanism: str | None
    """In upper case."""
    initial: bytes | None = field(repr=False)
    """Decoded; None: the client waits for the challenge."""


@dataclass(frozen=True, slots=True)
class SaslAnswer:
    """The answer to a challenge, decoded; None: the client gave up (`*`)."""

    data: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lang:
    """RFC 6856 §3. Without a language range: which languages are there."""

    language: str | None


@dataclass(frozen=True, slots=True)
class List:
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Uidl:
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Retr:
    number: int


@dataclass(frozen=True, slots=True)
class Dele:
    number: int


@dataclass(frozen=True, slots=True)
class Top:
    """RFC 1939 §7."""

    number: int
    lines: int
    """Of the body, after the header and the empty line."""


LoginCommand = User | Pass | Auth | SaslAnswer
Command = Plain | LoginCommand | Lang | List | Uidl | Retr | Dele | Top


@dataclass(frozen=True, slots=True)
class BadCommand:
    """A line that is no command."""

    keyword: str
    """For the log: a keyword that we know, else a description; never what may hold a password."""
    reason: str
    """For the client."""


def keyword(event: Command | BadCommand) -> str:
    """For the log."""
    match event:
        case Plain():
            return event.value
        case SaslAnswer():
            return "AUTH"
        case BadCommand(known):
            return known
    return type(event).__name__.upper()


class Pop3Server:
    """The client's half of one connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        """So many octets of the buffer are known to hold no LF."""
        self._answer_is_next = False

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def expect_answer(self) -> None:
        """The next line answers a SASL challenge."""
        self._answer_is_next = True

    def forget(self) -> None:
        """Drop all that was received: TLS starts, and what came before it could be anybody's. RFC 2595 §4."""
        self._buffer.clear()
        self._searched = 0
        self._answer_is_next = False

    def next_event(self) -> Command | BadCommand | None:
        """None: no line is complete. Raises PeerError when a line is too long to wait for its end."""
        end = self._buffer.find(b"\n", self._searched, MAX_LINE_OCTETS)
        if end < 0:
            if len(self._buffer) >= MAX_LINE_OCTETS:
                raise PeerError("line too long")
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._searched = 0
        if self._answer_is_next:
            self._answer_is_next = False
            return _answer(line.removesuffix(b"\n").removesuffix(b"\r"))
        return _command(line)


def _answer(line: bytes) -> SaslAnswer | BadCommand:
    if line == b"*":
        return SaslAnswer(None)
    try:
        return SaslAnswer(decode_base64(line))
    except Malformed:
        return _NOT_BASE64


def _command(whole: bytes) -> Command | BadCommand:
    line = whole.removesuffix(b"\n").removesuffix(b"\r")
    word, _, rest = line.partition(b" ")
    keyword = word.upper().decode("latin-1")
    if keyword not in _KEYWORDS:
        return BadCommand(f"unknown, {len(line)} octets", "unknown command")
    if len(whole) > MAX_COMMAND_OCTETS and keyword not in ("AUTH", "PASS"):
        return BadCommand(keyword, "line too long")
    if _CONTROLS.search(line):
        return BadCommand(keyword, "control characters are not allowed")
    if keyword in ("USER", "PASS"):
        return _name_or_password(keyword, rest)
    if not line.isascii():
        return BadCommand(keyword, "only ASCII is allowed here")
    arguments = rest.decode("ascii").split()
    if keyword == "AUTH":
        return _auth(arguments)
    if keyword == "LANG":
        return _lang(arguments)
    if keyword in _PLAIN:
        return BadCommand(keyword, f"{keyword} takes no argument") if arguments else Plain(keyword)
    return _numbered(keyword, arguments)


def _name_or_password(keyword: str, argument: bytes) -> User | Pass | BadCommand:
    try:
        text = argument.decode()
    except UnicodeDecodeError:
        return BadCommand(keyword, "that is not UTF-8")
    if not text or has_controls(text):
        return BadCommand(keyword, f"{keyword} takes one argument without control characters")
    return User(text) if keyword == "USER" else Pass(text)


def _auth(arguments: list[str]) -> Auth | BadCommand:
    match arguments:
        case []:
            return Auth(None, None)
        case [mechanism]:
            return Auth(mechanism.upper(), None)
        case [mechanism, "="]:
            return Auth(mechanism.upper(), b"")
        case [mechanism, initial]:
            try:
                return Auth(mechanism.upper(), decode_base64(initial.encode()))
            except Malformed:
                return _NOT_BASE64
    return BadCommand("AUTH", "AUTH takes a mechanism and at most one response")


def _lang(arguments: list[str]) -> Lang | BadCommand:
    if len(arguments) > 1:
        return BadCommand("LANG", "LANG takes at most one language")
    return Lang(arguments[0] if arguments else None)


def _numbered(keyword: str, arguments: list[str]) -> Command | BadCommand:
    """Numbers are digits only, of any value: whether there is such a message is for the session to say."""
    command, counts, takes = _NUMBERS[keyword]
    if len(arguments) not in counts:
        return BadCommand(keyword, f"{keyword} takes {takes}")
    numbers = [int(argument) for argument in arguments if argument.isdigit()]
    if len(numbers) != len(arguments):
        return BadCommand(keyword, "that is not a number")
    return command(*numbers)


_PLAIN = frozenset(command.value for command in Plain)
_NUMBERS: dict[str, tuple[Callable[..., Command], range, str]] = {
    "RETR": (Retr, range(1, 2), "a message number"),
    "DELE": (Dele, range(1, 2), "a message number"),
    "TOP": (Top, range(2, 3), "a message number and a number of lines"),
    "LIST": (List, range(2), "at most a number"),
    "UIDL": (Uidl, range(2), "at most a number"),
}
"""What each makes of its arguments, how many it takes, and that in words."""
_NOT_BASE64 = BadCommand("AUTH", "that is not base64")
_KEYWORDS = _PLAIN | _NUMBERS.keys() | {"USER", "PASS", "AUTH", "LANG"}


def ok(text: str) -> bytes:
    """One line that says yes."""
    return f"+OK {text}\r\n".encode()


def err(text: str, code: str | None = None) -> bytes:
    """One line that says no; `code` is a response code such as `SYS/TEMP`. RFC 2449 §8, RFC 3206."""
    return f"-ERR [{code}] {text}\r\n".encode() if code else f"-ERR {text}\r\n".encode()


def challenge(data: bytes) -> bytes:
    """What a SASL mechanism asks. RFC 5034 §4."""
    return b"+ " + base64.b64encode(data) + b"\r\n"


END = b".\r\n"
"""Ends every answer of several lines."""


def listing(text: str, lines: Iterable[str]) -> bytes:
    """An answer of several lines, none of which begins with a dot. RFC 1939 §3."""
    return ok(text) + "".join(f"{line}\r\n" for line in lines).encode() + END


class TopFilter:
    """Lets the header, the empty line after it and the first lines of the body pass. RFC 1939 §7.

    Takes pieces in which every line end is CRLF and none is cut between CR and LF.
    """

    def __init__(self, body_lines: int) -> None:
        self._left = body_lines
        self._in_header = True
        self._line_is_empty = True
        """Nothing of the current line of the header has been seen."""

    @property
    def is_done(self) -> bool:
        """Nothing more will pass."""
        return not self._in_header and self._left == 0

    def feed(self, piece: bytes) -> bytes:
        start = self._end_of_header(piece) if self._in_header else 0
        return piece[: self._end_of_body(piece, start)]

    def _end_of_header(self, piece: bytes) -> int:
        """Where the body begins in `piece`; its length if it does not."""
        if self._line_is_empty and piece.startswith(b"\r\n"):
            end = 2
        elif (found := piece.find(b"\r\n\r\n")) >= 0:
            end = found + 4
        else:
            if piece:
                self._line_is_empty = piece.endswith(b"\r\n")
            return len(piece)
        self._in_header = False
        return end

    def _end_of_body(self, piece: bytes, start: int) -> int:
        if self._in_header or self._left == 0:
            return start
        lines_here = piece.count(b"\n", start)
        if lines_here <= self._left:
            self._left -= lines_here
            return len(piece) if self._left or lines_here == 0 else piece.rindex(b"\n") + 1
        end = start
        while self._left:
            end = piece.index(b"\n", end) + 1
            self._left -= 1
        return end
