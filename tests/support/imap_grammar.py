"""Are these octets what an IMAP server may say? Read by the grammar of RFC 9051 §9, and by nothing of ours.

Raises NotImap, which says where.
"""

import re
from dataclasses import dataclass

_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|}~]+")
_FLAG = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+|\\\*")
_ASTRING_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_NUMBER = re.compile(rb"[0-9]+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")
_LITERAL8 = re.compile(rb"~\{([0-9]+)\}\r\n")
_TEXT = re.compile(rb"[^\r\n\0]+")
_TAG = re.compile(rb"[!#$&'\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~,]+")
_SET = re.compile(rb"[0-9]+(?::[0-9]+)?(?:,[0-9]+(?::[0-9]+)?)*")
_ITEM = re.compile(rb"[A-Z0-9.]+")
_DATE_TIME = re.compile(
    rb'"[ 0-3][0-9]-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4} '
    rb'[0-2][0-9]:[0-5][0-9]:[0-5][0-9] [+-][0-9]{4}"'
)
_CODE = re.compile(rb"\[[A-Z0-9=+\-]+(?: [^\]\r\n]+)?\] ")
_PARTS = re.compile(rb"[1-9][0-9]*(?:\.[1-9][0-9]*)*")


class NotImap(AssertionError):
    """No server may say that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one command."""

    tag: str
    status: str


def answers(octets: bytes, *, utf8: bool = False) -> list[Answer]:
    """Reads all of it; the tagged responses in it."""
    reader = _Reader(octets, utf8=utf8)
    found = []
    while not reader.is_at_end:
        if (answer := reader.response()) is not None:
            found.append(answer)
    return found


