"""ENVELOPE and BODYSTRUCTURE as octets. RFC 9051 §7.5.2 and §9 (envelope, body).

The same octets serve every client and may be kept: octets beyond ASCII are always in literals, which need no
UTF8=ACCEPT. NUL, which no string may hold, becomes U+FFFD.
"""

from maillib.message.addresses import EnvelopeAddress
from maillib.message.content import Content, Parameters
from maillib.message.envelope import Addresses, Envelope, envelope
from maillib.message.mime import Part
from maillib.protocols.imap.quoting import nstring, string

_NO_CHARSET = (b"charset", b"us-ascii")
"""What a text that names no charset is in. RFC 2045 §5.2."""


def render_envelope(found: Envelope) -> bytes:
    author = _addresses(found.from_)
    return b"(%b)" % b" ".join(
        (
            _nstring(found.date),
            _nstring(found.subject),
            author,
            author if found.sender is found.from_ else _addresses(found.sender),
            author if found.reply_to is found.from_ else _addresses(found.reply_to),
            _addresses(found.to),
            _addresses(found.cc),
            _addresses(found.bcc),
            _nstring(found.in_reply_to),
            _nstring(found.message_id),
        )
    )


def render_body(octets: bytes, tree: Part, *, extended: bool) -> bytes:
    """The structure of the message `octets`: BODYSTRUCTURE if `extended`, else BODY."""
    written: list[bytes] = []
    left: list[Part | bytes] = [tree]
    while left:
        part = left.pop()
        if isinstance(part, bytes):
            written.append(part)
        elif part.parts:
            written.append(b"(")
            left.append(b" %b%b)" % (_string(part.content.subtype), _multipart_extension(part.content, extended)))
            left += reversed(part.parts)
        elif part.message is not None:
            inner = part.message
            head = envelope(octets[inner.start : inner.body])
            written.append(b"(%b %b " % (_basic(part), render_envelope(head)))
            left.append(b" %d%b)" % (octets.count(b"\n", part.body, part.end), _extension(part.content, extended)))
            left.append(inner)
        else:
            lines = b""
            if part.content.type.lower() == b"text":
                lines = b" %d" % octets.count(b"\n", part.body, part.end)
            written.append(b"(%b%b%b)" % (_basic(part), lines, _extension(part.content, extended)))
    return b"".join(written)


def _basic(part: Part) -> bytes:
    content = part.content
    parameters = content.parameters
    if content.type.lower() == b"text" and not any(
        name.partition(b"*")[0].lower() == b"charset" for name, _ in parameters
    ):
        parameters = (*parameters, _NO_CHARSET)
    return b"%b %b %b %b %b %b %d" % (
        _string(content.type),
        _string(content.subtype),
        _parameters(parameters),
        _nstring(content.id),
        _nstring(content.description),
        _string(content.encoding or b"7bit"),
        part.end - part.body,
    )


def _extension(content: Content, extended: bool) -> bytes:
    return b" %b%b" % (_nstring(content.md5), _common_extension(content)) if extended else b""


def _multipart_extension(content: Content, extended: bool) -> bytes:
    return b" %b%b" % (_parameters(content.parameters), _common_extension(content)) if extended else b""


def _common_extension(content: Content) -> bytes:
    found = content.disposition
    disposition = b"NIL" if found is None else b"(%b %b)" % (_string(found.kind), _parameters(found.parameters))
    languages = b"(%b)" % b" ".join(map(_string, content.languages)) if content.languages else b"NIL"
    return b" %b %b %b" % (disposition, languages, _nstring(content.location))


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(%b)" % b" ".join([_string(text) for pair in parameters for text in pair])


def _addresses(addresses: Addresses) -> bytes:
    return b"(%b)" % b"".join(map(_address, addresses)) if addresses else b"NIL"


def _address(address: EnvelopeAddress) -> bytes:
    return b"(%b %b %b %b)" % tuple(map(_nstring, address))


def _nstring(text: bytes | None) -> bytes:
    return nstring(text if text is None or b"\0" not in text else _without_nul(text))


def _string(text: bytes) -> bytes:
    return string(text if b"\0" not in text else _without_nul(text))


def _without_nul(text: bytes) -> bytes:
    return text.replace(b"\0", "\N{REPLACEMENT CHARACTER}".encode())
