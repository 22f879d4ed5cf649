"""Sets of numbers mean what RFC 9051 §9 says, and cost what they are written with, not what they mean."""

import pytest

from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.sequences import LARGEST, STAR, SequenceSet, of_numbers, parse_set


@pytest.mark.parametrize(
    ("text", "star", "ranges"),
    [
        ("2,4:7,9,12:*", 15, [(2, 2), (4, 7), (9, 9), (12, 15)]),
        ("*:4,5:7", 10, [(4, 10)]),
        ("*", 5, [(5, 5)]),
        ("*", 0, []),
        ("1:*", 0, []),
        ("7:*", 5, [(5, 5)]),  # "559:*" always has the last message in it
        ("7", 5, []),
        ("3:1,2,2,4", 9, [(1, 4)]),
        ("1:4294967295", 3, [(1, 3)]),
    ],
)
def test_ranges(text: str, star: int, ranges: list[tuple[int, int]]) -> None:
    """In order, each number once, and none that is not there."""
    found = parse_set(text.encode()).ranges(star)
    assert [(one.start, one.stop - 1) for one in found] == ranges


def test_beyond_what_is_there() -> None:
    """UIDs that were are asked for, too, by what a client knows of vanished ones."""
    assert parse_set(b"3:*,9").ranges(5, 20) == (range(3, 6), range(9, 10))


@pytest.mark.parametrize("text", ["", "0", "1,", ",1", "1:", ":1", "1:2:3", "4294967296", "1:0", "-1", "$", "a", "1 2"])
def test_no_sets(text: str) -> None:
    """Zero, numbers that are too large, and empty places are refused."""
    with pytest.raises(Malformed):
        parse_set(text.encode())


def test_many_numbers_are_few_intervals() -> None:
    """Numbers become the shortest set; the largest there is is one, and `*` is written back."""
    assert str(of_numbers([1, 2, 3, 7, LARGEST])) == "1:3,7,4294967295"
    assert str(SequenceSet(((1, STAR), (STAR, STAR)))) == "1:*,*"
    assert len(parse_set(b"1:4294967295").ranges(LARGEST)) == 1
