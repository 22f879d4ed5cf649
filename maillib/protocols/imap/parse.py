"""One whole command, literals in place, read. RFC 9051 §6.

Nothing of what was sent is quoted in an error: it could be a password.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NoReturn

from maillib.protocols.imap import parse_fetch, parse_mailboxes, parse_search
from maillib.protocols.imap.arguments import Arguments, utf8
from maillib.protocols.imap.commands import (
    Authenticate,
    Command,
    Compress,
    Copy,
    Enable,
    Expunge,
    Id,
    Login,
    Move,
    Plain,
    Store,
)
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.events import BadCommand, Tagged
from maillib.protocols.sasl import Malformed as NotBase64
from maillib.protocols.sasl import decode_base64

_HEAD = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,255})(?= |\Z)(?: +([A-Za-z0-9]+)(?= |\Z))?")
"""Tag and name: a tag is an astring without `+`; no client has a long one."""

_UID = re.compile(rb" +([A-Za-z]+)(?= |\Z)")


def command(text: bytes, *, utf8_names: bool) -> Tagged | BadCommand:
    """`text` is without the last line end."""
    head = _HEAD.match(text)
    if head is None:
        return BadCommand(None, "unknown", "a tag is missing")
    tag, name = head.groups(b"")
    arguments = Arguments(text, head.end(), utf8_names=utf8_names)
    try:
        return Tagged(tag.decode("ascii"), _command(name.upper(), arguments))
    except Malformed as error:
        return bad(text, error)


def bad(text: bytes, error: Malformed) -> BadCommand:
    """What to say of a command of which `text` is the beginning."""
    head = _HEAD.match(text)
    if head is None:
        return BadCommand(None, "unknown", error.reason, error.code)
    name = (head[2] or b"").upper()
    if name == b"UID":
        following = _UID.match(text, head.end())
        name = b"UID " + following[1].upper() if following else name
    keyword = name.decode("ascii") if name in _KNOWN else "unknown"
    return BadCommand(head[1].decode("ascii"), keyword, error.reason, error.code)


def _command(name: bytes, arguments: Arguments) -> Command:
    if name == b"UID":
        arguments.space()
        parser = _BY_UID.get(arguments.atom().upper())
    else:
        alone = _ALONE.get(name)
        if alone is not None:
            arguments.end()
            return alone
        parser = _PARSERS.get(name)
    if parser is None:
        raise Malformed("unknown command")
    arguments.space()
    found = parser(arguments)
    arguments.end()
    return found


# Log-in and state of the connection


def _login(arguments: Arguments) -> Login:
    name = arguments.text()
    arguments.space()
    return Login(name, arguments.text())


def _authenticate(arguments: Arguments) -> Authenticate:
    mechanism = arguments.word()
    if arguments.is_at_end:
        return Authenticate(mechanism, None)
    arguments.space()
    initial = arguments.rest()
    try:
        return Authenticate(mechanism, b"" if initial == b"=" else decode_base64(initial))
    except NotBase64:
        raise Malformed("that is not base64") from None


def _enable(arguments: Arguments) -> Enable:
    names = [arguments.word()]
    while not arguments.is_at_end:
        arguments.space()
        names.append(arguments.word())
    return Enable(tuple(names))


def _id(arguments: Arguments) -> Id:
    if arguments.take_word(b"NIL"):
        return Id(())
    texts = arguments.list_of(arguments.nstring, may_be_empty=True)
    if len(texts) % 2 or None in texts[::2]:
        raise Malformed("ID takes NIL or pairs of strings")
    decoded = [None if text is None else utf8(text) for text in texts]
    return Id(tuple((name or "", value) for name, value in zip(decoded[::2], decoded[1::2], strict=True)))


def _compress(arguments: Arguments) -> Compress:
    return Compress(arguments.word())


# Messages


def _append(_arguments: Arguments) -> NoReturn:
    """With messages, and after log-in, an APPEND does not come here."""
    raise Malformed("APPEND takes a mailbox and messages as literals")


def _store(arguments: Arguments, *, uid: bool = False) -> Store:
    messages = arguments.messages()
    arguments.space()
    unchanged_since = None
    if arguments.take(b"("):
        if not arguments.take_word(b"UNCHANGEDSINCE"):
            raise Malformed("unknown modifier of STORE")
        arguments.space()
        unchanged_since = arguments.number64()
        arguments.require(b")")
        arguments.space()
    found = _STORED.get(arguments.word())
    if found is None:
        raise Malformed("STORE takes FLAGS, +FLAGS or -FLAGS, with or without .SILENT")
    how, silent = found
    arguments.space()
    flags = arguments.flags() if arguments.next_is(b"(") else arguments.flags_to_the_end()
    return Store(messages, how, flags, silent=silent, uid=uid, unchanged_since=unchanged_since)


def _copy(arguments: Arguments, *, uid: bool = False) -> Copy:
    messages = arguments.messages()
    arguments.space()
    return Copy(messages, arguments.mailbox(), uid=uid)


def _move(arguments: Arguments, *, uid: bool = False) -> Move:
    messages = arguments.messages()
    arguments.space()
    return Move(messages, arguments.mailbox(), uid=uid)


def _uid_expunge(arguments: Arguments) -> Expunge:
    return Expunge(arguments.messages())


_STORED: dict[str, tuple[Literal["+", "-", "="], bool]] = {
    "FLAGS": ("=", False),
    "FLAGS.SILENT": ("=", True),
    "+FLAGS": ("+", False),
    "+FLAGS.SILENT": ("+", True),
    "-FLAGS": ("-", False),
    "-FLAGS.SILENT": ("-", True),
}

_ALONE: Mapping[bytes, Command] = {**{plain.value.encode(): plain for plain in Plain}, b"EXPUNGE": Expunge()}

_PARSERS: dict[bytes, Callable[[Arguments], Command]] = {
    b"APPEND": _append,
    b"AUTHENTICATE": _authenticate,
    b"COMPRESS": _compress,
    b"COPY": _copy,
    b"CREATE": parse_mailboxes.create,
    b"DELETE": parse_mailboxes.delete,
    b"ENABLE": _enable,
    b"EXAMINE": parse_mailboxes.examine,
    b"FETCH": parse_fetch.fetch,
    b"GETQUOTA": parse_mailboxes.get_quota,
    b"GETQUOTAROOT": parse_mailboxes.get_quota_root,
    b"ID": _id,
    b"LIST": parse_mailboxes.list_,
    b"LOGIN": _login,
    b"LSUB": parse_mailboxes.lsub,
    b"MOVE": _move,
    b"RENAME": parse_mailboxes.rename,
    b"SEARCH": parse_search.search,
    b"SELECT": parse_mailboxes.select,
    b"SETQUOTA": parse_mailboxes.set_quota,
    b"SORT": parse_search.sort,
    b"STATUS": parse_mailboxes.status,
    b"STORE": _store,
    b"SUBSCRIBE": parse_mailboxes.subscribe,
    b"THREAD": parse_search.thread,
    b"UNSUBSCRIBE": parse_mailboxes.unsubscribe,
}

_BY_UID: dict[bytes, Callable[[Arguments], Command]] = {
    b"COPY": partial(_copy, uid=True),
    b"EXPUNGE": _uid_expunge,
    b"FETCH": partial(parse_fetch.fetch, uid=True),
    b"MOVE": partial(_move, uid=True),
    b"SEARCH": partial(parse_search.search, uid=True),
    b"SORT": partial(parse_search.sort, uid=True),
    b"STORE": partial(_store, uid=True),
    b"THREAD": partial(parse_search.thread, uid=True),
}

_KNOWN = _ALONE.keys() | _PARSERS.keys() | {b"UID " + name for name in _BY_UID}
