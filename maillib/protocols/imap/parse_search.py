"""SEARCH, SORT and THREAD: keys are read into a tree, by a stack of our own. RFC 9051 §6.4.4, RFC 5256.

Strings are decoded here: nobody after this needs to know the charset. Without CHARSET they are UTF-8, of which the
US-ASCII that RFC 3501 has in mind is a part.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TypeVar

from maillib.message.charsets import codec
from maillib.protocols.imap import search_keys as keys
from maillib.protocols.imap.arguments import Arguments, utf8
from maillib.protocols.imap.commands import Search, SearchReturn, Sort, Thread
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.search_keys import DateOf, Key, When

MAX_DEPTH = 50
"""Of parentheses, NOTs and ORs in one another."""

_Word = TypeVar("_Word", bound=Enum)


def search(arguments: Arguments, *, uid: bool = False) -> Search:
    returns = None
    if arguments.take_word(b"RETURN"):
        arguments.space()
        options = arguments.list_of(lambda: _known(SearchReturn, arguments.word()), may_be_empty=True)
        returns = frozenset(options) or frozenset({SearchReturn.ALL})
        arguments.space()
    charset = None
    if arguments.take_word(b"CHARSET"):
        arguments.space()
        charset = utf8(arguments.astring())
        arguments.space()
    return Search(_Keys(arguments, charset).read(), uid=uid, returns=returns)


def sort(arguments: Arguments, *, uid: bool = False) -> Sort:
    by = arguments.list_of(lambda: _sort_by(arguments))
    arguments.space()
    charset = utf8(arguments.astring())
    arguments.space()
    return Sort(tuple(by), _Keys(arguments, charset).read(), uid=uid)


def _sort_by(arguments: Arguments) -> keys.SortBy:
    word = arguments.word()
    reverse = word == "REVERSE"
    if reverse:
        arguments.space()
        word = arguments.word()
    return keys.SortBy(_known(keys.SortKey, word), reverse)


def thread(arguments: Arguments, *, uid: bool = False) -> Thread:
    algorithm = _known(keys.ThreadAlgorithm, arguments.word())
    arguments.space()
    charset = utf8(arguments.astring())
    arguments.space()
    return Thread(algorithm, _Keys(arguments, charset).read(), uid=uid)


def _known(words: type[_Word], word: str) -> _Word:
    try:
        return words(word)
    except ValueError:
        raise Malformed("unknown option") from None


class _Makes(Enum):
    """What an open level becomes when it has all its keys."""

    AND = 0
    NOT = 1
    OR = 2


@dataclass(slots=True)
class _Level:
    makes: _Makes
    keys: list[Key] = field(default_factory=list)


class _Keys:
    """Reads keys to the end of the arguments."""

    def __init__(self, arguments: Arguments, charset: str | None) -> None:
        self._arguments = arguments
        found = codecs.lookup("utf-8") if charset is None else codec(charset)
        if found is None:
            raise Malformed("that charset is not known here", code="BADCHARSET (US-ASCII UTF-8)")
        self._decode = found.decode
        self._levels = [_Level(_Makes.AND)]

    def read(self) -> Key:
        arguments = self._arguments
        while True:
            if arguments.take(b"("):
                self._open(_Makes.AND)
                arguments.another()
                continue
            if arguments.next_is_set:
                self._close(keys.Numbers(arguments.messages(), uid=False))
            elif not self._word(arguments.word()):
                arguments.space()
                continue
            apart = arguments.another()
            while arguments.take(b")"):
                self._close_parenthesis()
                apart = arguments.another()
            if arguments.is_at_end:
                break
            if not apart:
                raise Malformed("search keys stand apart")
        if len(self._levels) > 1:
            raise Malformed("a search key is not complete")
        return _all_of(self._levels[0].keys)

    def _open(self, makes: _Makes) -> None:
        if len(self._levels) > MAX_DEPTH:
            raise Malformed("search keys are nested too deeply")
        self._levels.append(_Level(makes))

    def _close_parenthesis(self) -> None:
        level = self._levels.pop()
        if level.makes is not _Makes.AND or not self._levels:
            raise Malformed("parentheses do not match")
        self._close(_all_of(level.keys))

    def _close(self, key: Key) -> None:
        """`key` is complete, and maybe what it is an argument of."""
        while True:
            level = self._levels[-1]
            level.keys.append(key)
            if level.makes is _Makes.NOT:
                key = keys.Not(key)
            elif level.makes is _Makes.OR and len(level.keys) == 2:
                key = keys.Or(*level.keys)
            else:
                return
            self._levels.pop()

    def _word(self, word: str) -> bool:
        """One key, or the beginning of one that has others as arguments: False."""
        if word in ("NOT", "OR"):
            self._open(_Makes[word])
            return False
        alone = _ALONE.get(word)
        if alone is not None:
            self._close(alone)
            return True
        reader = _WITH_ARGUMENT.get(word)
        if reader is None:
            raise Malformed("unknown search key")
        self._arguments.space()
        self._close(reader(self))
        return True

    # Keys with arguments

    def text(self) -> str:
        try:
            return self._decode(self._arguments.astring(), "strict")[0]
        except UnicodeError:
            raise Malformed("a string is not of that charset") from None

    def header(self) -> Key:
        name = self._arguments.text()
        self._arguments.space()
        return keys.Header(name, self.text())

    def field(self, name: str) -> Key:
        return keys.Header(name, self.text())

    def body(self) -> Key:
        return keys.Body(self.text())

    def anywhere(self) -> Key:
        return keys.Text(self.text())

    def keyword(self) -> Key:
        return keys.Flag(self._arguments.atom().decode("ascii"))

    def unkeyword(self) -> Key:
        return keys.Not(self.keyword())

    def dated(self, what: DateOf, when: When) -> Key:
        return keys.Dated(what, when, self._arguments.day())

    def larger(self) -> Key:
        return keys.Larger(self._arguments.number64())

    def smaller(self) -> Key:
        return keys.Smaller(self._arguments.number64())

    def older(self) -> Key:
        return keys.Older(self._arguments.positive())

    def younger(self) -> Key:
        return keys.Younger(self._arguments.positive())

    def uid(self) -> Key:
        return keys.Numbers(self._arguments.messages(), uid=True)

    def modseq(self) -> Key:
        if self._arguments.next_is(b'"'):
            self._arguments.string()
            self._arguments.space()
            if self._arguments.word() not in ("ALL", "PRIV", "SHARED"):
                raise Malformed("MODSEQ takes all, priv or shared")
            self._arguments.space()
        return keys.ModSeqFrom(self._arguments.number64())


def _all_of(found: list[Key]) -> Key:
    match found:
        case []:
            raise Malformed("a search key is missing")
        case [key]:
            return key
    return keys.And(tuple(found))


_SEEN = keys.Flag("\\Seen")

_ALONE: dict[str, Key] = {
    "ALL": keys.All(),
    "ANSWERED": keys.Flag("\\Answered"),
    "DELETED": keys.Flag("\\Deleted"),
    "DRAFT": keys.Flag("\\Draft"),
    "FLAGGED": keys.Flag("\\Flagged"),
    "NEW": keys.And((keys.Recent(), keys.Not(_SEEN))),
    "OLD": keys.Not(keys.Recent()),
    "RECENT": keys.Recent(),
    "SEEN": _SEEN,
    "UNANSWERED": keys.Not(keys.Flag("\\Answered")),
    "UNDELETED": keys.Not(keys.Flag("\\Deleted")),
    "UNDRAFT": keys.Not(keys.Flag("\\Draft")),
    "UNFLAGGED": keys.Not(keys.Flag("\\Flagged")),
    "UNSEEN": keys.Not(_SEEN),
}


def _with_argument() -> dict[str, Callable[[_Keys], Key]]:
    found: dict[str, Callable[[_Keys], Key]] = {
        "BODY": _Keys.body,
        "HEADER": _Keys.header,
        "KEYWORD": _Keys.keyword,
        "LARGER": _Keys.larger,
        "MODSEQ": _Keys.modseq,
        "OLDER": _Keys.older,
        "SMALLER": _Keys.smaller,
        "TEXT": _Keys.anywhere,
        "UID": _Keys.uid,
        "UNKEYWORD": _Keys.unkeyword,
        "YOUNGER": _Keys.younger,
    }
    for name in ("BCC", "CC", "FROM", "SUBJECT", "TO"):
        found[name] = partial(_Keys.field, name=name)
    for what in DateOf:
        for when in When:
            found[what.value + when.value] = partial(_Keys.dated, what=what, when=when)
    return found


_WITH_ARGUMENT = _with_argument()
