"""Which messages a message follows, by its References and In-Reply-To. RFC 5322 §3.6.4, RFC 5256 §2.2."""

import re
from collections.abc import Sequence

_ID = re.compile(rb"<\s*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s\"<>@]++))@([^\s<>@]++)\s*+>", re.S)
_ESCAPED = re.compile(rb"\\(.)", re.S)

MOST = 1000
"""Ids of one field: a thread of that length is shown from somewhere in its middle on."""


def message_ids(value: bytes) -> list[str]:
    """Those in an unfolded value, without their angle brackets, quotes undone; what is none is passed over."""
    found = [
        _ESCAPED.sub(rb"\1", quoted) + b"@" + host if quoted else local + b"@" + host
        for quoted, local, host in _ID.findall(value)
    ]
    return [each.decode("utf-8", "replace") for each in found]


def own_id(fields: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Of a message with these fields, names in lower case; None: there is no Message-ID that can be read."""
    return next(iter(_ids(fields, b"message-id")), None)


def references(fields: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """Ids of the messages that this one follows, the one that it answers last."""
    found = _ids(fields, b"references") or _ids(fields, b"in-reply-to")[:1]
    return found[-MOST:]


def _ids(fields: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [each for name, value in fields if name == wanted for each in message_ids(value)]
