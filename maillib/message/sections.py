"""Sections of a message: their names in FETCH, and their octets. RFC 9051 §6.4.5.1, RFC 3516.

Octets are those of the message, never converted. Part numbers count as the RFC has it: of a multipart its parts, of a
message/rfc822 what its message has, of any other message its body as 1.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from maillib.errors import PermanentError
from maillib.message import transfer
from maillib.message.fields import FIELD_END
from maillib.message.mime import Part, header_end, structure

_EMPTY = (b"\r\n", b"\n")


class What(Enum):
    """What of a message or of one of its parts is meant."""

    ALL = ""
    HEADER = "HEADER"
    FIELDS = "HEADER.FIELDS"
    FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


@dataclass(frozen=True, slots=True)
class Section:
    part: tuple[int, ...] = ()
    """From the outermost multipart inwards, each from 1; empty: the message itself."""
    what: What = What.ALL
    fields: tuple[str, ...] = ()
    """Names of header fields as the client spelled them, for FIELDS and FIELDS_NOT."""


class Partial(NamedTuple):
    """`<offset.octets>`: what is asked for begins and ends inside the section or after its end."""

    offset: int
    octets: int


class UnknownEncoding(PermanentError):
    """A part is in a transfer encoding that nobody knows. NO [UNKNOWN-CTE], RFC 3516 §4.3."""


def section(octets: bytes, wanted: Section, partial: Partial | None = None, tree: Part | None = None) -> bytes | None:
    """None: there is no such part, or it has no such thing. `tree`: the structure, if it is known already."""
    where = span(octets, wanted, tree)
    if where is None:
        return None
    found = octets[where.start : where.stop]
    if wanted.what in (What.FIELDS, What.FIELDS_NOT):
        found = _fields(found, wanted)
    return found if partial is None else found[partial.offset : partial.offset + partial.octets]


def span(octets: bytes, wanted: Section, tree: Part | None = None) -> range | None:
    """Where that section is; of FIELDS and FIELDS_NOT, where the header is that has them. None: as `section`."""
    if not wanted.part:
        return _span_in_message(wanted.what, 0, header_end(octets), len(octets))
    part = find(structure(octets) if tree is None else tree, wanted.part)
    if part is None:
        return None
    if wanted.what is What.ALL:
        return range(part.body, part.end)
    if wanted.what is What.MIME:
        return range(part.start, part.body)
    if part.message is None:
        return None
    return _span_in_message(wanted.what, part.message.start, part.message.body, part.message.end)


def binary(
    octets: bytes, part: tuple[int, ...], partial: Partial | None = None, tree: Part | None = None
) -> bytes | None:
    """The body of a part with its transfer encoding undone; None: there is no such part.

    No `part` is the message as it is; a multipart is as it is, too. Raises UnknownEncoding.
    """
    if not part:
        found = octets
    else:
        here = find(structure(octets) if tree is None else tree, part)
        if here is None:
            return None
        found = octets[here.body : here.end]
        if not here.parts:
            decoded = transfer.decoded(found, here.content.transfer_encoding)
            if decoded is None:
                raise UnknownEncoding(f"transfer encoding {here.content.transfer_encoding!r}")
            found = decoded
    return found if partial is None else found[partial.offset : partial.offset + partial.octets]


def binary_size(octets: bytes, part: tuple[int, ...], tree: Part | None = None) -> int | None:
    """How many octets `binary` has; None: there is no such part. Raises UnknownEncoding."""
    found = binary(octets, part, tree=tree)
    return None if found is None else len(found)


def find(tree: Part, numbers: tuple[int, ...]) -> Part | None:
    """The part with these numbers of the message `tree`; None: there is none."""
    here = tree
    inside: Part | None = tree
    """Whose parts the next number counts: a multipart or a message."""
    for number in numbers:
        if inside is None:
            return None
        if inside.parts:
            if not 1 <= number <= len(inside.parts):
                return None
            here = inside.parts[number - 1]
        elif number == 1:
            here = inside
        else:
            return None
        inside = here if here.parts else here.message
    return here


def _span_in_message(what: What, start: int, body: int, end: int) -> range:
    match what:
        case What.HEADER | What.FIELDS | What.FIELDS_NOT:
            return range(start, body)
        case What.TEXT:
            return range(body, end)
        case _:
            return range(start, end)


def of_header(header: bytes, wanted: Section, partial: Partial | None = None) -> bytes:
    """HEADER, FIELDS or FIELDS_NOT of the message that has this header, which is complete."""
    found = header if wanted.what is What.HEADER else _fields(header, wanted)
    return found if partial is None else found[partial.offset : partial.offset + partial.octets]


def _fields(header: bytes, wanted: Section) -> bytes:
    """The fields that are wanted, each as it is, and the empty line behind the header, if it has one."""
    finder = _finder(wanted.fields)
    if wanted.what is What.FIELDS and header.endswith(b"\n"):
        end = b"\r\n" if header.endswith(b"\r\n") else b"\n"
        has_end = header.endswith(b"\n" + end) or header == end
        return b"\n".join([*finder.findall(b"\n" + header), end if has_end else b""])
    keep = wanted.what is What.FIELDS
    *lines, last = FIELD_END.split(header)
    fields = [line + b"\n" for line in lines]
    if last:  # the header ends in the middle of a line
        fields.append(last.rstrip(b"\r") + b"\r\n")
    return b"".join([field for field in fields if field in _EMPTY or (finder.match(b"\n" + field) is not None) is keep])


@lru_cache(maxsize=64)
def _finder(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Finds the fields that are called so, each behind a line end and without its own: so it is quickest, and clients
    ask the same of thousands of headers.
    """
    some = b"|".join([re.escape(name.encode("utf-8", "replace")) for name in names])
    return re.compile(rb"\n((?:" + some + rb")[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+)", re.I)
