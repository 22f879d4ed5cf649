"""SASL mechanisms with a password, server side, without I/O. RFC 4422, RFC 4616; LOGIN never became one.

An exchange is asked for its next step with what the client said; the words around it are the protocol's.
"""

import base64
import binascii
from dataclasses import dataclass, field

from maillib.address import Address
from maillib.errors import AddressError, PeerError


class Malformed(PeerError):
    """What the client sent is no base64, or no message of the mechanism."""


@dataclass(frozen=True, slots=True)
class Credentials:
    login: str
    password: str = field(repr=False)
    acts_as: str
    """The authorization identity; empty: the one who logs in."""

    @property
    def acts_for_another(self) -> bool:
        """Both are names of the same form, so they are compared as mail addresses are. RFC 4616 §2."""
        return self.acts_as not in ("", self.login) and _key(self.acts_as) != _key(self.login)


class Plain:
    """One message that says all. RFC 4616 §2."""

    def step(self, response: bytes | None) -> Credentials | bytes:
        """A challenge to send, or the end. `response`: None at the start when the command brought none."""
        if response is None:
            return b""
        acts_as, login, password = _split(response)
        return Credentials(login, password, acts_as)


class Login:
    """Asks for the name, then for the password."""

    def __init__(self) -> None:
        self._login: str | None = None

    def step(self, response: bytes | None) -> Credentials | bytes:
        if response is None:
            return b"Username:"
        if self._login is None:
            self._login = _text(response)
            return b"Password:"
        return Credentials(self._login, _text(response), "")


MECHANISMS: dict[str, type[Plain] | type[Login]] = {"PLAIN": Plain, "LOGIN": Login}


def decode_base64(text: bytes) -> bytes:
    """What has exactly this encoding: no space, no padding too much, no bits that mean nothing. RFC 4648 §3.5.

    Raises Malformed.
    """
    try:
        octets = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise Malformed("that is not base64") from None
    if base64.b64encode(octets) != text:
        raise Malformed("that is not the base64 of anything")
    return octets


def _key(name: str) -> str:
    try:
        return Address.parse(name).key
    except AddressError:
        return name


def _split(message: bytes) -> list[str]:
    parts = _text(message).split("\0")
    if len(parts) != 3:
        raise Malformed("a PLAIN message has three parts")
    return parts


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Malformed("that is not UTF-8") from None
