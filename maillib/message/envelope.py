"""ENVELOPE of a message: the fields that a list of messages shows. RFC 9051 §7.5.2.

Values are octets, unfolded, not decoded. Of texts that are there more than once the last counts, addresses of
all fields with one name are put together: so clients know it from other servers.
"""

from typing import NamedTuple

from maillib.message.addresses import EnvelopeAddress, addresses
from maillib.message.fields import known

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


_NAMES = frozenset({"date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to", "message-id"})
_OF_ADDRESSES = _NAMES - {"date", "subject", "in-reply-to", "message-id"}


def envelope(header: bytes) -> Envelope:
    """Of the message with this header."""
    values: dict[str, bytes] = {}
    for name, value in known(header):
        if name in _NAMES:
            values[name] = values[name] + b"," + value if name in _OF_ADDRESSES and name in values else value
    lists = {name: addresses(value) for name, value in values.items() if name in _OF_ADDRESSES}
    author = lists.get("from", ())
    return Envelope(
        date=values.get("date"),
        subject=values.get("subject"),
        from_=author,
        sender=lists.get("sender") or author,
        reply_to=lists.get("reply-to") or author,
        to=lists.get("to", ()),
        cc=lists.get("cc", ()),
        bcc=lists.get("bcc", ()),
        in_reply_to=values.get("in-reply-to"),
        message_id=values.get("message-id"),
    )
