"""LIST's wildcards, and names that ask much of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maillib.protocols.imap.patterns import Patterns


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "a/b/c", True),
        ("%", "a", True),
        ("%", "a/b", False),
        ("a/%", "a/b", True),
        ("a/%", "a/b/c", False),
        ("a/%", "a", False),
        ("a%", "a", True),
        ("%/%", "a/b", True),
        ("%*", "a/b", True),
        ("*%c", "a/b/c", True),
        ("a*b%c", "a/x/b/y/c", False),
        ("a*b%c", "a/x/b/y/byc", True),
        ("", "a", False),
        ("", "", True),
        ("Sent", "sent", False),
        ("inbox", "INBOX", True),
        ("iNb%", "INBOX", True),
        ("inbox/%", "INBOX/x", True),
        ("inbox/x", "INBOX/X", False),
        ("inboxes", "INBOXES", False),
        ("ä%", "äö", True),
    ],
)
def test_match(pattern: str, name: str, matches: bool) -> None:
    """`*` is anything, `%` stays within a level; INBOX is the same in any case."""
    assert Patterns([pattern], separator="/").match(name) is matches


def test_any_of_several() -> None:
    """A name that one of the patterns means is meant; what one has matched does not help another."""
    patterns = Patterns(["ab", "c*", "b"], separator="/")
    assert [name for name in ("ab", "b", "cx", "abb", "a", "bc", "abc") if patterns.match(name)] == ["ab", "b", "cx"]


@given(st.lists(st.text("ab/*%", max_size=6), max_size=3), st.text("ab/", max_size=8))
def test_as_a_plain_matcher_says(patterns: list[str], name: str) -> None:
    """The automaton and the obvious way with a regular expression agree."""
    plain = [
        re.fullmatch("".join({"*": ".*", "%": "[^/]*"}.get(character, re.escape(character)) for character in one), name)
        for one in patterns
    ]
    assert Patterns(patterns, separator="/").match(name) == any(plain)


def test_bombs_fizzle() -> None:
    """A pattern that a matcher with backtracking never finishes, and one longer than any name, are nothing special."""
    assert not Patterns(["*a" * 300 + "b"], separator="/").match("a" * 1000)
    assert Patterns(["%a*" * 300, "x" * 60_000], separator="/").match("a" * 1000)
