"""What of a message is text: decoded and folded for SEARCH, and its first line for PREVIEW. RFC 9051 §6.4.4, RFC 8970.

SEARCH finds by the characters that a reader sees: header fields with their encoded words decoded, text parts from their
transfer encoding and charset, HTML without its tags. Octets that are wrong in their charset are replaced; nothing
raises. Attachments that are no text are not looked into; attached messages are, header and body. So that no message can
exhaust the memory, what is behind MAX_TEXT_OCTETS of text is not looked into.
"""

import unicodedata
from collections.abc import Iterator
from itertools import islice

from maillib.message import transfer
from maillib.message.charsets import decode
from maillib.message.content import parameter
from maillib.message.fields import MAX_FIELDS, MAX_HEADER_OCTETS, fields, of_names, unfolded
from maillib.message.markup import without_tags
from maillib.message.mime import Part, structure
from maillib.message.words import decoded_words

PREVIEW_CHARACTERS = 200
"""RFC 8970 §3.2."""

_PREVIEW_OCTETS = 64 * 1024
"""Of the part that the preview is taken from; the 200th character comes long before."""


MAX_TEXT_OCTETS = 16 * 1024 * 1024
"""Of the text parts of a message together, as they are encoded: a book has one. Decoded and folded, text takes up to
ten times the memory.
"""


class _Folded(dict[int, str]):
    """What becomes of a character, kept; of the million beyond the basic plane only of those that change."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
        if folded != char or code < 0x10000:
            self[code] = folded
        return folded


_FOLDED = _Folded()
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")


def fold(text: str) -> str:
    """What is compared, of the text and of what is looked for in it: without case, and composed or not the same.

    After i;unicode-casemap (RFC 5051 §2) with full case folding: character by character, as to put combining marks in
    order takes quadratic time.
    """
    return text.lower() if text.isascii() else text.translate(_FOLDED)


def field_values(header: bytes, name: str) -> list[str]:
    """The decoded values of the fields called `name`, in any case, in order; not folded."""
    return [decoded_words(value) for _, value in of_names(header, (name.lower().encode("utf-8", "replace"),))]


def header_text(header: bytes) -> str:
    """Each field as a line `name: value`, folded; a line end is before each and at the end."""
    known = islice(fields(header[:MAX_HEADER_OCTETS]), MAX_FIELDS)
    lines = [f"{name}: {' '.join(decoded_words(unfolded(value)).splitlines())}" for name, value in known]
    return fold("\n".join(("", *lines, "")))


def part_headers_text(octets: bytes, tree: Part) -> str:
    """`header_text` of all parts of multiparts: with that of the message and `body_text` it is all that TEXT means."""
    return "".join(header_text(octets[part.start : part.body]) for holder in _walk(tree) for part in holder.parts)


def body_text(octets: bytes, tree: Part) -> str:
    """What BODY looks in, folded: the text parts in their order, and the headers of attached messages."""
    return "\n".join(body_texts(octets, tree))


def body_texts(octets: bytes, tree: Part) -> Iterator[str]:
    """`body_text` piece by piece, for who wants no more than it needs."""
    left = MAX_TEXT_OCTETS
    for part in _walk(tree):
        if _is_text(part):
            body = octets[part.body : min(part.end, part.body + left)]
            left -= len(body)
            yield fold(_text(part, body))
        elif part.message is not None:
            yield header_text(octets[part.message.start : part.message.body])


def preview(octets: bytes, tree: Part | None = None) -> str:
    """The first characters of the first text that is no attachment, on one line and without controls; "" if none is."""
    for part in _walk(structure(octets) if tree is None else tree):
        disposition = part.content.disposition
        if not _is_text(part) or (disposition is not None and disposition.kind.lower() == b"attachment"):
            continue
        start = octets[part.body : min(part.end, part.body + _PREVIEW_OCTETS)]
        if text := " ".join(_text(part, start).translate(_CONTROLS).split()):
            return text[:PREVIEW_CHARACTERS]
    return ""


def _walk(tree: Part) -> Iterator[Part]:
    """`tree` and all that is in it, as they stand in the octets."""
    left = [tree]
    while left:
        part = left.pop()
        yield part
        left += reversed(part.parts)
        if part.message is not None:
            left.append(part.message)


def _is_text(part: Part) -> bool:
    return part.content.type.lower() == b"text" and not part.parts


def _text(part: Part, body: bytes) -> str:
    """The text of `body`, which is the body of `part` or its beginning."""
    octets = transfer.decoded(body, part.content.transfer_encoding)
    charset = parameter(part.content.parameters, b"charset")
    text = decode(body if octets is None else octets, None if charset is None else charset.decode("latin-1"))
    return without_tags(text) if part.content.subtype.lower() == b"html" else text
