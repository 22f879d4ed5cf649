"""Sections of a message by their names in FETCH. RFC 9051 §6.4.5.1."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


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
