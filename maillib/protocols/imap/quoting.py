"""Strings as they are written: an atom, quoted, or a literal. RFC 9051 §4.3."""

import re

MAX_QUOTED = 1000
"""Octets; what is longer is a literal, which costs its reader less."""

_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")
_QUOTABLE_UTF8 = re.compile(rb"[^\0\r\n]*")


def string(text: bytes, *, utf8: bool = False) -> bytes:
    """Quoted where that is allowed, else a literal. `utf8`: the reader takes UTF-8, which `text` is. RFC 6855 §3."""
    if len(text) <= MAX_QUOTED and (_QUOTABLE_UTF8 if utf8 else _QUOTABLE).fullmatch(text):
        return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return literal(text)


def literal(octets: bytes) -> bytes:
    return b"{%d}\r\n" % len(octets) + octets


def nstring(text: bytes | None) -> bytes:
    return b"NIL" if text is None else string(text)


def astring(text: str) -> bytes:
    """In UTF-8. What looks like NIL is quoted, as readers may take it for that."""
    octets = text.encode()
    return octets if _ATOM.fullmatch(octets) and octets.upper() != b"NIL" else string(octets)


def literal8(octets: bytes) -> bytes:
    """May hold NUL. RFC 9051 §4.3."""
    return b"~" + literal(octets)
