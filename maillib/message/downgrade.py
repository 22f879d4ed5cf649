"""A message with UTF-8 in its header, for readers who know ASCII only: the simplified downgrade of RFC 6858.

What it does to the header: an address that is not ASCII becomes an invalid one whose display name is the original
(§2.1), a display name becomes encoded words, Subject too (§2.3); what else is not ASCII goes, be it a parameter of a
MIME field (§2.2) or another field (§2.4). Fields in ASCII, and the body, pass octet for octet.

A header with octets beyond ASCII that are not UTF-8 is no internationalized one (RFC 6532 §3.1) but broken mail from
elsewhere; it passes as it came, as everywhere.

Leaves to others: headers of MIME parts within the body, which pass as they are.
"""

import base64
import re

from maillib.message.fields import header_length

MAX_HEADER_OCTETS = 64 * 1024
"""Longer than any that a person's mail has; past this it passes as it is: nobody may keep us busy with a header."""

INVALID = "invalid@internationalized-address.invalid"
"""Where an answer to an address that cannot be said goes. RFC 6858 §2.1."""

_ADDRESSES = frozenset(
    b"from to cc bcc reply-to sender resent-from resent-to resent-cc resent-bcc resent-sender".split()
)
_PARAMETERS = frozenset([b"content-type", b"content-disposition"])

_ENCODED_OCTETS = 42
"""Of UTF-8 in one encoded word, which may be 75 characters long. RFC 2047 §2."""

_FIELD = re.compile(rb"[^\r\n]*(?:\r\n[ \t][^\r\n]*)*(?:\r\n|\Z)")
_TOKEN = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|\((?:[^()\\]|\\.)*\)|<[^<>]*>|.', re.DOTALL)
"""Quoted pairs, quoted strings, comments and addresses in brackets whole, else one character. Linear: what has no end
is given up at the next of its kind."""


class Downgrade:
    """Takes a message in pieces whose line ends are CRLF, none cut between CR and LF."""

    def __init__(self) -> None:
        self._header: bytes | None = b""
        """What has come of the header; None: it is through."""
        self.growth = 0
        """Octets that the header has more now, or less."""

    def feed(self, piece: bytes) -> bytes:
        if self._header is None:
            return piece
        searched = len(self._header)
        self._header += piece
        length = header_length(self._header, searched)
        if length is not None:
            whole, self._header = self._header, None
            return self._changed(whole[:length]) + whole[length:]
        if len(self._header) >= MAX_HEADER_OCTETS:
            whole, self._header = self._header, None
            return whole
        return b""

    def finish(self) -> bytes:
        """What is left at the message's end: a header without a body."""
        whole, self._header = self._header or b"", None
        return self._changed(whole)

    def _changed(self, header: bytes) -> bytes:
        changed = downgraded(header)
        self.growth += len(changed) - len(header)
        return changed


def downgraded(header: bytes) -> bytes:
    """A whole header without its empty line, each line with its CRLF."""
    if header.isascii() or not _is_utf8(header):
        return header
    return b"".join(_field(match[0]) for match in _FIELD.finditer(header))


def _field(field: bytes) -> bytes:
    """One field with its line end; empty when it has to go."""
    if field.isascii():
        return field
    name, colon, value = field.partition(b":")
    kind = name.strip().lower()
    text = value.decode().replace("\r\n", "").strip()
    if not colon or not name.isascii():
        return b""
    if kind == b"subject":
        lines = _encoded(text)
    elif kind in _ADDRESSES:
        lines = _mailboxes(text)
    elif kind in _PARAMETERS:
        what, *parameters = _split(text, ";") or [""]
        lines = _joined([what, *filter(str.isascii, parameters)], ";") if what.isascii() else []
    else:
        return b""
    return name + b": " + "\r\n ".join(lines).encode() + b"\r\n" if lines else b""


def _mailboxes(text: str) -> list[str]:
    """The lines of an address field. One with a group becomes one display name: a part of it could be said, but its
    end would be lost with what cannot.
    """
    if not {":", ";"}.isdisjoint(_TOKEN.findall(text)):
        return [*_encoded(text), f"<{INVALID}>"]
    return _joined([_mailbox(part) for part in _split(text, ",")], ",")


def _mailbox(text: str) -> str:
    if text.isascii():
        return text
    display, bracket, rest = text.rpartition("<")
    if not bracket:
        return f"{_words(text)} <{INVALID}>"
    display, address = _unquoted(display), rest.partition(">")[0]
    if address.isascii():
        return f"{_words(display)} <{address}>"
    return f"{_words(f'{display} <{address}>' if display else address)} <{INVALID}>"


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _split(text: str, separator: str) -> list[str]:
    parts = [""]
    for token in _TOKEN.findall(text):
        if token == separator:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


def _joined(parts: list[str], separator: str) -> list[str]:
    """Parts as lines of a folded field."""
    return [part + separator for part in parts[:-1]] + parts[-1:]


def _words(text: str) -> str:
    return "\r\n ".join(_encoded(text))


def _encoded(text: str) -> list[str]:
    """Encoded words of whole characters. RFC 2047 §5."""
    words, octets = list[str](), b""
    for char in text.strip():
        more = char.encode()
        if octets and len(octets) + len(more) > _ENCODED_OCTETS:
            words.append(_word(octets))
            octets = b""
        octets += more
    return [*words, _word(octets)] if octets else words


def _word(octets: bytes) -> str:
    return f"=?utf-8?B?{base64.b64encode(octets).decode()}?="


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
