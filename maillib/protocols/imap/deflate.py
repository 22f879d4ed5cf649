"""Both directions of a compressed connection. RFC 4978, RFC 1951.

Guarantees: what was compressed can be read by the peer at once; what comes in is inflated in pieces of a bounded size,
however much it may become. A connection costs about 64 KiB to write to, and 40 KiB to read from.
"""

import zlib

from maillib.errors import PeerError

_LEVEL = 3
"""Less than half of the time of level 6, for a twentieth more octets: of mail, in pieces of 32 KiB."""
_OUR_WINDOW = -13
"""8 KiB, without a header. What a peer may use is 32 KiB, whatever we do."""
_OUR_MEMORY = 6
_LARGEST_WINDOW = -15

PIECE_OCTETS = 16 * 1024


class Deflate:
    """One for each connection, from the answer to COMPRESS on."""

    __slots__ = ("_compressor", "_decompressor", "_has_more", "_received")

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _OUR_WINDOW, _OUR_MEMORY)
        self._decompressor = zlib.decompressobj(_LARGEST_WINDOW)
        self._received = b""
        self._has_more = False
        """Of what was received, all but the last piece may still be inside of the decompressor."""

    def compress(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def receive(self, data: bytes) -> None:
        self._received += data

    def next_piece(self) -> bytes:
        """The next of what was received, at most PIECE_OCTETS; empty: there is no more.

        Raises PeerError for what is not compressed, and at the end of what is.
        """
        if not self._received and not self._has_more:
            return b""
        try:
            piece = self._decompressor.decompress(self._received, PIECE_OCTETS)
        except zlib.error:
            raise PeerError("not compressed") from None
        if self._decompressor.eof:
            raise PeerError("end of compression")
        self._received = self._decompressor.unconsumed_tail
        self._has_more = len(piece) == PIECE_OCTETS
        return piece
