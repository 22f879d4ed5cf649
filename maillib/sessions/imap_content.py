"""What FETCH tells of a message from its octets: sections, decoded parts. RFC 9051 §6.4.5, RFC 3516."""

from collections.abc import Iterable

from maillib.message import sections
from maillib.message.mime import Part, structure
from maillib.message.sections import Partial, Section, What
from maillib.protocols.imap import quoting
from maillib.protocols.imap.fetch_items import Binary, BinarySize, BodySection, FetchItem
from maillib.sessions.imap_replies import Refused

Content = BodySection | Binary | BinarySize
"""What only the octets answer."""

Answers = dict[FetchItem, range | bytes]
"""What a large message has for each item: a place in it, or name and value."""

MOST_MADE_OCTETS = 64 * 1024 * 1024
"""Of one large message: decoded, or fields that were picked."""

_WHOLE = Section()


class Opened:
    """The octets of a message, and its structure once it is needed."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._tree: Part | None = None

    def _structure(self) -> Part:
        self._tree = self._tree or structure(self._octets)
        return self._tree

    def item(self, item: Content) -> bytes:
        """Raises UnknownEncoding."""
        match item:
            case BodySection(section, partial, _, name):
                return name + b" " + literal(self._section(section, partial), binary=False)
            case Binary(part, partial, _, name):
                return (
                    name + b" " + literal(sections.binary(self._octets, part, partial, self._structure()), binary=True)
                )
            case BinarySize(part, name):
                return name + b" %d" % (sections.binary_size(self._octets, part, self._structure()) or 0)

    @property
    def size_octets(self) -> int:
        return len(self._octets)

    def check(self, content: Iterable[Content]) -> None:
        """Raises UnknownEncoding when one of them cannot be told."""
        for item in content:
            if not isinstance(item, BodySection):
                sections.binary_size(self._octets, item.part, self._structure())

    def answers(self, content: Iterable[Content]) -> Answers:
        """Raises UnknownEncoding, Refused."""
        found: Answers = {}
        made_octets = 0
        for item in content:
            if isinstance(item, BodySection) and not is_made(item):
                section = item.section
                where = sections.span(self._octets, section, self._structure() if section.part else None)
                found[item] = item.name + b" NIL" if where is None else cut(where, item)
            else:
                found[item] = answer = self.item(item)
                made_octets += len(answer)
                if made_octets > MOST_MADE_OCTETS:
                    raise Refused("that is too much of one message at a time", code="LIMIT")
        return found

    def _section(self, section: Section, partial: Partial | None) -> bytes | None:
        if section == _WHOLE:
            return self._octets if partial is None else self._octets[partial.offset : partial.offset + partial.octets]
        return sections.section(self._octets, section, partial, self._structure() if section.part else None)


def literal(octets: bytes | None, *, binary: bool) -> bytes:
    """NUL is allowed only in a literal8, and that only for BINARY. RFC 3516 §4.3."""
    if octets is None:
        return b"NIL"
    if binary and b"\0" in octets:
        return quoting.literal8(octets)
    return quoting.literal(without_nul(octets))


def without_nul(octets: bytes) -> bytes:
    """As many octets, and the same where there is none. RFC 9051 §9, CHAR8."""
    return octets.replace(b"\0", b"\x80")


def is_whole(item: Content) -> bool:
    return isinstance(item, BodySection) and item.section == _WHOLE


def is_made(item: Content) -> bool:
    """It is not in the message as it is told."""
    return not isinstance(item, BodySection) or item.section.what in (What.FIELDS, What.FIELDS_NOT)


def cut(where: range, item: Content) -> range:
    partial = item.partial if isinstance(item, BodySection) else None
    return where if partial is None else where[partial.offset : partial.offset + partial.octets]


def is_of_header(item: Content) -> bool:
    return (
        isinstance(item, BodySection)
        and not item.section.part
        and item.section.what in (What.HEADER, What.FIELDS, What.FIELDS_NOT)
    )
