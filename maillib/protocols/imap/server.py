"""The client's half of one IMAP connection: octets in, events out. RFC 9051 §2.2.

Theory of operation. `_events` is a coroutine of the plain kind: it reads lines and literals, yields an event for each
thing a session must see, and None whenever it needs more octets. A command is gathered whole, literals in place, and
then parsed, but for APPEND, whose messages are handed on as they come. Whatever is wrong with a command is found either
while it is gathered (too long, a literal too large) or after that; either way the place in the stream is known, the
rest of the command is passed over, and its tag is in the answer.

Limits. A command with its literals has at most 8 KiB before log-in, 64 KiB after; a message's size is for the session
to accept. What is passed over costs no memory; still, a literal that nobody could mean, or a line without end, raises
PeerError: the session says BYE.
"""

from collections.abc import Generator

from maillib.errors import PeerError
from maillib.protocols.imap import append, parse
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.events import (
    AppendBegun,
    AppendData,
    AppendEnded,
    BadCommand,
    Event,
    IdleDone,
    LiteralAnnounced,
    SaslAnswer,
)
from maillib.protocols.imap.reader import MAX_PASSED_OVER, TAIL_OCTETS, Announced, LineTooLong, Reader, announced
from maillib.protocols.sasl import Malformed as NotBase64
from maillib.protocols.sasl import decode_base64

LIMIT_BEFORE_LOGIN = 8 * 1024
LIMIT_AFTER_LOGIN = 64 * 1024

LARGEST_PASSED_OVER = 1024 * 1024 * 1024
"""A literal that is not wanted and comes all the same (LITERAL+) is read to its end up to here."""

LARGEST_PASSED_OVER_BEFORE_LOGIN = 64 * 1024

_Steps = Generator[Event | None, None, None]
_Line = Generator[Event | None, None, bytes]


