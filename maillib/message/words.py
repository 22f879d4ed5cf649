"""Encoded words in header fields, decoded. RFC 2047, RFC 2231 §5."""

import binascii
import re

from maillib.message import transfer
from maillib.message.charsets import decode

_WORD = re.compile(rb"=\?([^?*\s]++)(?:\*[^?\s]*+)?\?([bBqQ])\?([^?\r\n]*+)\?=")


def decoded_words(value: bytes) -> str:
    """An unfolded value as a reader sees it: leniently, with words wherever they are and broken octets replaced.

    Neighbours in one charset are decoded together, as many writers cut between the octets of one character.
    """
    if b"=?" not in value:
        return decode(value, None)
    texts: list[str] = []
    charset = b""
    pending: list[bytes] = []
    """Of the words in `charset` that stand side by side."""
    position = 0
    for word in _WORD.finditer(value):
        between = value[position : word.start()]
        if pending and (between.strip(b" \t") or word[1].lower() != charset):
            texts.append(decode(b"".join(pending), charset.decode("latin-1")))
            pending = []
            if between.strip(b" \t"):
                texts.append(decode(between, None))
        elif not pending:
            texts.append(decode(between, None))
        charset = word[1].lower()
        pending.append(_octets(word[2], word[3]))
        position = word.end()
    if pending:
        texts.append(decode(b"".join(pending), charset.decode("latin-1")))
    texts.append(decode(value[position:], None))
    return "".join(texts)


def _octets(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"bB":
        return transfer.decoded(text, b"base64") or b""
    return binascii.a2b_qp(text, header=True)
