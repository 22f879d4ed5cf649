"""The PROXY protocol, versions 1 and 2, as a server reads it: who a balancer connects for, said before anything else.

The specification is HAProxy's (proxy-protocol.txt); sections below are its. Whom to believe is for others to say
(`runtime/arrival`).

Guarantees: not one octet behind the header is taken; nothing longer than MAX_V2_OCTETS is kept; every octet of a header
that matters is checked, and what is not right is refused, never guessed. A checksum (CRC32C) is verified where there is
one, all other TLVs are skipped: also what they say of TLS between client and balancer, which does not protect what goes
from the balancer to us.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from maillib.errors import PeerError

MAX_V1_OCTETS = 107
"""With CRLF: the longest line of version 1 that there can be. §2.1."""

MAX_V2_OCTETS = 16 + 2048
"""Addresses, and TLVs as balancers send them: unique IDs, names of certificates."""

_V1_START = b"PROXY "
_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_START_OCTETS = 16

_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")

_LOCAL = 0x20
_PROXY = 0x21
_UNSPEC = 0x00
_TCP4 = 0x11
_TCP6 = 0x21
_UNIX = 0x31
"""Versions with commands, and families with transports. §2.2. What carries datagrams has no business here."""

_ADDRESS_OCTETS = {_TCP4: 12, _TCP6: 36, _UNIX: 216}

_CRC32C = 0x03
"""Type of the TLV that holds the checksum. §2.2.3."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection began, as the balancer saw it."""

    host: str
    """IPv4 or IPv6 address in its shortest form; IPv4 also where it came in IPv6 form."""
    port: int


class HeaderReader:
    """Takes the header of one connection."""

    def __init__(self) -> None:
        self._received = b""
        self.done = False
        self.origin: Origin | None = None
        """When done: None if the balancer speaks for itself (its health check), or knows no IP address."""

    def receive(self, data: bytes) -> int:
        """How many octets from the beginning of `data` on belong to the header: all, while it is not whole.

        Raises PeerError when this is no header.
        """
        before = len(self._received)
        seen = self._received + data[: MAX_V2_OCTETS - before]
        length = _length(seen)
        if length is None or length > len(seen):
            self._received = seen
            return len(data)
        header = seen[:length]
        self.origin = _parse_v1(header) if header.startswith(_V1_START) else _parse_v2(header)
        self.done = True
        return length - before


def _length(seen: bytes) -> int | None:
    """Octets of the header that begins with `seen`; None: not known yet."""
    if seen[: len(_V2_SIGNATURE)] == _V2_SIGNATURE[: len(seen)]:
        if len(seen) < _V2_START_OCTETS:
            return None
        length = _V2_START_OCTETS + int.from_bytes(seen[14:16])
        if length > MAX_V2_OCTETS:
            raise PeerError("a PROXY header that is too long")
        return length
    if seen[: len(_V1_START)] != _V1_START[: len(seen)]:
        raise PeerError("no PROXY header")
    end = seen.find(b"\n", 0, MAX_V1_OCTETS) + 1
    if not end and len(seen) >= MAX_V1_OCTETS:
        raise PeerError("a PROXY line that is too long")
    return end or None


def _parse_v1(line: bytes) -> Origin | None:
    """§2.1: behind UNKNOWN anything may stand, and means nothing."""
    if line.endswith(b"\r\n"):
        match line[:-2].split(b" "):
            case [_, b"UNKNOWN", *_]:
                return None
            case [_, b"TCP4" | b"TCP6" as family, source, destination, port, destination_port]:
                version = int(family[-1:])
                _v1_origin(version, destination, destination_port)
                return _v1_origin(version, source, port)
    raise PeerError("a malformed PROXY line")


def _v1_origin(version: int, host: bytes, port: bytes) -> Origin:
    try:
        address = ipaddress.ip_address(host.decode("ascii"))
    except ValueError:
        raise PeerError("a PROXY line without IP address") from None
    if address.version != version or b"%" in host:
        raise PeerError("a PROXY line with an address of the wrong family")
    if not _PORT.fullmatch(port) or int(port) > 65_535:
        raise PeerError("a PROXY line without port")
    return _origin(address, int(port))


def _parse_v2(header: bytes) -> Origin | None:
    """§2.2: of LOCAL, and where the family is not told, nothing else counts."""
    command, family = header[12], header[13]
    if command not in (_LOCAL, _PROXY):
        raise PeerError("a PROXY header of an unknown version or command")
    if command == _LOCAL or family == _UNSPEC:
        return None
    octets = _ADDRESS_OCTETS.get(family)
    if octets is None or len(header) < _V2_START_OCTETS + octets:
        raise PeerError("a PROXY header of an unknown family, or without its addresses")
    _check_tlvs(header, _V2_START_OCTETS + octets)
    addresses = header[_V2_START_OCTETS : _V2_START_OCTETS + octets]
    if family == _TCP4:
        return _origin(ipaddress.IPv4Address(addresses[:4]), int.from_bytes(addresses[8:10]))
    if family == _TCP6:
        return _origin(ipaddress.IPv6Address(addresses[:16]), int.from_bytes(addresses[32:34]))
    return None


def _check_tlvs(header: bytes, start: int) -> None:
    """§2.2: each is whole; the checksum, if there is one, is right."""
    for kind, begin, end in _tlvs(header, start):
        if kind == _CRC32C:
            blank = header[:begin] + bytes(end - begin) + header[end:]
            if header[begin:end] != crc32c(blank).to_bytes(4):
                raise PeerError("a PROXY header with a wrong checksum")


def _tlvs(header: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Type, begin and end of the value of each."""
    while start < len(header):
        begin = start + 3
        end = begin + int.from_bytes(header[start + 1 : begin])
        if begin > len(header) or end > len(header):
            raise PeerError("a PROXY header with a TLV cut short")
        yield header[start], begin, end
        start = end


def _origin(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> Origin:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return Origin(str(mapped or address), port)


def crc32c(data: bytes) -> int:
    """Castagnoli's, as SCTP and iSCSI have it."""
    table = _crc32c_table()
    register = 0xFFFFFFFF
    for octet in data:
        register = table[(register ^ octet) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


@cache
def _crc32c_table() -> tuple[int, ...]:
    def entry(number: int) -> int:
        for _ in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
        return number

    return tuple(map(entry, range(256)))
