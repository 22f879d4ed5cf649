"""APPEND and its messages: what is said of each before its octets come. RFC 9051 §6.3.12, RFC 3502, RFC 6855 §4."""

import re
from dataclasses import dataclass

from maillib.protocols.imap.arguments import Arguments
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.events import AppendMessage
from maillib.protocols.imap.reader import Announced

_HEAD = re.compile(rb"([^ ]++) ++APPEND ++", re.IGNORECASE)
_MAILBOX_FOLLOWS = re.compile(rb"\{[0-9]+\+?\}\Z")


@dataclass(frozen=True, slots=True)
class Beginning:
    tag: str
    mailbox: str
    message: AppendMessage


def is_append(line: bytes) -> bool:
    """The command that begins with this line."""
    return _HEAD.match(line) is not None


def begins_message(text: bytes) -> bool:
    """The literal that `text`, an APPEND so far, announces is a message, not the mailbox's name."""
    head = _HEAD.match(text)
    return head is not None and not _MAILBOX_FOLLOWS.match(text, head.end())


def beginning(text: bytes, literal: Announced, *, utf8_names: bool) -> Beginning:
    """`text`: the whole command up to the announcement of its first message. Raises Malformed."""
    head = _HEAD.match(text)
    if head is None:
        raise Malformed("that is no APPEND")
    arguments = Arguments(text, head.end(), utf8_names=utf8_names)
    mailbox = arguments.mailbox()
    return Beginning(head[1].decode("latin-1"), mailbox, _message(arguments, literal))


def following(line: bytes, before: AppendMessage, literal: Announced | None) -> AppendMessage | None:
    """What is said of the message after `before`; None: there is none more. Raises Malformed."""
    arguments = Arguments(line)
    if before.utf8:
        arguments.require(b")")
    if literal is None:
        arguments.end()
        return None
    return _message(arguments, literal)


def _message(arguments: Arguments, literal: Announced) -> AppendMessage:
    arguments.space()
    flags: tuple[str, ...] = ()
    date = None
    if arguments.next_is(b"("):
        flags = arguments.flags()
        arguments.space()
    if arguments.next_is(b'"'):
        date = arguments.moment()
        arguments.space()
    utf8 = arguments.take_word(b"UTF8")
    if utf8:
        arguments.space()
        arguments.require(b"(")
    arguments.announcement(binary=literal.binary)
    if utf8 and not literal.binary:
        raise Malformed("UTF8 takes a literal8")
    return AppendMessage(flags, date, literal.octets, utf8=utf8, binary=literal.binary)
