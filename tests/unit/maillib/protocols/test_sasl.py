"""SASL exchanges without a protocol around them."""

import pytest

from maillib.protocols.sasl import Credentials, Login, Malformed, Plain, decode_base64


def test_plain() -> None:
    """One message, at once or after an empty challenge; who is acted for is told."""
    assert Plain().step(None) == b""
    assert Plain().step(b"\0alice\0s e\tcret") == Credentials("alice", "s e\tcret", "")
    assert not Credentials("alice", "x", "alice").acts_for_another
    assert Credentials("alice", "x", "bob").acts_for_another
    assert not Credentials("alice@example.test", "x", "ALICE@Example.Test.").acts_for_another
    assert Credentials("alice@example.test", "x", "alice@elsewhere.test").acts_for_another
    assert Credentials("alice@example.test", "x", "alice").acts_for_another


def test_login() -> None:
    """Name, then password."""
    exchange = Login()
    assert exchange.step(None) == b"Username:"
    assert exchange.step("zoë".encode()) == b"Password:"
    assert exchange.step(b"secret") == Credentials("zoë", "secret", "")


def test_passwords_are_not_shown() -> None:
    """A password is in no text that may be logged."""
    assert "secret" not in repr(Credentials("alice", "secret", ""))


@pytest.mark.parametrize("message", [b"", b"alice", b"\0alice", b"\0a\0b\0c", b"\0alice\0\xff"])
def test_malformed_plain(message: bytes) -> None:
    """What has not three parts in UTF-8 is no PLAIN message."""
    with pytest.raises(Malformed):
        Plain().step(message)


@pytest.mark.parametrize("text", [b"!", b"AA=A", b"A", b"AA==\n", b"\xff", b"AAAA==", b"AB==", b"AA", b" AA=="])
def test_malformed_base64(text: bytes) -> None:
    """Only base64 is decoded, without anything between or behind, and in the one way to write it."""
    with pytest.raises(Malformed):
        decode_base64(text)
