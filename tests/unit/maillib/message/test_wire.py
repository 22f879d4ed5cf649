"""Line ends and dots, on pieces cut anywhere."""

import pytest

from maillib.message.wire import CrlfLines, DotStuffer, whole


def wire(pieces: list[bytes]) -> bytes:
    lines, dots = CrlfLines(), DotStuffer()
    sent = b"".join(dots.feed(lines.feed(piece)) for piece in pieces)
    return sent + dots.feed(lines.finish()) + dots.finish()


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n..\r\n", b"..\r\n...\r\n.\r\n"),
        (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n.\r\n"),
        (b"a.b\r\n", b"a.b\r\n.\r\n"),
        (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r.\rb\r", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r\r\n.\n\r.", b"a\r\n\r\n..\r\n\r\n..\r\n.\r\n"),
    ],
)
def test_any_cut_gives_the_same_wire(message: bytes, sent: bytes) -> None:
    """No reader finds an end of data before ours, wherever the message was cut."""
    for cut in range(len(message) + 1):
        assert wire([message[:cut], message[cut:]]) == sent
    assert wire([message[i : i + 1] for i in range(len(message))]) == sent
    assert whole(message) == sent


def test_clean_octets_are_passed_on_as_they_are() -> None:
    """A piece that needs no change costs no copy."""
    piece = b"Subject: x\r\n\r\nbody\r\n"
    assert CrlfLines().feed(piece) == piece
