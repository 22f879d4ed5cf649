"""What FETCH may be asked for. RFC 9051 §6.4.5, RFC 3501 §6.4.5, RFC 3516, RFC 7162, RFC 8970."""

from dataclasses import dataclass
from enum import Enum

from maillib.message.sections import Partial, Section


class Item(Enum):
    """Items without arguments; the value is the name in the answer."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    """The structure without extension data."""
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    MODSEQ = b"MODSEQ"


@dataclass(frozen=True, slots=True)
class BodySection:
    """BODY[...], BODY.PEEK[...], RFC822, RFC822.HEADER, RFC822.TEXT."""

    section: Section
    partial: Partial | None
    peek: bool
    """\\Seen stays as it is."""
    name: bytes
    """In the answer: `BODY[1.MIME]<0>`, `RFC822`."""


@dataclass(frozen=True, slots=True)
class Binary:
    """BINARY[...], BINARY.PEEK[...]: the part with its transfer encoding undone. RFC 3516 §4.2."""

    part: tuple[int, ...]
    partial: Partial | None
    peek: bool
    name: bytes


@dataclass(frozen=True, slots=True)
class BinarySize:
    """Octets of the part with its transfer encoding undone. RFC 3516 §4.2."""

    part: tuple[int, ...]
    name: bytes


@dataclass(frozen=True, slots=True)
class Preview:
    """RFC 8970 §3."""

    lazy: bool
    """Only what costs nothing: NIL where it is not known yet."""


FetchItem = Item | BodySection | Binary | BinarySize | Preview
