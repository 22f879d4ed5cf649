"""Which messages a message follows, by its References and In-Reply-To. RFC 5322 §3.6.4, RFC 5256 §2.2."""

import re

from maillib.message.fields import of_names

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


def own_id(header: bytes) -> str | None:
    """None: there is no Message-ID that can be read."""
    return next((each for _, value in of_names(header, (b"message-id",)) for each in message_ids(value)), None)


def references(header: bytes) -> list[str]:
    """Ids of the messages that this one follows, the one that it answers last."""
    found = [each for _, value in of_names(header, (b"references",)) for each in message_ids(value)]
    if not found:
        found = [each for _, value in of_names(header, (b"in-reply-to",)) for each in message_ids(value)][:1]
    return found[-MOST:]
