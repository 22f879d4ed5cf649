"""Header fields that we write: one writer, which lets no value become a line of its own.

Guarantees: a field ends where it should, whatever its value holds. A control, a line or paragraph separator or a lone
surrogate in a value raises LocalError: all of them are a line end to some reader (RFC 5322 §2.2 knows only CRLF).
"""

import unicodedata

from maillib.errors import LocalError

_LINE_ENDS_TO_SOMEBODY = frozenset({"Cc", "Zl", "Zp", "Cs"})


def field(name: str, *lines: str) -> bytes:
    """`name: lines`, folded between the lines, with its line end. RFC 5322 §2.2.3."""
    for line in lines:
        # Nothing that is printable is one of them, and this is asked of every message; to look them up takes long.
        if not line.isprintable() and any(unicodedata.category(char) in _LINE_ENDS_TO_SOMEBODY for char in line):
            raise LocalError(f"control characters in a header field of ours: {name}: {line!r}")
    return (f"{name}: " + "\r\n\t".join(lines) + "\r\n").encode()


def delivery_prefix(*, sender: str, recipient: str) -> bytes:
    """What final delivery puts before a message; an empty `sender` is the null reverse-path. RFC 5321 §4.4."""
    return field("Return-Path", f"<{sender}>") + field("Delivered-To", recipient)


def one_line(text: str, *, most: int) -> str:
    """At most `most` characters of `text`, fit for a field: what could end a line becomes a space."""
    safe = "".join(" " if unicodedata.category(char) in _LINE_ENDS_TO_SOMEBODY else char for char in text[:most])
    return " ".join(safe.split())
