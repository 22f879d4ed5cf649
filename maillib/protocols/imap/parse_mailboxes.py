"""Commands about mailboxes and quotas. RFC 9051 §6.3, RFC 3501 §6.3, RFC 5258, RFC 7162 §3.2.5, RFC 9208 §4.1."""

from enum import Enum
from typing import TypeVar

from maillib.protocols.imap.arguments import Arguments
from maillib.protocols.imap.commands import (
    Create,
    Delete,
    GetQuota,
    GetQuotaRoot,
    List,
    ListReturn,
    Lsub,
    Qresync,
    Rename,
    Select,
    Selection,
    SetQuota,
    Status,
    StatusItem,
    Subscribe,
    Unsubscribe,
)
from maillib.protocols.imap.errors import Malformed

_Word = TypeVar("_Word", bound=Enum)


def select(arguments: Arguments, *, read_only: bool = False) -> Select:
    mailbox = arguments.mailbox()
    condstore = False
    qresync = None
    if not arguments.is_at_end:
        arguments.space()
        for parameter in arguments.list_of(lambda: _select_parameter(arguments)):
            if parameter is None:
                condstore = True
            else:
                qresync = parameter
    return Select(mailbox, read_only=read_only, condstore=condstore, qresync=qresync)


def examine(arguments: Arguments) -> Select:
    return select(arguments, read_only=True)


def _select_parameter(arguments: Arguments) -> Qresync | None:
    """None: it is CONDSTORE."""
    if arguments.take_word(b"CONDSTORE"):
        return None
    if not arguments.take_word(b"QRESYNC"):
        raise Malformed("unknown parameter")
    arguments.space()
    arguments.require(b"(")
    uid_validity = arguments.positive()
    arguments.space()
    modseq = arguments.number64()
    known = numbers = uids = None
    if arguments.another() and not arguments.next_is(b"("):
        known = arguments.fixed_set()
        arguments.another()
    if arguments.take(b"("):
        numbers = arguments.fixed_set()
        arguments.space()
        uids = arguments.fixed_set()
        arguments.require(b")")
        if not numbers.ascends or not uids.ascends or numbers.count != uids.count:
            raise Malformed("message numbers and UIDs to compare have to ascend and to be as many")
    arguments.require(b")")
    return Qresync(uid_validity, modseq, known, numbers, uids)


def create(arguments: Arguments) -> Create:
    mailbox = arguments.mailbox()
    if arguments.is_at_end:
        return Create(mailbox)
    arguments.space()
    arguments.require(b"(")
    if not arguments.take_word(b"USE"):
        raise Malformed("unknown parameter of CREATE")
    arguments.space()
    uses = arguments.list_of(arguments.attribute, may_be_empty=True)
    arguments.require(b")")
    return Create(mailbox, tuple(uses))


def delete(arguments: Arguments) -> Delete:
    return Delete(arguments.mailbox())


def rename(arguments: Arguments) -> Rename:
    mailbox = arguments.mailbox()
    arguments.space()
    return Rename(mailbox, arguments.mailbox())


def subscribe(arguments: Arguments) -> Subscribe:
    return Subscribe(arguments.mailbox())


def unsubscribe(arguments: Arguments) -> Unsubscribe:
    return Unsubscribe(arguments.mailbox())


def status(arguments: Arguments) -> Status:
    mailbox = arguments.mailbox()
    arguments.space()
    return Status(mailbox, _status_items(arguments))


def _status_items(arguments: Arguments) -> tuple[StatusItem, ...]:
    items = arguments.list_of(lambda: _known(StatusItem, arguments))
    return tuple(dict.fromkeys(items))


def list_(arguments: Arguments) -> List:
    extended = arguments.next_is(b"(")
    selection: frozenset[Selection] = frozenset()
    if extended:
        options = arguments.list_of(lambda: _known(Selection, arguments), may_be_empty=True)
        selection = frozenset(options)
        arguments.space()
        if Selection.RECURSIVEMATCH in selection and not selection - {Selection.RECURSIVEMATCH, Selection.REMOTE}:
            raise Malformed("RECURSIVEMATCH is for use with another option")  # RFC 5258 §3.5
    reference = arguments.mailbox()
    arguments.space()
    if arguments.next_is(b"("):
        extended = True
        patterns = arguments.list_of(arguments.list_mailbox)
    else:
        patterns = [arguments.list_mailbox()]
    returns: list[ListReturn] = []
    items: tuple[StatusItem, ...] = ()
    if not arguments.is_at_end:
        extended = True
        arguments.space()
        if not arguments.take_word(b"RETURN"):
            raise Malformed("RETURN was expected")
        arguments.space()
        for option in arguments.list_of(lambda: _list_return(arguments), may_be_empty=True):
            if isinstance(option, ListReturn):
                returns.append(option)
            else:
                items = option
    return List(reference, tuple(patterns), selection, frozenset(returns), items, extended=extended)


def _list_return(arguments: Arguments) -> ListReturn | tuple[StatusItem, ...]:
    if not arguments.take_word(b"STATUS"):
        return _known(ListReturn, arguments)
    arguments.space()
    return _status_items(arguments)


def lsub(arguments: Arguments) -> Lsub:
    reference = arguments.mailbox()
    arguments.space()
    return Lsub(reference, arguments.list_mailbox())


def get_quota(arguments: Arguments) -> GetQuota:
    return GetQuota(arguments.text())


def get_quota_root(arguments: Arguments) -> GetQuotaRoot:
    return GetQuotaRoot(arguments.mailbox())


def set_quota(arguments: Arguments) -> SetQuota:
    root = arguments.text()
    arguments.space()
    return SetQuota(root, tuple(arguments.list_of(lambda: _limit(arguments), may_be_empty=True)))


def _limit(arguments: Arguments) -> tuple[str, int]:
    resource = arguments.word()
    arguments.space()
    return resource, arguments.number64()


def _known(words: type[_Word], arguments: Arguments) -> _Word:
    try:
        return words(arguments.word())
    except ValueError:
        raise Malformed("unknown item or option") from None
