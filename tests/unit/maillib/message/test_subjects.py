"""The base subject: what is taken off, and what is not."""

import pytest

from maillib.message.subjects import Subject, subject


@pytest.mark.parametrize(
    ("text", "base", "is_reply"),
    [
        ("", "", False),
        ("plain", "plain", False),
        ("  two \t words ", "two words", False),
        ("re: a", "a", True),
        ("re : a", "a", True),
        ("re:a", "a", True),
        ("fw: fwd: re: a", "a", True),
        ("re[2]: a", "a", True),
        ("re [2] : a", "a", True),
        ("[list] a", "a", False),
        ("[list] re: [list] a", "a", True),
        ("re: [a] [b] c", "c", True),
        ("[list]", "[list]", False),
        ("re: [list]", "[list]", True),
        ("a (fwd)", "a", True),
        ("a (fwd) (fwd) ", "a", True),
        ("(fwd)", "", True),
        ("[fwd: re: a]", "a", True),
        ("[fwd: [fwd: a] (fwd)]", "a", True),
        ("[fwd:]", "", True),
        ("re:", "", True),
        ("real: a", "real: a", False),
        ("fwdx: a", "fwdx: a", False),
        ("[[a]] b", "[[a]] b", False),
    ],
)
def test_base_subject(text: str, base: str, is_reply: bool) -> None:
    """Leaders, trailers, list names and forwards go, in any number and order; a subject of nothing else stays."""
    assert subject(text) == Subject(base, is_reply)


@pytest.mark.parametrize("piece", ["[", "[]", "[x] ", "re:", "(fwd)", "[fwd:", " ", "re [", "]"])
def test_long_subjects_take_no_long_time(piece: str) -> None:
    """A megabyte of anything is cut before it is looked at."""
    assert len(subject(piece * 300_000).base) <= 1000
