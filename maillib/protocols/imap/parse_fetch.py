"""FETCH: what is asked for. RFC 9051 §6.4.5, RFC 3501 §6.4.5; the extensions as `fetch_items` has them.

Clients ask for the same items again and again, so what they wrote is kept beside what it means.
"""

import re
from functools import lru_cache

from maillib.message.sections import Partial, Section, What
from maillib.protocols.imap.arguments import Arguments
from maillib.protocols.imap.commands import Fetch
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.fetch_items import Binary, BinarySize, BodySection, FetchItem, Item, Preview
from maillib.protocols.imap.quoting import astring

_MAX_REMEMBERED = 256
"""Octets of items: no client that asks many times writes more."""

_ITEMS = {item.value.decode(): item for item in Item}

_OLD = {
    "RFC822": BodySection(Section(), None, peek=False, name=b"RFC822"),
    "RFC822.HEADER": BodySection(Section(what=What.HEADER), None, peek=True, name=b"RFC822.HEADER"),
    "RFC822.TEXT": BodySection(Section(what=What.TEXT), None, peek=False, name=b"RFC822.TEXT"),
}

_FAST = (Item.FLAGS, Item.INTERNALDATE, Item.SIZE)
_MACROS: dict[str, tuple[FetchItem, ...]] = {
    "FAST": _FAST,
    "ALL": (*_FAST, Item.ENVELOPE),
    "FULL": (*_FAST, Item.ENVELOPE, Item.BODY),
}

_LAZY = re.compile(rb" +\( *LAZY *\)", re.IGNORECASE)
"""RFC 8970 §3.2. Another list after PREVIEW modifies the whole FETCH."""

_TEXTS = {what.value: what for what in What if what is not What.ALL}


def fetch(arguments: Arguments, *, uid: bool = False) -> Fetch:
    messages = arguments.messages()
    arguments.space()
    wanted = arguments.rest()
    items, changed_since, vanished = _remembered(wanted) if len(wanted) <= _MAX_REMEMBERED else _wanted(wanted)
    if vanished and not (uid and changed_since is not None):
        raise Malformed("VANISHED is for UID FETCH with CHANGEDSINCE")
    return Fetch(messages, items, uid=uid, changed_since=changed_since, vanished=vanished)


def _wanted(text: bytes) -> tuple[tuple[FetchItem, ...], int | None, bool]:
    """Items, CHANGEDSINCE, VANISHED."""
    arguments = Arguments(text)
    if arguments.next_is(b"("):
        items = tuple(dict.fromkeys(arguments.list_of(lambda: _item(arguments, arguments.dotted()))))
    else:
        word = arguments.dotted()
        items = _MACROS.get(word) or (_item(arguments, word),)
    changed_since = None
    vanished = False
    if not arguments.is_at_end:
        arguments.space()
        for modifier in arguments.list_of(lambda: _modifier(arguments)):
            if modifier is None:
                vanished = True
            else:
                changed_since = modifier
        arguments.end()
    return items, changed_since, vanished


_remembered = lru_cache(maxsize=256)(_wanted)


def _modifier(arguments: Arguments) -> int | None:
    """CHANGEDSINCE's modseq; None: it is VANISHED."""
    if arguments.take_word(b"VANISHED"):
        return None
    if not arguments.take_word(b"CHANGEDSINCE"):
        raise Malformed("unknown modifier of FETCH")
    arguments.space()
    return arguments.number64()


def _item(arguments: Arguments, word: str) -> FetchItem:
    if arguments.take(b"["):
        return _bracketed(arguments, word)
    found = _ITEMS.get(word) or _OLD.get(word)
    if found is not None:
        return found
    if word == "PREVIEW":
        return Preview(lazy=arguments.take_match(_LAZY) is not None)
    raise Malformed("unknown item of FETCH")


def _bracketed(arguments: Arguments, word: str) -> FetchItem:
    match word:
        case "BODY" | "BODY.PEEK":
            section = _section(arguments)
            partial = _partial(arguments)
            name = b"BODY[" + section_name(section) + b"]" + _origin(partial)
            return BodySection(section, partial, peek=word == "BODY.PEEK", name=name)
        case "BINARY" | "BINARY.PEEK":
            part = _part_alone(arguments)
            partial = _partial(arguments)
            name = b"BINARY[" + section_name(Section(part)) + b"]" + _origin(partial)
            return Binary(part, partial, peek=word == "BINARY.PEEK", name=name)
        case "BINARY.SIZE":
            part = _part_alone(arguments)
            return BinarySize(part, b"BINARY.SIZE[" + section_name(Section(part)) + b"]")
        case _:
            raise Malformed("unknown item of FETCH")


def section_name(section: Section) -> bytes:
    """What stands between the brackets."""
    words = [str(number) for number in section.part]
    if section.what is not What.ALL:
        words.append(section.what.value)
    name = ".".join(words).encode("ascii")
    if section.fields:
        name += b" (" + b" ".join(map(astring, section.fields)) + b")"
    return name


def _section(arguments: Arguments) -> Section:
    part = _part(arguments)
    if arguments.take(b"]"):
        return Section(part)
    what = _TEXTS.get(arguments.dotted())
    if what is None or (what is What.MIME and not part):
        raise Malformed("unknown section")
    fields: tuple[str, ...] = ()
    if what in (What.FIELDS, What.FIELDS_NOT):
        arguments.space()
        fields = tuple(arguments.list_of(lambda: _field_name(arguments)))
    arguments.require(b"]")
    return Section(part, what, fields)


def _field_name(arguments: Arguments) -> str:
    name = arguments.text()
    if not name or not name.isascii() or not name.isprintable():
        raise Malformed("that is no name of a header field")
    return name


def _part(arguments: Arguments) -> tuple[int, ...]:
    """`1.2.3`, or `1.2.` when a word follows; may be empty."""
    numbers = []
    while arguments.next_is_digit:
        numbers.append(arguments.positive())
        if not arguments.take(b"."):
            if not arguments.next_is(b"]"):
                raise Malformed("unknown section")
            break
    else:
        if numbers and arguments.next_is(b"]"):
            raise Malformed("unknown section")
    return tuple(numbers)


def _part_alone(arguments: Arguments) -> tuple[int, ...]:
    part = _part(arguments)
    arguments.require(b"]")
    return part


def _partial(arguments: Arguments) -> Partial | None:
    if not arguments.take(b"<"):
        return None
    offset = arguments.number64()
    arguments.require(b".")
    octets = arguments.number64()
    if octets == 0:
        raise Malformed("a partial of no octets")
    arguments.require(b">")
    return Partial(offset, octets)


def _origin(partial: Partial | None) -> bytes:
    return b"" if partial is None else b"<%d>" % partial.offset
