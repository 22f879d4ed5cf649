"""Compressed connections: every octet, at once, and never too many of them."""

import zlib

import pytest

from maillib.errors import PeerError
from maillib.protocols.imap.deflate import PIECE_OCTETS, Deflate


def compressed(data: bytes) -> bytes:
    peer = zlib.compressobj(wbits=-15)
    return peer.compress(data) + peer.flush(zlib.Z_SYNC_FLUSH)


def inflated(deflate: Deflate) -> list[bytes]:
    return list(iter(deflate.next_piece, b""))


def test_each_piece_can_be_read_at_once() -> None:
    """What one call compresses is all in what it returns, and what follows is compressed by what was before."""
    deflate, peer = Deflate(), zlib.decompressobj(-15)
    lengths = []
    for _ in range(3):
        packed = deflate.compress(b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n")
        lengths.append(len(packed))
        assert peer.decompress(packed) == b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n"
    assert lengths[1] < lengths[0]


@pytest.mark.parametrize("octets", [0, 1, PIECE_OCTETS - 1, PIECE_OCTETS, PIECE_OCTETS + 1, 50 * PIECE_OCTETS])
def test_what_comes_is_inflated_in_pieces(octets: int) -> None:
    """Much from little costs memory for one piece only; nothing is lost at the borders, however it arrives."""
    packed = compressed(b"x" * octets)
    whole, bit_by_bit = Deflate(), Deflate()
    whole.receive(packed)
    pieces = inflated(whole)
    assert b"".join(pieces) == b"x" * octets
    assert all(len(piece) <= PIECE_OCTETS for piece in pieces)
    found = b""
    for octet in packed:
        bit_by_bit.receive(bytes([octet]))
        found += b"".join(inflated(bit_by_bit))
    assert found == b"x" * octets


def test_commands_that_come_together() -> None:
    """Later octets join those that nobody has asked for yet."""
    deflate, peer = Deflate(), zlib.compressobj(wbits=-15)
    for line in (b"a NOOP\r\n", b"b NOOP\r\n"):
        deflate.receive(peer.compress(line) + peer.flush(zlib.Z_SYNC_FLUSH))
    assert inflated(deflate) == [b"a NOOP\r\nb NOOP\r\n"]


@pytest.mark.parametrize("octets", [b"a NOOP\r\n", zlib.compress(b"a NOOP\r\n"), b"\x03\x00"])
def test_what_is_not_compressed(octets: bytes) -> None:
    """Clear text, another format, and the end of the stream end the connection."""
    deflate = Deflate()
    deflate.receive(octets + b"\r\n" * 10)
    with pytest.raises(PeerError):
        inflated(deflate)
