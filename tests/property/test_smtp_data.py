"""The decoder of SMTP's data, for any octets cut anywhere."""

from hypothesis import given
from hypothesis import strategies as st

from maillib.message.wire import DotStuffer
from maillib.protocols.smtp_data import DataDecoder

PIECES = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"x", b"\0", b"\r\n.\r\n"]), max_size=30)


def decode(pieces: list[bytes]) -> tuple[bytes, bytes | None, bool]:
    decoder = DataDecoder()
    content, rest = b"", None
    for number, piece in enumerate(pieces):
        part, rest = decoder.feed(piece)
        content += part
        if rest is not None:
            return content, rest + b"".join(pieces[number + 1 :]), decoder.has_bare_line_end
    return content, None, decoder.has_bare_line_end


@given(PIECES)
def test_pieces_do_not_matter(pieces: list[bytes]) -> None:
    """The same octets give the same message, the same end and the same verdict, whole or octet by octet."""
    wire = b"".join(pieces) + b"\r\n.\r\n"
    whole = decode([wire])
    assert decode([bytes([octet]) for octet in wire]) == whole
    assert decode([*pieces, b"\r\n.\r\n"]) == whole


@given(PIECES)
def test_undoes_stuffing(pieces: list[bytes]) -> None:
    """What was stuffed for the wire comes back, and what follows it is left alone."""
    message = b"".join(pieces)
    stuffer = DotStuffer()
    wire = stuffer.feed(message) + stuffer.finish() + b"NOOP\r\n"
    ended = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    lone = message.replace(b"\r\n", b"")
    content, rest, bare = decode([wire])
    if b"\r" in lone or b"\n" in lone:
        assert bare
    else:
        assert (content, rest, bare) == (ended, b"NOOP\r\n", False)


def test_empty_message() -> None:
    """A dot at once is a message without octets."""
    assert decode([b".\r\n"]) == (b"", b"", False)


def test_dots() -> None:
    """One dot at the start of a line is taken away, no other."""
    assert decode([b"..a.\r\n...\r\n.b\r\n.\r\n"]) == (b".a.\r\n..\r\nb\r\n", b"", False)
