"""Reading the header of a stranger's message."""

import pytest

from maillib.address import Address
from maillib.errors import AddressError
from maillib.message.fields import fields, header_length, mailboxes


def test_header_length_however_it_comes() -> None:
    """The empty line is found when it arrives, wherever the pieces are cut."""
    whole = b"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n"
    for cut in range(len(whole)):
        first = header_length(whole[:cut])
        assert first == (12 if cut >= 14 else None)
        if first is None:
            assert header_length(whole, cut) == 12


def test_a_message_may_have_no_header() -> None:
    """An empty first line is the end of an empty header."""
    assert header_length(b"\r\nbody") == 0


def test_fields_are_seen_as_any_reader_would() -> None:
    """Folding stays, names are without case, a space before the colon is taken, other lines are passed over."""
    header = b"A: 1\r\n\tmore\r\nFROM : x\r\nno field\r\n continued\r\nB:\r\n"
    assert list(fields(header)) == [("a", b" 1\r\n\tmore"), ("from", b" x"), ("b", b"")]


def test_many_continuations_take_no_time() -> None:
    """A field of a hundred thousand lines is read as fast as it is long."""
    ((name, value),) = fields(b"A: x" + b"\r\n y" * 100_000)
    assert (name, len(value)) == ("a", 2 + 400_000)


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (b" alice@example.test", ["alice@example.test"]),
        (b" Alice <alice@example.test>", ["alice@example.test"]),
        (b" alice@example.test (Alice (the one), \\) here)", ["alice@example.test"]),
        (b' "a, <b@c.test>; \\"x" <alice@example.test>,\r\n bob@b.test', ["alice@example.test", "bob@b.test"]),
        (b' "a b"@example.test', ['"a b"@example.test']),
        (b" =?utf-8?q?J=C3=BCrgen?= <j@example.test>", ["j@example.test"]),
        ("Jürgen <jürgen@bücher.test>".encode(), ["jürgen@bücher.test"]),
    ],
)  # fmt: skip
def test_mailboxes(value: bytes, addresses: list[str]) -> None:
    """The addresses in From, without names and comments."""
    assert mailboxes(value) == [Address.parse(text) for text in addresses]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" Alice",
        b" <alice@example.test> <bob@example.test>",
        b" <alice@example.test> bob@example.test",
        b" <@a.test:alice@example.test>",
        b" team: alice@example.test;",
        b" alice@example.test,",
        b' "alice@example.test',
        b" alice@example.test (comment",
        b" alice@example.test\0",
        b" " + b"a@b.test," * 10_000,
    ],
)
def test_no_mailboxes(value: bytes) -> None:
    """What two readers might understand differently is refused."""
    with pytest.raises(AddressError):
        mailboxes(value)
