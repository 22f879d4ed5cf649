"""Addresses as ENVELOPE has them; odd ones beside Dovecot's are in tests/golden."""

import pytest

from maillib.message.addresses import GROUP_END, MAX_ADDRESSES, EnvelopeAddress, addresses
from maillib.message.envelope import envelope


@pytest.mark.parametrize(
    "usual",
    [
        b"A B <a@b.test>",
        b'"A, (B)" <a@b.test>',
        b"<a.b@c.test>",
        b"a@b.test",
        b"X<a@b.test>,c@d.test ,e@f.test",
        b"\xc3\xa4 <\xc3\xb6@\xc3\xbc.test>",
        b"=?utf-8?q?a=2C?= b/c' <a+b=c@d.test>",
        b'"" <a@b.test>',
    ],
)
def test_the_short_cut_gives_the_same(usual: bytes) -> None:
    """What most addresses look like is read by one expression; behind a comma, token by token, it is the same."""
    assert addresses(b"," + usual) == addresses(usual) != ()


@pytest.mark.parametrize(
    ("value", "mailbox", "host"),
    [
        (b"<a . b @ c . d>", b"a.b", b"c.d"),
        (b"<a b@c>", b"a b", b"c"),
        (b"<@r,@s:a@c>", b"a", b"c"),
        (b"a@[IPv6:::1]", b"a", b"[IPv6:::1]"),
        (b'"a b"@c', b"a b", b"c"),
        (b"<a@b", b"a", b"b"),
    ],
)
def test_odd_addresses(value: bytes, mailbox: bytes, host: bytes) -> None:
    """Space around dots means nothing, a route is put aside, an end may be missing."""
    (found,) = addresses(value)
    assert (found.mailbox, found.host) == (mailbox, host)


def test_a_group_without_end_ends_with_the_field() -> None:
    """What a client reads is always balanced."""
    assert addresses(b"g: a@b, c@d") == (
        EnvelopeAddress(None, None, b"g", None),
        EnvelopeAddress(None, None, b"a", b"b"),
        EnvelopeAddress(None, None, b"c", b"d"),
        GROUP_END,
    )


@pytest.mark.parametrize(
    "piece", [b"a@b,", b"<@a,", b"(", b'"a', b"<", b"a ", b"\\(", b"[", b"a.", b":", b";", b"A <a@b> "]
)
def test_a_header_full_of_anything_takes_no_time(piece: bytes) -> None:
    """A megabyte of the same is read as fast as it is long."""
    addresses(piece * (1_000_000 // len(piece)))


@pytest.mark.parametrize("value", [b"a@b," * 20_000, b"g:" + b"(c) a@b," * 20_000])
def test_no_more_addresses_than_the_limit(value: bytes) -> None:
    """What a stranger's header makes of ENVELOPE is bounded, and groups in it end, in many fields as in one."""
    found = addresses(value)
    assert MAX_ADDRESSES <= len(found) <= MAX_ADDRESSES + 1
    assert found[-1] == (GROUP_END if value.startswith(b"g") else found[0])
    assert len(envelope((b"To: " + value[:50_000] + b"\r\n") * 5).to) < 2 * MAX_ADDRESSES
