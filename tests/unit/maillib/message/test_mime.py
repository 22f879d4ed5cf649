"""The parts of a message: limits, odd ends, and the work it takes."""

from typing import SupportsIndex

import pytest

from maillib.message.mime import MAX_DEPTH, MAX_PARTS, Part, header_end, structure
from maillib.message.sections import Section, section


def multipart(boundary: bytes) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n"


def parts_of(tree: Part) -> list[tuple[int, Part]]:
    """With the depth of each."""
    found, left = list[tuple[int, Part]](), [(0, tree)]
    while left:
        depth, part = left.pop()
        found.append((depth, part))
        left += [(depth + 1, child) for child in (*part.parts, *([part.message] if part.message else []))]
    return found


class Counted(bytes):
    """Counts how many octets are searched."""

    searched = 0

    def find(
        self,
        sub: "bytes | bytearray | memoryview | SupportsIndex",  # type: ignore[override]
        start: SupportsIndex | None = 0,
        end: SupportsIndex | None = None,
    ) -> int:
        found = super().find(sub, start, end)
        last = found if found >= 0 else len(self) if end is None else min(len(self), int(end))
        self.searched += max(0, last - int(start or 0))
        return found


@pytest.mark.parametrize(
    ("octets", "body"),
    [
        (b"", 0),
        (b"\r\n", 2),
        (b"\nx", 1),
        (b"A: b\r\n\r\nx\r\n\r\n", 8),
        (b"A: b\n\nx\r\n\r\n", 6),
        (b"A: b\r\n\nx", 7),
        (b"A: b\r\n\r\n\nx", 8),
        (b"A: b\r\r\n\r\nx", 9),
        (b"A: b\r\n", 6),
        (b"A: b", 4),
        (b"A: b\r\n \r\nx", 10),
    ],
)
def test_where_the_header_ends(octets: bytes, body: int) -> None:
    """Behind the first empty line, whichever line ends there are; a line of space is none."""
    assert header_end(octets) == body == structure(octets).body


def test_a_multipart_deeper_than_the_limit_is_one_opaque_part() -> None:
    """A thousand multiparts within one another are looked into a hundred levels deep; no octet is lost."""
    bomb = b"".join(multipart(b"b%d" % level) + b"--b%d\r\n" % level for level in range(1000))
    deepest, part = max(parts_of(structure(bomb)), key=lambda found: found[0])
    assert (deepest, part.content.media) == (MAX_DEPTH, b"application/octet-stream")
    assert bomb.endswith(bomb[part.start : part.end])
    assert part.end == len(bomb)


def test_messages_deeper_than_the_limit_are_one_opaque_part() -> None:
    """So are messages within messages."""
    bomb = b"Content-Type: message/rfc822\r\n\r\n" * 1000
    deepest, part = max(parts_of(structure(bomb)), key=lambda found: found[0])
    assert (deepest, part.content.media) == (MAX_DEPTH, b"application/octet-stream")


def test_more_parts_than_the_limit_are_one_opaque_part() -> None:
    """The last part that is counted goes to the end, delimiters in it and all."""
    bomb = multipart(b"b") + b"--b\r\n\r\nx\r\n" * (2 * MAX_PARTS) + b"--b--\r\n"
    tree = structure(bomb)
    last = tree.parts[-1]
    assert len(parts_of(tree)) == MAX_PARTS
    assert (last.content.media, last.end) == (b"application/octet-stream", len(bomb))
    assert tree.parts[-2].content.media == b"text/plain"


def test_an_inner_delimiter_right_behind_the_header_may_begin_like_the_outer() -> None:
    """The empty line that ends the header of the inner multipart is not taken for the outer delimiter's line end."""
    message = multipart(b"x") + b"--x\r\n" + multipart(b"xy") + b"--xy\r\n\r\nA\r\n--xy--\r\n--x--\r\n"
    inner = structure(message).parts[0]
    assert message[inner.start : inner.body] == multipart(b"xy")
    assert section(message, Section((1, 1))) == b"A"


@pytest.mark.parametrize(
    "repeated",
    [
        pytest.param(b"\n--", id="two dashes"),
        pytest.param(b"\n--" + b"x" * 59, id="nearly the delimiter"),
        pytest.param(b"--" + b"x" * 60 + b"\r\n" + multipart(b"y" * 60), id="multiparts side by side"),
        pytest.param(b"--" + b"x" * 60 + b"\r\n", id="delimiters"),
        pytest.param(multipart(b"x" * 60) + b"--" + b"x" * 60 + b"\r\n", id="one within the other"),
        pytest.param(b"Content-Type: message/rfc822\r\n\r\n", id="messages"),
        pytest.param(b"A: b\n\n", id="headers"),
    ],
)
def test_twice_the_octets_are_twice_the_work(repeated: bytes) -> None:
    """How far searches go grows as the message does, or less."""
    head = multipart(b"x" * 60)
    short = Counted(head + repeated * 2_000)
    long = Counted(head + repeated * 4_000)
    structure(short), structure(long)
    assert long.searched <= 2.2 * short.searched + len(long)


def test_each_level_searches_the_octets_once() -> None:
    """A hundred boundaries that never come again cost a hundred searches, not one for each line."""
    nested = b"".join(multipart(b"b%d" % level) + b"--b%d\r\n" % level for level in range(MAX_DEPTH - 1))
    message = Counted(nested + b"\n--bb" * 50_000)
    structure(message)
    assert message.searched <= (MAX_DEPTH + 3) * len(message)
