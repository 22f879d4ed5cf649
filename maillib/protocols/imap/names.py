"""Mailbox names on the wire: modified UTF-7 (RFC 3501 §5.1.3), or UTF-8 once a client has enabled it (RFC 9051 §5.1).

Only the one canonical modified UTF-7 of a name is read, so that what a client can say has one meaning and what is told
comes back as it was said. Which names are allowed is the index's to know.
"""

import base64
import binascii
import re

from maillib.protocols.imap.errors import Malformed

_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_TO_SHIFT = re.compile(r"&|[^\x20-\x7e]+")
_PLAIN = re.compile(rb"[\x20-\x25\x27-\x7e]*")
"""Printable ASCII without `&`: the same in all forms."""


def decode(octets: bytes, *, utf8: bool) -> str:
    """Raises Malformed, to be answered NO [CANNOT]. RFC 5530 §3."""
    if _PLAIN.fullmatch(octets):
        return octets.decode("ascii")
    try:
        return octets.decode() if utf8 else _from_utf7(octets)
    except (UnicodeError, binascii.Error):
        raise Malformed("that cannot be a mailbox's name", code="CANNOT") from None


def encode(name: str, *, utf8: bool) -> bytes:
    """What `decode` reads; neither quoted nor a literal yet."""
    return name.encode() if utf8 else _TO_SHIFT.sub(_to_utf7, name).encode("ascii")


def _from_utf7(octets: bytes) -> str:
    text = _SHIFTED.sub(_shifted_to_utf8, octets).decode()
    if encode(text, utf8=False) != octets:
        raise UnicodeError("not the canonical form")
    return text


def _shifted_to_utf8(shifted: re.Match[bytes]) -> bytes:
    encoded = shifted[1]
    if not encoded:
        return b"&"
    utf16 = binascii.a2b_base64(encoded.replace(b",", b"/") + b"=" * (-len(encoded) % 4))
    return utf16.decode("utf-16-be").encode()


def _to_utf7(run: re.Match[str]) -> str:
    if run[0] == "&":
        return "&-"
    encoded = base64.b64encode(run[0].encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
    return f"&{encoded.decode()}-"
