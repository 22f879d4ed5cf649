"""ENVELOPE of a message: the fields that a list of messages shows. RFC 9051 §7.5.2.

Values are octets, unfolded, not decoded. Of texts that are there more than once the last counts, addresses of
all fields with one name are put together: so clients know it from other servers.
"""

from typing import NamedTuple

from maillib.message.addresses import MAX_ADDRESSES, EnvelopeAddress, addresses
from maillib.message.fields import of_names

Addresses = tuple[EnvelopeAddress, ...]
"""Empty: NIL."""


class Envelope(NamedTuple):
    """None: the field is absent; there but empty it is empty."""

    date: bytes | None
    subject: bytes | None
    from_: Addresses
    sender: Addresses
    """As `from_` where the header has none. So is `reply_to`."""
    reply_to: Addresses
    to: Addresses
    cc: Addresses
    bcc: Addresses
    in_reply_to: bytes | None
    message_id: bytes | None


_TEXTS = frozenset({b"date", b"subject", b"in-reply-to", b"message-id"})
_LISTS = frozenset({b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"})


def envelope(header: bytes) -> Envelope:
    """Of the message with this header."""
    texts: dict[bytes, bytes] = {}
    lists: dict[bytes, list[EnvelopeAddress]] = {name: [] for name in _LISTS}
    for name, value in of_names(header, _TEXTS | _LISTS):
        if name in _TEXTS:
            texts[name] = value
        elif len(lists[name]) < MAX_ADDRESSES:
            lists[name] += addresses(value)
    author = tuple(lists[b"from"])
    return Envelope(
        date=texts.get(b"date"),
        subject=texts.get(b"subject"),
        from_=author,
        sender=tuple(lists[b"sender"]) or author,
        reply_to=tuple(lists[b"reply-to"]) or author,
        to=tuple(lists[b"to"]),
        cc=tuple(lists[b"cc"]),
        bcc=tuple(lists[b"bcc"]),
        in_reply_to=texts.get(b"in-reply-to"),
        message_id=texts.get(b"message-id"),
    )
