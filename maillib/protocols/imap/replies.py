"""What the server says, as octets. RFC 9051 §7, RFC 3501 §7.

Texts and codes are ours, in ASCII and without line ends; what came from clients or messages (names, strings) is quoted
here. A `code` is what stands between the brackets.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from maillib.protocols.imap import names
from maillib.protocols.imap.arguments import MONTHS
from maillib.protocols.imap.commands import StatusItem
from maillib.protocols.imap.events import BadCommand
from maillib.protocols.imap.quoting import astring, string
from maillib.protocols.imap.sequences import of_numbers

_DAY_S = 24 * 3600

# Status responses


def tagged(tag: str, status: Literal["OK", "NO", "BAD"], text: str, *, code: str | None = None) -> bytes:
    """The end of a command."""
    return f"{tag} {status} [{code}] {text}\r\n".encode() if code else f"{tag} {status} {text}\r\n".encode()


def untagged(status: Literal["OK", "NO", "BAD", "BYE"], text: str, *, code: str | None = None) -> bytes:
    return f"* {status} [{code}] {text}\r\n".encode() if code else f"* {status} {text}\r\n".encode()


def refusal(bad: BadCommand) -> bytes:
    """What to answer to what is no command."""
    status: Literal["NO", "BAD"] = "NO" if bad.code else "BAD"
    if bad.tag is None:
        return untagged(status, bad.reason, code=bad.code)
    return tagged(bad.tag, status, bad.reason, code=bad.code)


def continuation(text: str) -> bytes:
    """RFC 9051 §7.6."""
    return f"+ {text}\r\n".encode()


def challenge(data: bytes) -> bytes:
    """What a SASL mechanism asks. RFC 9051 §6.2.2."""
    return b"+ " + base64.b64encode(data) + b"\r\n"


# Values


def mailbox(name: str, *, utf8: bool) -> bytes:
    """`utf8`: as `ImapServer.use_utf8_names` says."""
    encoded = names.encode(name, utf8=utf8)
    if encoded.isascii():
        return astring(encoded.decode("ascii"))
    return string(encoded, utf8=True)


@lru_cache(maxsize=512)  # mailboxes have a dozen combinations, and who makes others may make each 20 KB
def flags(found: frozenset[str]) -> bytes:
    """System flags first."""
    return _parenthesized(sorted(found, key=lambda flag: (not flag.startswith("\\"), flag)))


def internal_date(seconds: int) -> bytes:
    """Of the Unix epoch; in UTC. RFC 9051 §9, date-time."""
    days, rest = divmod(seconds, _DAY_S)
    return b'"%b %b:%02d +0000"' % (_day(days), _minute(rest // 60), rest % 60)


@lru_cache(maxsize=4096)
def _day(days: int) -> bytes:
    day = datetime.fromtimestamp(days * _DAY_S, UTC)
    return f"{day.day:2}-{MONTHS[day.month - 1]}-{day.year:04}".encode("ascii")


@lru_cache(maxsize=24 * 60)
def _minute(minutes: int) -> bytes:
    return b"%02d:%02d" % divmod(minutes, 60)


def sequence_set(numbers: Sequence[int]) -> str:
    """Of numbers that ascend; there is at least one."""
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}:{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    return str(of_numbers(numbers))


# Codes


def append_uid(uid_validity: int, uids: Sequence[int]) -> str:
    """RFC 9051 §7.1. RFC 4315 §3."""
    return f"APPENDUID {uid_validity} {sequence_set(uids)}"


def copy_uid(uid_validity: int, sources: Sequence[int], copies: Sequence[int]) -> str:
    """`sources` and `copies` belong together one by one, and both ascend. RFC 9051 §7.1, RFC 4315 §3."""
    return f"COPYUID {uid_validity} {sequence_set(sources)} {sequence_set(copies)}"


def modified(numbers: Sequence[int]) -> str:
    """What a conditional STORE has left alone. RFC 7162 §3.1.3."""
    return f"MODIFIED {sequence_set(numbers)}"


def permanent_flags(found: Iterable[str]) -> str:
    return f"PERMANENTFLAGS ({' '.join(found)})"


# The state of the server and of mailboxes


def capability(words: Iterable[str]) -> bytes:
    return f"* CAPABILITY {' '.join(words)}\r\n".encode()


def enabled(words: Iterable[str]) -> bytes:
    """RFC 5161 §3.2."""
    return f"{' '.join(('* ENABLED', *words))}\r\n".encode()


def server_id(fields: Mapping[str, str]) -> bytes:
    """RFC 2971 §3.2."""
    pairs = b" ".join(string(text.encode()) for pair in fields.items() for text in pair)
    return b"* ID (" + pairs + b")\r\n" if pairs else b"* ID NIL\r\n"


def namespace(separator: str) -> bytes:
    """One, without a prefix: everything is the user's own. RFC 2342 §5."""
    return b'* NAMESPACE (("" ' + string(separator.encode()) + b")) NIL NIL\r\n"


