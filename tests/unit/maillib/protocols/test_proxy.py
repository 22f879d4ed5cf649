"""Headers of the PROXY protocol: the specification's own examples, what balancers send, and what nobody may send."""

import pytest

from maillib.errors import PeerError
from maillib.protocols.proxy import MAX_V1_OCTETS, MAX_V2_OCTETS, HeaderReader, Origin, crc32c
from tests.support.proxy import header_v2, tlv

V4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + (56324).to_bytes(2) + (25).to_bytes(2)
V6 = bytes.fromhex("20010db8000000000000000000000007" + "20010db8000000000000000000000001") + bytes([220, 4, 0, 25])
MAPPED = bytes(10) + b"\xff\xff" + V4[:4] + V6[16:]
UNIX = bytes(216)

ACCEPTED = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n", Origin("192.0.2.7", 56324)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Origin("255.255.255.255", 65535)),
    (b"PROXY TCP6 2001:DB8::7 2001:db8:0:0::1 0 25\r\n", Origin("2001:db8::7", 0)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", Origin("192.0.2.7", 1)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", None),
    (b"PROXY UNKNOWN anything \0 goes\r\n", None),
    (header_v2(0x21, 0x11, V4), Origin("192.0.2.7", 56324)),
    (header_v2(0x21, 0x21, V6), Origin("2001:db8::7", 56324)),
    (header_v2(0x21, 0x21, MAPPED), Origin("192.0.2.7", 56324)),
    (header_v2(0x21, 0x31, UNIX), None),
    (header_v2(0x21, 0x00, b""), None),
    (header_v2(0x20, 0x00, b""), None),
    (header_v2(0x20, 0x11, V4), None),
    (header_v2(0x20, 0xFF, b"whatever it is"), None),
    (header_v2(0x21, 0x11, V4 + tlv(0x02, b"mail.example.test") + tlv(0xE0, b"")), Origin("192.0.2.7", 56324)),
    (header_v2(0x21, 0x11, V4 + tlv(0x05, b"id") + tlv(0x03, bytes(4)), checksum=True), Origin("192.0.2.7", 56324)),
    (header_v2(0x21, 0x11, V4 + tlv(0x04, bytes(MAX_V2_OCTETS - 16 - 15))), Origin("192.0.2.7", 56324)),
]

REFUSED = [
    b"EHLO client.example.test\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 56324 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25 \r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 56324 25\r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 56324 25\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 56324 25\r\n",
    b"PROXY TCP4 192.0.2.7 client.test 56324 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 025 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 \r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 \xef\xbc\x91:: ::1 1 2\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY UNKNOWN" + bytes(MAX_V1_OCTETS),
    header_v2(0x11, 0x11, V4),
    header_v2(0x22, 0x11, V4),
    header_v2(0x21, 0x12, V4),
    header_v2(0x21, 0x41, V4),
    header_v2(0x21, 0x11, V4[:-1]),
    header_v2(0x21, 0x21, V4),
    header_v2(0x21, 0x31, UNIX[:-1]),
    header_v2(0x21, 0x11, V4 + b"\x04"),
    header_v2(0x21, 0x11, V4 + b"\x04\x00\x02x"),
    header_v2(0x21, 0x11, V4 + tlv(0x03, b"\x01\x02\x03\x04")),
    header_v2(0x21, 0x11, V4 + tlv(0x03, b"")),
    header_v2(0x21, 0x11, V4 + tlv(0x04, bytes(MAX_V2_OCTETS))),
]


@pytest.mark.parametrize(("header", "origin"), ACCEPTED)
def test_a_header_tells_the_origin_and_ends_where_it_ends(header: bytes, origin: Origin | None) -> None:
    """The address is the client's, and nothing behind the header is taken."""
    reader = HeaderReader()
    assert (reader.receive(header + b"EHLO client.example.test\r\n"), reader.done) == (len(header), True)
    assert reader.origin == origin


@pytest.mark.parametrize("octets", REFUSED)
def test_what_is_no_header_is_refused(octets: bytes) -> None:
    """Nothing is guessed: neither what is malformed, nor what is too long, nor what is of another kind."""
    with pytest.raises(PeerError):
        HeaderReader().receive(octets)


def test_the_checksum_is_castagnolis() -> None:
    """The value that everybody's test has for it."""
    assert crc32c(b"123456789") == 0xE3069283