class _Reader:
    def __init__(self, octets: bytes, *, utf8: bool) -> None:
        self._octets = octets
        self._at = 0
        self._utf8 = utf8

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._octets)

    # Responses

    def response(self) -> Answer | None:
        if self._take(b"+ "):
            self._need(_TEXT)
            self._end()
            return None
        if self._take(b"* "):
            self._untagged()
            return None
        tag = self._need(_TAG)[0].decode()
        self._require(b" ")
        status = self._need(re.compile(rb"OK|NO|BAD"))[0].decode()
        self._require(b" ")
        self._status_text()
        self._end()
        return Answer(tag, status)

    def _end(self) -> None:
        self._require(b"\r\n")

    def _status_text(self) -> None:
        self._match(_CODE)
        self._need(_TEXT)

    def _untagged(self) -> None:
        number = self._match(_NUMBER)
        if number is not None:
            self._require(b" ")
        word = self._need(_ATOM)[0].decode()
        match word:
            case "EXISTS" | "EXPUNGE" | "RECENT" if number:
                pass
            case "FETCH" if number:
                self._require(b" ")
                self._list(self._message_item)
            case _ if number:
                self._fail(f"a number and {word}")
            case "OK" | "NO" | "BAD" | "BYE" | "PREAUTH":
                self._require(b" ")
                self._status_text()
            case "CAPABILITY" | "ENABLED":
                while self._take(b" "):
                    self._need(_ATOM)
            case "FLAGS":
                self._require(b" ")
                self._list(self._flag, may_be_empty=True)
            case "LIST" | "LSUB":
                self._listed()
            case "STATUS":
                self._require(b" ")
                self._mailbox()
                self._require(b" ")
                self._list(self._status_item)
            case "SEARCH" | "SORT":
                while self._take(b" "):
                    if self._take(b"(MODSEQ "):
                        self._need(_NUMBER)
                        self._require(b")")
                    else:
                        self._need(_NUMBER)
            case "THREAD":
                if self._take(b" "):
                    self._threads()
            case "ESEARCH":
                self._esearch()
            case "VANISHED":
                self._require(b" ")
                self._take(b"(EARLIER) ")
                self._need(_SET)
            case "NAMESPACE":
                self._require(b' (("" "/")) NIL NIL')
            case "ID":
                self._require(b" ")
                if not self._take(b"NIL"):
                    self._list(self._nstring)
            case "QUOTA":
                self._require(b" ")
                self._astring()
                self._require(b" ")
                self._list(self._quota, may_be_empty=True)
            case "QUOTAROOT":
                while self._take(b" "):
                    self._astring()
            case _:
                self._fail(f"untagged {word}")
        self._end()

    def _listed(self) -> None:
        self._require(b" ")
        self._list(self._flag, may_be_empty=True)
        self._require(b' "/" ')
        self._mailbox()
        if self._take(b" "):
            self._list(self._list_extension)

    def _list_extension(self) -> None:
        word = self._string()
        self._require(b" ")
        self._list(self._string if word == b"CHILDINFO" else self._mailbox)

    def _status_item(self) -> None:
        self._need(_ATOM)
        self._require(b" ")
        self._need(_NUMBER)

    def _esearch(self) -> None:
        self._require(b' (TAG "')
        self._need(_TAG)
        self._require(b'")')
        self._take(b" UID")
        while self._take(b" "):
            word = self._need(_ATOM)[0]
            self._require(b" ")
            self._need(_SET if word == b"ALL" else _NUMBER)

    def _threads(self) -> None:
        depth = 0
        while not self._octets.startswith(b"\r\n", self._at):
            if self._take(b"("):
                depth += 1
            elif self._take(b")"):
                depth -= 1
            else:
                self._need(re.compile(rb"[0-9]+|(?<=[0-9]) "))
        if depth:
            self._fail("a thread")

    def _quota(self) -> None:
        self._need(_ATOM)
        self._require(b" ")
        self._need(_NUMBER)
        self._require(b" ")
        self._need(_NUMBER)

    # FETCH

    def _message_item(self) -> None:
        name = self._need(_ITEM)[0].decode()
        if self._take(b"["):
            self._section()
            self._require(b"]")
            if self._take(b"<"):
                self._need(_NUMBER)
                self._require(b">")
            name += "[]"
        self._require(b" ")
        match name:
            case "UID" | "RFC822.SIZE" | "BINARY.SIZE[]":
                self._need(_NUMBER)
            case "MODSEQ":
                self._require(b"(")
                self._need(_NUMBER)
                self._require(b")")
            case "FLAGS":
                self._list(self._flag, may_be_empty=True)
            case "INTERNALDATE":
                self._need(_DATE_TIME)
            case "ENVELOPE":
                self._envelope()
            case "BODYSTRUCTURE":
                self._body(extended=True)
            case "BODY":
                self._body(extended=False)
            case "PREVIEW":
                self._nstring()
            case "BINARY[]" | "BODY[]" | "RFC822" | "RFC822.HEADER" | "RFC822.TEXT":
                # The grammar has literal8 for the first alone, and no way to tell a NUL in the others.
                literal8 = self._match(_LITERAL8)
                if literal8 is None:
                    self._nstring()
                else:
                    self._octets_of(int(literal8[1]))
            case _:
                self._fail(f"item {name}")

    def _section(self) -> None:
        if self._match(_PARTS) is not None and not self._take(b"."):
            return
        word = self._match(re.compile(rb"HEADER\.FIELDS(?:\.NOT)?|HEADER|TEXT|MIME"))
        if word is not None and b"FIELDS" in word[0]:
            self._require(b" ")
            self._list(self._astring)

    def _envelope(self) -> None:
        self._require(b"(")
        for field in range(10):
            if field:
                self._require(b" ")
            if field in (0, 1, 8, 9):
                self._nstring()
            else:
                self._addresses()
        self._require(b")")

    def _addresses(self) -> None:
        if self._take(b"NIL"):
            return
        self._require(b"(")
        self._address()
        while not self._take(b")"):
            self._address()

    def _address(self) -> None:
        self._require(b"(")
        for field in range(4):
            if field:
                self._require(b" ")
            self._nstring()
        self._require(b")")

    def _body(self, *, extended: bool) -> None:
        self._require(b"(")
        if self._octets.startswith(b"(", self._at):
            while self._octets.startswith(b"(", self._at):
                self._body(extended=extended)
            self._require(b" ")
            self._string()
            if extended:
                self._require(b" ")
                self._parameters()
        else:
            self._single_part(extended=extended)
        if extended:
            self._require(b" ")
            self._disposition()
            self._require(b" ")
            self._language()
            self._require(b" ")
            self._nstring()
        self._require(b")")

    def _single_part(self, *, extended: bool) -> None:
        kind = self._string().upper()
        self._require(b" ")
        subtype = self._string().upper()
        self._require(b" ")
        self._parameters()
        for piece in (self._nstring, self._nstring, self._string):
            self._require(b" ")
            piece()
        self._require(b" ")
        self._need(_NUMBER)
        if (kind, subtype) in ((b"MESSAGE", b"RFC822"), (b"MESSAGE", b"GLOBAL")):
            self._require(b" ")
            self._envelope()
            self._require(b" ")
            self._body(extended=extended)
        if kind == b"TEXT" or (kind, subtype) in ((b"MESSAGE", b"RFC822"), (b"MESSAGE", b"GLOBAL")):
            self._require(b" ")
            self._need(_NUMBER)
        if extended:
            self._require(b" ")
            self._nstring()

    def _parameters(self) -> None:
        if not self._take(b"NIL"):
            self._list(self._parameter)

    def _parameter(self) -> None:
        self._string()
        self._require(b" ")
        self._string()

    def _disposition(self) -> None:
        if self._take(b"NIL"):
            return
        self._require(b"(")
        self._string()
        self._require(b" ")
        self._parameters()
        self._require(b")")

    def _language(self) -> None:
        if self._octets.startswith(b"(", self._at):
            self._list(self._string)
        else:
            self._nstring()

    # Pieces

    def _list(self, piece: object, *, may_be_empty: bool = False) -> None:
        assert callable(piece)
        self._require(b"(")
        if may_be_empty and self._take(b")"):
            return
        piece()
        while self._take(b" "):
            piece()
        self._require(b")")

    def _flag(self) -> None:
        self._need(_FLAG)

    def _mailbox(self) -> None:
        self._astring()

    def _astring(self) -> None:
        if self._match(_ASTRING_ATOM) is None:
            self._string()

    def _nstring(self) -> None:
        if not self._take(b"NIL"):
            self._string()

    def _string(self) -> bytes:
        quoted = self._match(_QUOTED)
        if quoted is not None:
            if not quoted[1].isascii():
                if not self._utf8:
                    self._fail("eight bits in quotes")
                quoted[1].decode()
            return quoted[1]
        literal = self._need(_LITERAL)
        octets = self._octets_of(int(literal[1]))
        if b"\0" in octets:
            self._fail("NUL in a literal")
        return octets

    def _octets_of(self, length: int) -> bytes:
        octets = self._octets[self._at : self._at + length]
        if len(octets) != length:
            self._fail("a literal is cut short")
        self._at += length
        return octets

    def _take(self, octets: bytes) -> bool:
        found = self._octets.startswith(octets, self._at)
        if found:
            self._at += len(octets)
        return found

    def _require(self, octets: bytes) -> None:
        if not self._take(octets):
            self._fail(repr(octets))

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self._octets, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _need(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        found = self._match(pattern)
        if found is None:
            self._fail(pattern.pattern.decode("latin-1"))
        assert found is not None
        return found

    def _fail(self, what: str) -> None:
        raise NotImap(
            f"{what}: {self._octets[max(0, self._at - 60) : self._at]!r} >>> {self._octets[self._at :][:80]!r}"
        )