def list_line(
    name: str,
    attributes: Iterable[str],
    *,
    separator: str,
    utf8: bool,
    kind: Literal["LIST", "LSUB"] = "LIST",
    children_are_subscribed: bool = False,
) -> bytes:
    """RFC 9051 §7.3.1; CHILDINFO as §6.3.9 has it."""
    return b"* %b %b %b %b%b\r\n" % (
        kind.encode(),
        _parenthesized(attributes),
        string(separator.encode()),
        mailbox(name, utf8=utf8),
        b' ("CHILDINFO" ("SUBSCRIBED"))' if children_are_subscribed else b"",
    )


def status_line(name: str, values: Mapping[StatusItem, int], *, utf8: bool) -> bytes:
    """RFC 9051 §7.3.4."""
    pairs = (f"{item.value} {value}" for item, value in values.items())
    return b"* STATUS " + mailbox(name, utf8=utf8) + b" " + _parenthesized(pairs) + b"\r\n"


def quota(root: str, resources: Iterable[tuple[str, int, int]]) -> bytes:
    """Of each resource name, use and limit. RFC 9208 §4.3.1."""
    limits = _parenthesized(f"{name} {used} {limit}" for name, used, limit in resources)
    return b"* QUOTA " + astring(root) + b" " + limits + b"\r\n"


def quota_root(name: str, roots: Iterable[str], *, utf8: bool) -> bytes:
    """RFC 9208 §4.3.2."""
    return b"* QUOTAROOT " + b" ".join((mailbox(name, utf8=utf8), *map(astring, roots))) + b"\r\n"


# Messages


def counted(number: int, what: Literal["EXISTS", "RECENT", "EXPUNGE"]) -> bytes:
    return b"* %d %b\r\n" % (number, what.encode())


def fetched(number: int, items: Iterable[bytes]) -> bytes:
    """Each item is name and value. RFC 9051 §7.5.2."""
    return b"* %d FETCH (%b)\r\n" % (number, b" ".join(items))


def vanished(uids: Sequence[int], *, earlier: bool) -> bytes:
    """UIDs ascend; none: nothing to say. RFC 7162 §3.2.10."""
    if not uids:
        return b""
    return f"* VANISHED {'(EARLIER) ' if earlier else ''}{sequence_set(uids)}\r\n".encode()


def numbers_found(
    what: Literal["SEARCH", "SORT"], numbers: Iterable[int], *, highest_modseq: int | None = None
) -> bytes:
    """RFC 3501 §7.2.5, RFC 5256 §4; with a modseq as RFC 7162 §3.1.5 has it."""
    line = " ".join((f"* {what}", *map(str, numbers)))
    return (f"{line}\r\n" if highest_modseq is None else f"{line} (MODSEQ {highest_modseq})\r\n").encode()


def esearch(
    tag: str,
    *,
    uid: bool,
    least: int | None = None,
    most: int | None = None,
    count: int | None = None,
    found: Sequence[int] = (),
    highest_modseq: int | None = None,
) -> bytes:
    """What was asked for and is there; `found` is ALL. RFC 9051 §7.3.4, RFC 4731 §3.1."""
    words = [f'* ESEARCH (TAG "{tag}")']
    if uid:
        words.append("UID")
    if least is not None:
        words.append(f"MIN {least}")
    if most is not None:
        words.append(f"MAX {most}")
    if found:
        words.append(f"ALL {sequence_set(found)}")
    if count is not None:
        words.append(f"COUNT {count}")
    if highest_modseq is not None:
        words.append(f"MODSEQ {highest_modseq}")
    return " ".join(words).encode() + b"\r\n"


def _parenthesized(words: Iterable[str]) -> bytes:
    return f"({' '.join(words)})".encode()
