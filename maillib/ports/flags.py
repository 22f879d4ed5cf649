"""Flags of a message: system flags and keywords, as every engine keeps and changes them. RFC 9051 §2.3.2.

Flags are compared without case. System flags have one spelling; a keyword keeps the one that it was set with first.
"""

from collections.abc import Iterable
from enum import Enum

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = "\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"

SYSTEM_FLAGS = (SEEN, ANSWERED, FLAGGED, DELETED, DRAFT)

_SPELLINGS = {flag.lower(): flag for flag in SYSTEM_FLAGS}


class FlagChange(Enum):
    ADD = "+"
    REMOVE = "-"
    REPLACE = "="


def canonical(flags: Iterable[str]) -> frozenset[str]:
    """Each flag once. Raises ValueError for what is no atom: whoever talks to a client has seen to that before."""
    found: dict[str, str] = {}
    for flag in flags:
        if not flag.isascii() or not flag.isprintable() or " " in flag or not flag:
            raise ValueError(f"{flag!r} is no flag")
        found.setdefault(flag.lower(), _SPELLINGS.get(flag.lower(), flag))
    return frozenset(found.values())


def changed(before: frozenset[str], how: FlagChange, flags: frozenset[str]) -> frozenset[str]:
    """`before` after that change; `flags` are canonical."""
    spelled = {flag.lower(): flag for flag in before}
    wanted = {flag.lower(): flag for flag in flags}
    match how:
        case FlagChange.ADD:
            result = wanted | spelled
        case FlagChange.REMOVE:
            result = {key: flag for key, flag in spelled.items() if key not in wanted}
        case FlagChange.REPLACE:
            result = {key: spelled.get(key, flag) for key, flag in wanted.items()}
    return frozenset(result.values())
