"""Addresses of a header field as ENVELOPE has them. RFC 5322 §3.4 with the obsolete forms of §4.4, RFC 9051 §7.5.2.

Octets are kept: encoded words (RFC 2047) and UTF-8 (RFC 6532) as they are, quotes and comments taken off. What is
broken gets the nearest address; nothing raises. Linear in the length of the value.
"""

import re
from typing import NamedTuple

from maillib.message.content import comment_end, unescaped

_ATOM = rb"[^\x00- \"(),:;<>@\[\\\]\x7f]"
_USUAL = re.compile(
    rb"\s*+(?:(?:(?:\"([^\"\\]*+)\"|(%b++(?: %b++)*+))\s*+)?<(%b++)@(%b++)>|(%b++)@(%b++))\s*+(?:,|\Z)" % ((_ATOM,) * 6)
)
"""`Name <local@domain>` or `local@domain`, as nearly all are: only to be fast."""

_TOKEN = re.compile(
    rb"(?P<space>\s++)|(?P<special>[,:;<>@.()])"
    rb"|\"(?P<quoted>(?:[^\"\\]|\\.)*+)\"?|(?P<word>\[(?:[^\]\\]|\\.)*+\]?|[^\s\"(),:;<>@.\[]++)",
    re.S,
)


MAX_ADDRESSES = 10_000
"""Of one value: more than any list of people, and what ENVELOPE makes of them is several times as long."""


class EnvelopeAddress(NamedTuple):
    """One address; or where a group begins (only `mailbox`, its name) or ends (all are None). RFC 9051 §7.5.2."""

    name: bytes | None
    route: bytes | None
    """RFC 5322 §4.4: `@a,@b`."""
    mailbox: bytes | None
    host: bytes | None
    """Empty for an address without domain: None would be a group."""


GROUP_END = EnvelopeAddress(None, None, None, None)


def addresses(value: bytes) -> tuple[EnvelopeAddress, ...]:
    """The first `MAX_ADDRESSES` of an unfolded value, in order."""
    found: list[EnvelopeAddress] = []
    position = 0
    while len(found) < MAX_ADDRESSES and (match := _USUAL.match(value, position)):
        found.append(EnvelopeAddress(match[1] or match[2] or None, None, match[3] or match[5], match[4] or match[6]))
        position = match.end()
    if position < len(value) and len(found) < MAX_ADDRESSES:
        _Reader(value, position, found).read()
    return tuple(found)


_Piece = bytes | str
"""A word as bytes; what stands between words, `.`, `@`, `:`, `,` or one space for any, as str."""


class _Reader:
    """Token by token; an address ends at a comma, at a semicolon and at the end."""

    def __init__(self, value: bytes, position: int, found: list[EnvelopeAddress]) -> None:
        self._value = value
        self._position = position
        self._found = found
        self._in_group = False
        self._clear()

    def _clear(self) -> None:
        self._pieces: list[_Piece] = []
        self._comment = b""
        self._angle: list[_Piece] | None = None
        """What stands behind `<`."""
        self._closed = False
        """`>` was there: what follows belongs to no address."""
        self._route_end = 0
        """Where in `_angle` the colon is that ends the route; 0: no route has ended."""

    def read(self) -> None:
        while len(self._found) < MAX_ADDRESSES and (match := _TOKEN.match(self._value, self._position)):
            self._position = match.end()
            if match.lastgroup == "special":
                self._special(match[0].decode("ascii"))
            elif match.lastgroup == "space":
                self._piece(" ")
            else:
                self._piece(match["word"] or unescaped(match["quoted"] or b""))
        self._end()
        if self._in_group:
            self._found.append(GROUP_END)

    def _special(self, char: str) -> None:
        if char == "(":
            end = comment_end(self._value, self._position)
            self._comment = unescaped(self._value[self._position : end].removesuffix(b")")).strip()
            self._position = end
            self._piece(" ")
        elif char == "<":
            if not self._closed:
                self._pieces += self._angle or []
                self._angle = []
        elif char == ">":
            self._closed = self._angle is not None
        elif char == ";" or (char == "," and (self._route_end or not self._begins_with_route())):
            self._end()
            if char == ";" and self._in_group:
                self._found.append(GROUP_END)
                self._in_group = False
        elif char == ":" and self._angle is not None:
            if self._begins_with_route() and not self._route_end:
                self._route_end = len(self._angle)
            self._piece(char)
        elif char == ":":
            if not self._in_group:
                self._found.append(EnvelopeAddress(None, None, _text(self._pieces), None))
                self._in_group = True
            self._clear()
        elif char != ")":
            self._piece(char)

    def _piece(self, piece: _Piece) -> None:
        if not self._closed:
            (self._pieces if self._angle is None else self._angle).append(piece)

    def _begins_with_route(self) -> bool:
        return self._angle is not None and not self._closed and self._angle[:1] == ["@"]

    def _end(self) -> None:
        """What has been read is an address, if it is anything."""
        name, route, pieces = self._comment, b"", self._pieces
        if self._angle is not None:
            name, pieces = _text(self._pieces), self._angle
            if self._route_end:
                route, pieces = _text(pieces[: self._route_end]), pieces[self._route_end + 1 :]
        local, host = pieces, b""
        if "@" in pieces:
            at = pieces.index("@")
            host = _joined(pieces[at + 1 : at + 1 + _run(pieces[at + 1 :])])
            local = pieces[:at]
            if self._angle is None:
                start = at - _run(local[::-1])
                name, local = _text(local[:start]) or name, local[start:]
        is_run = all(piece == " " for piece in local[_run(local) :])
        mailbox = _joined(local) if is_run else _text(local)
        if mailbox or host or (self._angle is not None and name):
            self._found.append(EnvelopeAddress(name or None, route or None, mailbox, host))
        self._clear()


def _run(pieces: list[_Piece]) -> int:
    """How many pieces from the first on are words with dots between them, wherever there is space."""
    length = 0
    wants_word = True
    for number, piece in enumerate(pieces, 1):
        if piece == " ":
            continue
        if piece != "." and (isinstance(piece, str) or not wants_word):
            break
        wants_word = piece == "."
        length = number
    return length


def _joined(pieces: list[_Piece]) -> bytes:
    """A local part or a domain: space in it means nothing."""
    return b"".join(piece.encode() if isinstance(piece, str) else piece for piece in pieces if piece != " ")


def _text(pieces: list[_Piece]) -> bytes:
    """A phrase, with one space where there was any."""
    spaced = [
        piece.encode() if isinstance(piece, str) else piece
        for piece, before in zip(pieces, [" ", *pieces], strict=False)
        if piece != " " or before != " "
    ]
    return b"".join(spaced).rstrip(b" ")
