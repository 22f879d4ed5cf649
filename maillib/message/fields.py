"""Header fields of a message that came from somebody else: where the header ends and what is in it. RFC 5322 §2.2.

Read leniently, so that a field counts that any reader would see: a space before the colon is taken, and lines that are
no field are passed over. No field is rewritten, ever; `without` leaves some out.
"""

import re
from collections.abc import Collection, Container, Iterator

from maillib.address import Address
from maillib.errors import AddressError

MAX_MAILBOXES_OCTETS = 16 * 1024
"""Longer than any From that a person wrote; the parser looks at each character."""

MAX_HEADER_OCTETS = 1024 * 1024
"""Of one header, `of_names` looks at no more ..."""
MAX_FIELDS = 20_000
"""... and at no more fields."""

FIELD_END = re.compile(rb"\n(?![ \t])")
"""The last octet of a field, which may go over several lines; a CR before it belongs to the field."""

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:")
_LINE_END = re.compile(rb"\r?\n|\r")


def header_length(octets: bytes | bytearray, start: int = 0) -> int | None:
    """How many octets the header has, without the empty line behind it; None: its end has not come.

    `start`: no empty line was found in so many octets before.
    """
    if octets.startswith(b"\r\n"):
        return 0
    end = octets.find(b"\r\n\r\n", max(0, start - 3))
    return None if end < 0 else end + 2


def fields(header: bytes) -> Iterator[tuple[str, bytes]]:
    """Name in lower case and value with its folding, of every field in order. A line ends at LF, with CR or without."""
    for field in FIELD_END.split(header):
        if match := _FIELD.match(field):
            yield match[1].decode("ascii").lower(), field[match.end() :].removesuffix(b"\r")


def of_names(header: bytes, names: Container[bytes]) -> list[tuple[bytes, bytes]]:
    """Name and unfolded value of the fields called one of `names`, all in lower case, in order.

    Among the first `MAX_FIELDS` fields within `MAX_HEADER_OCTETS`: this may be asked about anybody's octets.
    """
    found: list[tuple[bytes, bytes]] = []
    for field in FIELD_END.split(header[:MAX_HEADER_OCTETS], MAX_FIELDS)[:MAX_FIELDS]:
        name, _, value = field.partition(b":")
        name = name.lower().rstrip()
        if name in names:
            found.append((name, unfolded(value)))
    return found


def unfolded(value: bytes) -> bytes:
    """`value` without its line ends and the space around it; a CR alone becomes a space. RFC 5322 §2.2.3."""
    value = value.strip(b" \t\r\n")
    if b"\n" in value or b"\r" in value:
        return _LINE_END.sub(lambda end: b" " if end[0] == b"\r" else b"", value)
    return value


def without(header: bytes, names: Collection[str]) -> bytes:
    """`header` without the fields called one of `names`, given in lower case; every other line as it was."""
    kept: list[bytes] = []
    dropped = False
    for line in re.findall(rb"[^\n]*\n|[^\n]+", header):
        if not line.startswith((b" ", b"\t")):
            match = _FIELD.match(line)
            dropped = match is not None and match[1].decode("ascii").lower() in names
        if not dropped:
            kept.append(line)
    return b"".join(kept)


def are_more(header: bytes, name: str, most: int) -> bool:
    """Whether more than `most` fields are called `name`, given in lower case. Looks closer only where it has to."""
    return header.lower().count(name.encode()) > most and sum(field == name for field, _ in fields(header)) > most


def mailboxes(value: bytes) -> list[Address]:
    """The addresses in the value of From. RFC 5322 §3.4, without groups and obsolete forms.

    Raises AddressError for what not every reader would understand alike.
    """
    if len(value) > MAX_MAILBOXES_OCTETS:
        raise AddressError(f"{len(value)} octets of addresses")
    text = value.replace(b"\r\n", b"").decode("utf-8", "replace")
    return [_mailbox(part) for part in _split_list(text)]


def _mailbox(text: str) -> Address:
    bracket = _outside_quotes(text).find("<")
    if bracket < 0:
        return Address.parse(text.strip())
    address, closing, rest = text[bracket + 1 :].rpartition(">")
    if not closing or rest.strip():
        raise AddressError(f"{text!r}: nothing may follow the address in brackets")
    return Address.parse(address.strip())


def _split_list(text: str) -> list[str]:
    """Cut at the commas that are neither quoted nor in a comment, and leave the comments out."""
    parts = [""]
    depth = 0
    quoted = False
    characters = iter(text)
    for char in characters:
        escaped = next(characters, "") if char == "\\" and (quoted or depth) else ""
        if depth:
            depth += {"(": 1, ")": -1}.get(char, 0)
        elif char == '"':
            quoted = not quoted
            parts[-1] += char
        elif quoted:
            parts[-1] += char + escaped
        elif char == "(":
            depth = 1
            parts[-1] += " "
        elif char == ",":
            parts.append("")
        elif char in ":;":
            raise AddressError("a group is no mailbox")
        else:
            parts[-1] += char
    if depth or quoted:
        raise AddressError("a quote or comment has no end")
    return parts


def _outside_quotes(text: str) -> str:
    """`text`, as long as it was, with quoted strings blanked out."""
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda match: " " * len(match[0]), text)
