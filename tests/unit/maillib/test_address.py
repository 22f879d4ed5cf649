"""The one address parser: what it takes, what it refuses, what is the same mailbox."""

import pytest

from maillib.address import Address, normalize_domain
from maillib.errors import AddressError


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("alice@example.test", "alice", "example.test"),
        ("a.b+c-d@Example.TEST.", "a.b+c-d", "example.test"),
        ("user%other!x@example.test", "user%other!x", "example.test"),
        ('"a b"@example.test', '"a b"', "example.test"),
        ('"alice"@example.test', "alice", "example.test"),
        ("jürgen@bücher.test", "jürgen", "xn--bcher-kva.test"),
        ("\U0001f4ee@example.test", "\U0001f4ee", "example.test"),
        ("alice@[127.0.0.1]", "alice", "[127.0.0.1]"),
    ],
)
def test_parts(text: str, local: str, domain: str) -> None:
    """An address has a local part as written, unquoted where quotes mean nothing, and a domain in A-labels."""
    assert Address.parse(text) == Address(local, domain)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "@example.test",
        "alice@",
        "a b@example.test",
        ".a@example.test",
        "a..b@example.test",
        "alice@exa mple.test",
        "alice@-x.test",
        "alice@x..test",
        "alice@example.test@",
        "@a.test:alice@example.test",
        "alice@[1.2.3]",
        '"a"b@example.test',
        "a\x7fb@example.test",
        "a\u0085b@example.test",
        "a\u2028b@example.test",
        "a\ud800b@example.test",
        f"{'a' * 65}@example.test",
        f"{'ü' * 33}@example.test",
        f"alice@{'a' * 64}.test",
    ],
)
def test_no_address(text: str) -> None:
    """What is no address, or holds what some reader takes for a line end, is refused."""
    with pytest.raises(AddressError):
        Address.parse(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice@Example.Test", "alice@example.test"),
        ("ZOË@example.test", "zoe\u0308@example.test"),
        ("x@BÜCHER.test", "x@xn--bcher-kva.test"),
    ],
)
def test_same_mailbox(one: str, other: str) -> None:
    """Addresses are compared without case, in NFC, with domains in A-labels."""
    assert Address.parse(one).key == Address.parse(other).key


def test_domain_without_labels() -> None:
    """A lone dot is no domain."""
    with pytest.raises(AddressError):
        normalize_domain(".")
