"""The pieces of which the arguments of commands are made, read one after the other. RFC 9051 §4, §9.

`Arguments` goes over the octets of one whole command, literals in place (`reader` has found where it ends). Each method
reads one piece or raises Malformed. Where one space is due several do, and at the end they do no harm; for the rest the
grammar is kept. All is linear and nothing recursive.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from typing import TypeVar

from maillib.protocols.imap import names
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.sequences import LARGEST, Messages, Saved, SequenceSet, parse_set

LARGEST_NUMBER64 = 2**63 - 1
"""RFC 9051 §9, number64."""

_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_LIST_MAILBOX = re.compile(rb"[!#$%&'*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_DOTTED = re.compile(rb"[A-Za-z0-9.]+")
_FLAG = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_QUOTED = re.compile(rb'"([^"\\\r\n\0]*(?:\\["\\][^"\\\r\n\0]*)*)"')
_ESCAPED = re.compile(rb'\\(["\\])')
_LITERAL = re.compile(rb"\{([0-9]{1,19})\+?\}\r\n")
_ANNOUNCEMENT = re.compile(rb"\{[0-9]+\+?\}\Z")
_ANNOUNCEMENT_BINARY = re.compile(rb"~\{[0-9]+\+?\}\Z")
_NUMBER = re.compile(rb"[0-9]+")
_SET = re.compile(rb"[0-9:*,]+|\$")
_BEGIN_OF_SET = frozenset(b"%c" % octet for octet in b"0123456789*$")
_SPACE = re.compile(rb" +")
_TO_THE_END = re.compile(rb" *\Z")
_DATE = re.compile(rb'(")?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})(?(1)")')
_DATE_TIME = re.compile(
    rb'"([ 0-9]?[0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {month.upper().encode(): number for number, month in enumerate(MONTHS, 1)}

_MAX_FLAG = 255
"""Octets of a keyword. Each message that has it, and each listing, carries them."""

_SYSTEM_FLAGS = {
    flag.upper(): flag for flag in ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "\\Recent")
}

_Piece = TypeVar("_Piece")


class Arguments:
    """A position in one command."""

    __slots__ = ("_at", "_text", "_utf8_names")

    def __init__(self, text: bytes, at: int = 0, *, utf8_names: bool = False) -> None:
        self._text = text
        self._at = at
        self._utf8_names = utf8_names

    # Between pieces

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._text) or _TO_THE_END.match(self._text, self._at) is not None

    def end(self) -> None:
        if not self.is_at_end:
            raise Malformed("more arguments than the command takes")

    def space(self) -> None:
        if not self.take_match(_SPACE):
            raise Malformed("an argument is missing")

    def another(self) -> bool:
        """Go past a space, if there is one: one more piece follows."""
        return self.take_match(_SPACE) is not None

    def next_is(self, octet: bytes) -> bool:
        return self._text.startswith(octet, self._at)

    def take(self, octet: bytes) -> bool:
        """Go past it if it is next."""
        if self._text.startswith(octet, self._at):
            self._at += len(octet)
            return True
        return False

    def require(self, octet: bytes) -> None:
        if not self.take(octet):
            raise Malformed(f"{octet.decode()} is missing")

    def take_match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Go past what matches, if it is next."""
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def take_word(self, word: bytes) -> bool:
        """Go past an atom that is `word` in any case, if it is next."""
        match = _ATOM.match(self._text, self._at)
        if match is None or match[0].upper() != word:
            return False
        self._at = match.end()
        return True

    def list_of(self, piece: Callable[[], _Piece], *, may_be_empty: bool = False) -> list[_Piece]:
        """`(piece piece ...)`."""
        self.require(b"(")
        found: list[_Piece] = []
        self.take_match(_SPACE)
        while not self.take(b")"):
            found.append(piece())
            if not self.take_match(_SPACE) and not self.next_is(b")"):
                raise Malformed("a list is not well formed")
        if not found and not may_be_empty:
            raise Malformed("a list is empty")
        return found

    def rest(self) -> bytes:
        """All that is left, spaces at the end aside."""
        found = self._text[self._at :].rstrip(b" ")
        self._at = len(self._text)
        return found

    def announcement(self, *, binary: bool) -> None:
        """Of the literal that ends the text."""
        if not (_ANNOUNCEMENT_BINARY if binary else _ANNOUNCEMENT).match(self._text, self._at):
            raise Malformed("a message is missing, or what is said of it is not well formed")

    # Atoms and numbers

    def word(self) -> str:
        """An atom in upper case: a keyword of the grammar."""
        return self.atom().upper().decode("ascii")

    def dotted(self) -> str:
        """Letters, digits and dots, in upper case: an item of FETCH, the name of a section."""
        return self._need(_DOTTED, "a word is missing").upper().decode("ascii")

    @property
    def next_is_digit(self) -> bool:
        return self._text[self._at : self._at + 1].isdigit()

    @property
    def next_is_set(self) -> bool:
        return self._text[self._at : self._at + 1] in _BEGIN_OF_SET

    def atom(self) -> bytes:
        return self._need(_ATOM, "a word is missing")

    def number(self, largest: int = LARGEST) -> int:
        digits = self._need(_NUMBER, "a number is missing")
        if len(digits) > 19 or (number := int(digits)) > largest:
            raise Malformed("a number is too large")
        return number

    def number64(self) -> int:
        return self.number(LARGEST_NUMBER64)

    def positive(self) -> int:
        number = self.number()
        if number == 0:
            raise Malformed("0 is not allowed here")
        return number

    def messages(self) -> Messages:
        text = self._need(_SET, "a set of messages is missing")
        return Saved.RESULT if text == b"$" else parse_set(text)

    def fixed_set(self) -> SequenceSet:
        """Without `*` and `$`."""
        found = parse_set(self._need(_SET, "a set of numbers is missing"))
        if found.has_star:
            raise Malformed("* is not allowed here")
        return found

    def flag(self) -> str:
        """Any flag or keyword, \\Recent too. RFC 9051 §2.3.2."""
        flag = self._need(_FLAG, "a flag is missing").decode("ascii")
        if len(flag) > _MAX_FLAG:
            raise Malformed("a keyword is too long", code="LIMIT")
        if flag.startswith("\\"):
            known = _SYSTEM_FLAGS.get(flag.upper())
            if known is None:
                raise Malformed("there is no such system flag")
            return known
        return flag

    def flags(self) -> tuple[str, ...]:
        """A list of flags without \\Recent, which no client can change and some send all the same."""
        return _settable(self.list_of(self.flag, may_be_empty=True))

    def flags_to_the_end(self) -> tuple[str, ...]:
        """The same, without parentheses. RFC 9051 §9, store-att-flags."""
        found = [self.flag()]
        while not self.is_at_end:
            self.space()
            found.append(self.flag())
        return _settable(found)

    def attribute(self) -> str:
        """`\\Sent` and the like: an attribute of a mailbox. RFC 6154 §6."""
        self.require(b"\\")
        return "\\" + self.atom().decode("ascii")

    # Strings

    def astring(self) -> bytes:
        match = _ASTRING.match(self._text, self._at)
        if match is None:
            return self.string()
        self._at = match.end()
        return match[0]

    def string(self) -> bytes:
        """Quoted or a literal."""
        match = _QUOTED.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
            content = match[1]
            return _ESCAPED.sub(rb"\1", content) if b"\\" in content else content
        match = _LITERAL.match(self._text, self._at)
        if match is None:
            raise Malformed("a string is missing or is not well formed")
        start = match.end()
        self._at = start + int(match[1])
        octets = self._text[start : self._at]
        if len(octets) != int(match[1]):
            raise Malformed("a literal is cut short")
        if b"\0" in octets:
            raise Malformed("NUL is not allowed in strings")
        return octets

    def nstring(self) -> bytes | None:
        return None if self.take_word(b"NIL") else self.string()

    def text(self) -> str:
        """An astring in UTF-8."""
        return utf8(self.astring())

    def mailbox(self) -> str:
        return names.decode(self.astring(), utf8=self._utf8_names)

    def list_mailbox(self) -> str:
        """With wildcards."""
        match = _LIST_MAILBOX.match(self._text, self._at)
        if match is None:
            pattern = self.string()
        else:
            self._at = match.end()
            pattern = match[0]
        return names.decode(pattern, utf8=self._utf8_names)

    # Dates

    def day(self) -> date:
        """RFC 9051 §9, date."""
        match = self.take_match(_DATE)
        if match is None:
            raise Malformed("a date is missing or is none")
        try:
            return date(int(match[4]), _MONTH_NUMBERS.get(match[3].upper(), 0), int(match[2]))
        except ValueError:
            raise Malformed("there is no such day") from None

    def moment(self) -> datetime:
        """RFC 9051 §9, date-time."""
        match = self.take_match(_DATE_TIME)
        if match is None:
            raise Malformed("a date and time is missing or is none")
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
        away = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
        try:
            moment = datetime(
                int(year),
                _MONTH_NUMBERS.get(month.upper(), 0),
                int(day),
                int(hour),
                int(minute),
                59 if second == b"60" else int(second),  # datetime knows no leap seconds
                tzinfo=timezone(-away if sign == b"-" else away),
            )
            moment.timestamp()
        except (ValueError, OverflowError):
            raise Malformed("there is no such time") from None
        return moment

    def _need(self, pattern: re.Pattern[bytes], otherwise: str) -> bytes:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise Malformed(otherwise)
        self._at = match.end()
        return match[0]


def _settable(flags: Iterable[str]) -> tuple[str, ...]:
    return tuple(flag for flag in flags if flag != "\\Recent")


def utf8(octets: bytes) -> str:
    """Raises Malformed."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Malformed("that is not UTF-8") from None