class ImapServer:
    """One for each connection."""

    __slots__ = (
        "_answers_command",
        "_done_is_next",
        "_events",
        "_has_broken",
        "_is_held_back",
        "_is_refused",
        "_logged_in",
        "_reader",
        "_utf8_names",
        "_waits",
    )

    def __init__(self) -> None:
        self._reader = Reader()
        self._logged_in = False
        self._utf8_names = False
        self._waits = False
        """The client waits for `go_ahead`."""
        self._is_refused = False
        """So is the message that was announced last ..."""
        self._is_held_back = False
        """... before its client was told to send it."""
        self._answers_command: str | None = None
        """Tag of the AUTHENTICATE that the next line belongs to."""
        self._done_is_next: str | None = None
        """Tag of the IDLE that the next line ends."""
        self._has_broken = False
        self._events = self._all_events()

    # What the session says

    def receive(self, data: bytes) -> None:
        self._reader.receive(data)

    def next_event(self) -> Event | None:
        """None: more octets are needed, or `go_ahead`.

        Raises PeerError when what follows cannot be made out any more, then and ever after.
        """
        if self._has_broken:
            raise PeerError("the connection is out of step")
        try:
            return next(self._events)
        except PeerError:
            self._has_broken = True
            raise

    @property
    def is_empty(self) -> bool:
        """All that was received has been looked at."""
        return self._reader.is_empty

    def go_ahead(self) -> bytes:
        """The literal that was announced may come; to be sent, empty when the client does not wait for it."""
        if not self._waits:
            return b""
        self._waits = False
        return b"+ OK\r\n"

    def refuse_literal(self) -> None:
        """The message that was announced, or what is still to come of it, is not wanted: the rest of the APPEND is
        passed over. The session answers NO; a client that waits takes that for an answer, too. RFC 9051 §4.3.
        """
        self._is_held_back = self._waits
        self._is_refused = True
        self._waits = False

    def expect_answer(self, tag: str) -> None:
        """The next line answers a challenge of the AUTHENTICATE with this tag."""
        self._answers_command = tag

    def expect_done(self, tag: str) -> None:
        """The next line ends the IDLE with this tag."""
        self._done_is_next = tag

    def logged_in(self) -> None:
        self._logged_in = True

    def use_utf8_names(self) -> None:
        """The client has enabled UTF8=ACCEPT or IMAP4rev2. RFC 6855 §3, RFC 9051 §5.1."""
        self._utf8_names = True

    def take_rest(self) -> bytes:
        """What was received and not looked at yet, which is not looked at any more: after COMPRESS it means something
        else. RFC 4978 §3.
        """
        return self._reader.take_rest()

    def forget(self) -> None:
        """Drop all that was received: TLS starts, and what came before it could be anybody's. RFC 9051 §6.2.1."""
        self._reader = Reader()
        self._waits = False
        self._answers_command = None
        self._done_is_next = None
        self._has_broken = False
        self._events = self._all_events()

    # Commands

    @property
    def _limit(self) -> int:
        return LIMIT_AFTER_LOGIN if self._logged_in else LIMIT_BEFORE_LOGIN

    def _all_events(self) -> _Steps:
        while True:
            if self._answers_command is not None:
                yield from self._answer(self._answers_command)
            elif self._done_is_next is not None:
                yield from self._done(self._done_is_next)
            elif self._reader.is_empty:
                yield None
            elif (text := self._reader.simple_line(self._limit)) is not None:
                yield parse.command(text, utf8_names=self._utf8_names)
            else:
                yield from self._command()

    def _command(self) -> _Steps:
        gathered = bytearray()
        is_append = False
        try:
            while True:
                line = yield from self._line(self._limit - len(gathered))
                is_append = is_append or (self._logged_in and not gathered and append.is_append(line))
                gathered += line
                literal = announced(line)
                if literal is None:
                    yield parse.command(bytes(gathered), utf8_names=self._utf8_names)
                    return
                if is_append and append.begins_message(bytes(gathered)):
                    yield from self._append(bytes(gathered), literal)
                    return
                if len(gathered) + literal.octets > self._limit:
                    yield parse.bad(bytes(gathered), Malformed("literal too large", code="TOOBIG"))
                    yield from self._pass_over(literal)
                    return
                if literal.waits:
                    yield from self._wait(LiteralAnnounced(literal.octets))
                gathered += b"\r\n" + (yield from self._literal(literal.octets))
        except LineTooLong as error:
            yield parse.bad(bytes(gathered) + error.beginning, Malformed("command too long"))
            yield from self._pass_over_line()

    def _wait(self, event: Event) -> _Steps:
        self._waits = True
        yield event
        while self._waits:
            yield None

    def _line(self, limit: int) -> _Line:
        while (line := self._reader.line(limit)) is None:
            yield None
        return line

    def _literal(self, octets: int) -> _Line:
        pieces = []
        while octets:
            piece = self._reader.octets(octets)
            if piece:
                pieces.append(piece)
                octets -= len(piece)
            else:
                yield None
        return b"".join(pieces)

    # What nobody wants

    def _pass_over(self, literal: Announced | None) -> _Steps:
        """The rest of a command, from a literal on that was announced; one that the client holds back was its end."""
        largest = LARGEST_PASSED_OVER if self._logged_in else LARGEST_PASSED_OVER_BEFORE_LOGIN
        while literal is not None and not literal.waits:
            if literal.octets > largest:
                raise PeerError("literal too large")
            left = literal.octets
            while left:
                left -= len(self._reader.octets(left))
                if left:
                    yield None
            literal = announced((yield from self._end_of_line()))

    def _pass_over_line(self) -> _Steps:
        yield from self._pass_over(announced((yield from self._end_of_line())))

    def _end_of_line(self) -> _Line:
        """Go past the next end of line, and return the last octets before it."""
        tail = b""
        passed = 0
        ended = False
        while not ended:
            piece, ended = self._reader.rest_of_line()
            passed += len(piece)
            if passed > MAX_PASSED_OVER:
                raise PeerError("line too long")
            tail = (tail + piece[-TAIL_OCTETS:])[-TAIL_OCTETS:]
            if not ended:
                yield None
        return tail.removesuffix(b"\r")

    # APPEND

    def _append(self, text: bytes, literal: Announced) -> _Steps:
        try:
            beginning = append.beginning(text, literal, utf8_names=self._utf8_names)
        except Malformed as error:
            yield parse.bad(text, error)
            yield from self._pass_over(literal)
            return
        yield AppendBegun(beginning.tag, beginning.mailbox)
        message = beginning.message
        while True:
            self._is_refused = False
            if literal.waits:
                yield from self._wait(message)
            else:
                yield message
            left = literal.octets
            while left and not self._is_refused:
                piece = self._reader.octets(left)
                left -= len(piece)
                yield AppendData(piece) if piece else None
            if self._is_refused:
                yield from self._pass_over(Announced(left, waits=self._is_held_back, binary=literal.binary))
                return
            line = yield from self._line(self._limit)
            following = announced(line)
            try:
                another = append.following(line, message, following)
            except Malformed as error:
                yield parse.bad(text, error)
                yield from self._pass_over(following)
                return
            if following is None or another is None:
                yield AppendEnded()
                return
            message, literal = another, following

    # What is no command

    def _answer(self, tag: str) -> _Steps:
        self._answers_command = None
        try:
            line = yield from self._line(self._limit)
        except LineTooLong:
            yield BadCommand(tag, "AUTHENTICATE", "answer too long")
            yield from self._pass_over_line()
            return
        try:
            yield SaslAnswer(None if line == b"*" else decode_base64(line))
        except NotBase64:
            yield BadCommand(tag, "AUTHENTICATE", "that is not base64")

    def _done(self, tag: str) -> _Steps:
        self._done_is_next = None
        try:
            line = yield from self._line(self._limit)
        except LineTooLong:
            yield BadCommand(tag, "IDLE", "DONE was expected")
            yield from self._pass_over_line()
            return
        if line.upper() == b"DONE":
            yield IdleDone()
        else:
            yield BadCommand(tag, "IDLE", "DONE was expected")
            yield from self._pass_over(announced(line))
