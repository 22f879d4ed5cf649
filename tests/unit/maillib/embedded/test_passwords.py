"""What is made of a password."""

import asyncio
import base64
import hashlib
import hmac

import pytest

from maillib.embedded import passwords as passwords_module
from maillib.embedded.passwords import REMEMBER_S, Passwords, saslprep, scram_sha_256
from maillib.errors import Transient


def test_scram_verifier() -> None:
    """The verifier checks the proof of a client that knows the password. RFC 7677 §3, the numbers of its example."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = scram_sha_256("pencil", salt)
    assert verifier.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    stored_key, server_key = (base64.b64decode(part) for part in verifier.rpartition("$")[2].split(":"))
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(stored_key, message, "sha256")
    client_key = bytes(left ^ right for left, right in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key
    expected = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert base64.b64encode(hmac.digest(server_key, message, "sha256")).decode() == expected


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u00ad", "\u00ad"),
        ("ä\u0007", "ä\u0007"),
    ],
)
def test_saslprep(password: str, prepared: str) -> None:
    """Passwords are prepared as clients do; what they may not prepare stays as it is. RFC 4013 §3."""
    assert saslprep(password) == prepared


def test_composition() -> None:
    """A password matches however the keyboard composes its characters."""

    async def main() -> None:
        passwords = Passwords()
        try:
            stored = await passwords.hash("J\u00fcrgen\u00a0 x")
            assert await passwords.matches(stored, "Ju\u0308rgen \u3000x")
            for other in ("Jurgen  x", "j\u00fcrgen  x", "J\u00fcrgen x"):
                assert not await passwords.matches(stored, other)
            assert not await passwords.matches(None, "J\u00fcrgen  x")
        finally:
            await passwords.close()

    asyncio.run(main())


def test_right_password_is_remembered_for_a_while() -> None:
    """A password that matched is recognized until the time is over; no other, none for another hash, no wrong one."""
    now = 0.0

    async def main() -> None:
        nonlocal now
        passwords = Passwords(clock=lambda: now)
        try:
            stored, again = await passwords.hash("secret"), await passwords.hash("secret")
            assert not await passwords.matches(stored, "wrong")
            assert not passwords.remembers(stored, "secret") and not passwords.remembers(stored, "wrong")
            assert await passwords.matches(stored, "secret")
            assert not await passwords.matches(stored, "wrong")
            now = REMEMBER_S - 1
            assert passwords.remembers(stored, "secret")
            assert not passwords.remembers(stored, "wrong") and not passwords.remembers(again, "secret")
            now = REMEMBER_S
            assert not passwords.remembers(stored, "secret")
        finally:
            await passwords.close()

    asyncio.run(main())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room left the oldest goes."""
    monkeypatch.setattr(passwords_module, "_REMEMBERED", 2)

    async def main() -> None:
        passwords = Passwords()
        try:
            kept = [await passwords.hash("secret") for _ in range(3)]
            for stored in kept:
                await passwords.matches(stored, "secret")
            assert [passwords.remembers(stored, "secret") for stored in kept] == [False, True, True]
        finally:
            await passwords.close()

    asyncio.run(main())


def test_nobody_waits_long_for_a_check() -> None:
    """A log-in whose turn comes too late is a temporary error, and costs no hash."""
    seconds = iter(range(0, 1000, 3))

    async def main() -> None:
        passwords = Passwords(clock=lambda: next(seconds))
        try:
            with pytest.raises(Transient):
                await passwords.matches(None, "secret")
        finally:
            await passwords.close()

    asyncio.run(main())


def test_an_account_that_does_not_exist_costs_as_much() -> None:
    """What it is compared with is a hash of the same kind and cost as those that are made today."""
    assert not passwords_module._HASHER.check_needs_rehash(passwords_module._DUMMY)
