"""PROXY headers and any octets: cuts change nothing, nothing behind a header is taken, nothing but our error comes."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from maillib.errors import PeerError
from maillib.protocols.proxy import HeaderReader, Origin
from tests.support.proxy import SIGNATURE, header_v2, tlv

WORDS = [
    b"PROXY",
    b" ",
    b"TCP4",
    b"TCP6",
    b"UNKNOWN",
    b"192.0.2.7",
    b"::1",
    b"25",
    b"\r\n",
    b"\n",
    SIGNATURE,
    b"\x21\x11",
]
ANY = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([*WORDS, b"\x00\x0c", bytes(12), b"x" * 120]), max_size=15).map(b"".join),
)
CUTS = st.lists(st.integers(0, 10_000))
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(0, 65_535)


def read(pieces: list[bytes]) -> tuple[str, int, Origin | None]:
    """How it ended, the octets taken, and the origin."""
    reader, taken = HeaderReader(), 0
    for piece in pieces:
        try:
            taken += reader.receive(piece)
        except PeerError:
            return "refused", 0, None
        if reader.done:
            return "done", taken, reader.origin
    return "more", taken, None


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(ANY, CUTS)
def test_any_split_reads_the_same(data: bytes, cuts: list[int]) -> None:
    """However the octets arrive, the same of them are taken, with the same result."""
    assert read(pieces_of(data, cuts)) == read([data])


def _v1(source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bytes:
    return f"PROXY TCP{source.version} {source} {source} {port} {port}\r\n".encode()


def _v2(source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, more: bytes) -> bytes:
    family = 0x11 if source.version == 4 else 0x21
    return header_v2(0x21, family, source.packed * 2 + port.to_bytes(2) * 2 + tlv(0x04, more))


@given(ADDRESSES, PORTS, st.binary(max_size=100), st.binary(max_size=100), CUTS, st.booleans())
def test_what_a_balancer_writes_is_read_back(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    more: bytes,
    behind: bytes,
    cuts: list[int],
    old: bool,
) -> None:
    """Address and port of each client come through, whatever follows."""
    header = _v1(source, port) if old else _v2(source, port, more)
    mapped = source.ipv4_mapped if isinstance(source, ipaddress.IPv6Address) else None
    assert read(pieces_of(header + behind, cuts)) == ("done", len(header), Origin(str(mapped or source), port))
