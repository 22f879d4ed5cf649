"""Transfer encodings undone. RFC 2045 §6.7, §6.8.

Leniently, as readers do: what base64 has no letter for is skipped, and its end may be missing.
"""

import binascii
import re

_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_SPACE_AT_END = re.compile(rb"(?<![ \t])[ \t]+(?=\r?\n|\Z)")

IDENTITY = frozenset({b"7bit", b"8bit", b"binary"})
"""Encodings whose octets are what they stand for. RFC 2045 §6.2."""


def decoded(octets: bytes, encoding: bytes) -> bytes | None:
    """None: nobody knows this encoding, which is given in lower case."""
    if encoding in IDENTITY:
        return octets
    if encoding == b"base64":
        return _base64(octets)
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(_SPACE_AT_END.sub(b"", octets))
    return None


def _base64(octets: bytes) -> bytes:
    # Padding within the text is where somebody has put two encoded texts behind one another.
    runs = [run for run in octets.translate(None, _NOT_BASE64).split(b"=") if len(run) > 1]
    return b"".join([binascii.a2b_base64(run[: len(run) - (len(run) % 4 == 1)] + b"==") for run in runs])
