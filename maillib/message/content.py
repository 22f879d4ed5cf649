"""What the Content-* fields of a header say of a part. RFC 2045 §5-8, RFC 1864, RFC 2183, RFC 2231, RFC 3282, RFC 2557.

Values are octets as the author wrote them, unfolded, comments and quotes taken off where the grammar has them. Nothing
raises: what cannot be understood counts as absent. Every step is linear in the length of the header.
"""

import re
from itertools import islice
from typing import NamedTuple

from maillib.message.fields import of_names

MAX_PARAMETERS = 1_000
"""Of one field; people have seen forty."""

Parameters = tuple[tuple[bytes, bytes], ...]
"""Names as spelled and values, in the order of the field; continuations (RFC 2231 §3) one by one, as they came."""

_COMMENT_PIECE = re.compile(rb'"(?:[^"\\]|\\.)*+"?|\\.|[()]', re.S)
_PAREN = re.compile(rb"\\.|[()]", re.S)
_MEDIA = re.compile(rb'\s*+([^\s/;="]++)\s*+/\s*+([^\s/;="]++)')
_TOKEN = re.compile(rb'[ \t]*"?([^\s;"]+)')
_PARAMETER = re.compile(rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"?|([^;"\s]*+))', re.S)
_LANGUAGE = re.compile(rb'(?:^|,)\s*+"?([A-Za-z0-9*-]++)')
_ESCAPED = re.compile(rb"\\(.)", re.S)
_CONTINUED = re.compile(rb"\*([0-9]{1,4})(\*?)$")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


_NAMES = frozenset(
    b"content-" + name
    for name in (
        b"type",
        b"id",
        b"description",
        b"transfer-encoding",
        b"md5",
        b"disposition",
        b"language",
        b"location",
    )
)


class Disposition(NamedTuple):
    """RFC 2183 §2."""

    kind: bytes
    parameters: Parameters


class Content(NamedTuple):
    """Of one part; None: the field is absent."""

    type: bytes = b"text"
    subtype: bytes = b"plain"
    parameters: Parameters = ()
    id: bytes | None = None
    description: bytes | None = None
    encoding: bytes | None = None
    md5: bytes | None = None
    disposition: Disposition | None = None
    languages: tuple[bytes, ...] = ()
    location: bytes | None = None

    @property
    def media(self) -> bytes:
        """`text/plain`, in lower case."""
        return b"%b/%b" % (self.type.lower(), self.subtype.lower())

    @property
    def transfer_encoding(self) -> bytes:
        """In lower case; 7bit where nothing is said. RFC 2045 §6.1."""
        return (self.encoding or b"7bit").lower()


PLAIN = Content()
"""What a part without a (good) Content-Type is. RFC 2045 §5.2."""
DIGESTED = Content(b"message", b"rfc822")
"""What it is within multipart/digest. RFC 2046 §5.1.5."""


def content(header: bytes, default: Content = PLAIN) -> Content:
    """Of two fields with one name the first counts."""
    found = dict(reversed(of_names(header, _NAMES)))
    if not found:
        return default
    media, subtype, parameters = default.type, default.subtype, default.parameters
    if (typed := found.get(b"content-type")) is not None:
        typed = without_comments(typed)
        if match := _MEDIA.match(typed):
            media, subtype, parameters = match[1], match[2], _parameters(typed, match.end())
        else:
            media, subtype, parameters = PLAIN.type, PLAIN.subtype, ()
    return Content(
        type=media,
        subtype=subtype,
        parameters=parameters,
        id=found.get(b"content-id"),
        description=found.get(b"content-description"),
        encoding=_token(found.get(b"content-transfer-encoding")),
        md5=found.get(b"content-md5"),
        disposition=_disposition(found.get(b"content-disposition")),
        languages=_languages(found.get(b"content-language")),
        location=found.get(b"content-location"),
    )


def parameter(parameters: Parameters, name: bytes) -> bytes | None:
    """The value of the parameter `name` (in lower case), its pieces put together and decoded. RFC 2231 §3-4.

    Octets of the charset that an extended value names; the name of the charset and the language are left out.
    """
    pieces: dict[int, tuple[bytes, bool]] = {}
    for key, value in parameters:
        lowered = key.lower()
        if lowered == name:
            return value
        if not lowered.startswith(name + b"*"):
            continue
        rest = lowered[len(name) :]
        if rest == b"*":
            return _extended(value, first=True)
        if match := _CONTINUED.fullmatch(rest):
            pieces.setdefault(int(match[1]), (value, bool(match[2])))
    if 0 not in pieces:
        return None
    joined: list[bytes] = []
    while (piece := pieces.get(len(joined))) is not None:
        value, extended = piece
        joined.append(_extended(value, first=not joined) if extended else value)
    return b"".join(joined)


def without_comments(value: bytes) -> bytes:
    """`value` with each comment outside quotes as one space. RFC 5322 §3.2.2."""
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    start = position = 0
    while piece := _COMMENT_PIECE.search(value, position):
        position = piece.end()
        if piece[0] == b"(":
            kept += (value[start : piece.start()], b" ")
            start = position = comment_end(value, position)
    return b"".join((*kept, value[start:]))


def comment_end(value: bytes, start: int) -> int:
    """The position behind the comment whose text begins at `start`: comments nest; one without end goes to the end."""
    depth = 1
    for piece in _PAREN.finditer(value, start):
        if piece[0] == b"(":
            depth += 1
        elif piece[0] == b")":
            depth -= 1
            if not depth:
                return piece.end()
    return len(value)


def unescaped(quoted: bytes) -> bytes:
    """The text of a quoted string, given without its quotes. RFC 5322 §3.2.4."""
    return _ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted


def _extended(value: bytes, *, first: bool) -> bytes:
    if first and value.count(b"'") >= 2:
        value = value.split(b"'", 2)[2]
    return _PERCENT.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), value)


def _parameters(value: bytes, start: int) -> Parameters:
    """What is no parameter is passed over."""
    found = islice(_PARAMETER.finditer(value, start), MAX_PARAMETERS)
    return tuple([(match[1], unescaped(match[2]) if match[2] else match[3] or b"") for match in found])


def _token(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    match = _TOKEN.match(without_comments(value))
    return match[1] if match else None


def _disposition(value: bytes | None) -> Disposition | None:
    if value is None:
        return None
    value = without_comments(value)
    match = _TOKEN.match(value)
    return Disposition(match[1], _parameters(value, match.end())) if match else None


def _languages(value: bytes | None) -> tuple[bytes, ...]:
    if value is None:
        return ()
    return tuple(_LANGUAGE.findall(without_comments(value)))
