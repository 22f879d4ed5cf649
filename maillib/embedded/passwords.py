"""Passwords: hashed with argon2id, checked in a bounded number of threads.

Guarantees: checking takes about 20 ms and 19 MiB whether the account exists or not; at most `_AT_ONCE` checks run in
one process and at most `_WAITING` wait, none longer than LONGEST_WAIT_S: whoever comes then is told to try again. Only
a password that was right is recognized without hashing, for REMEMBER_S and as long as the stored hash stays the same;
what is remembered of it is a digest with a key that this process alone has, and never leaves memory. A SCRAM-SHA-256
verifier is made wherever the clear password is seen, so that the mechanism can be offered later without new passwords.

Leaves to others: where hashes are kept (`directory_tables`), which passwords are acceptable (`ports.credentials`).
"""

import base64
import hashlib
import hmac
import secrets
import stringprep
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from maillib.embedded.threads import Threads
from maillib.errors import Transient
from maillib.ports.credentials import MAX_PASSWORD_OCTETS
from maillib.ports.directory import StoredPassword

_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)
"""The second of OWASP's equal choices for argon2id: 19 MiB, about 20 ms."""

_DUMMY = "$argon2id$v=19$m=19456,t=2,p=1$sAY33ono/qLFLQnYmEGSYg$w1qYjpk9OoRrOEB4DjHANHMuj9UcGSM+Z9JTmRnhmTk"
"""What the password of an account that does not exist is compared with: the hash of 32 random octets that nobody kept,
as `_HASHER` makes them. Written out, since to make one at each start costs every program 20 ms and 19 MiB."""

_AT_ONCE = 2
"""Each takes a processor for itself and 19 MiB of a worker's 512."""
_WAITING = 128
"""At 20 ms each, two at once: who comes last waits 1.3 s."""
LONGEST_WAIT_S = 1.5
"""For its turn, on a machine that is busy with more than this."""

REMEMBER_S = 600.0
"""From the time it was hashed: a client that asks for mail each minute costs a hash in ten of them."""
_REMEMBERED = 10_000
"""A few hundred octets each."""

_SCRAM_ITERATIONS = 4096
"""The least that RFC 7677 §4 allows: every client has to do them, too."""


@dataclass(frozen=True, slots=True)
class _Recent:
    """A password that was right."""

    digest: bytes = field(repr=False)
    until: float


class Passwords:
    """Hashing off the event loop; one object per process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._threads = Threads("passwords", _AT_ONCE)
        self._pending = 0
        self._key = secrets.token_bytes(32)
        self._recent: OrderedDict[str, _Recent] = OrderedDict()
        """By the hash that it matched, which another password, or the same one set again, does not have."""

    async def hash(self, password: str) -> StoredPassword:
        """For an administrator: waits for its turn."""
        return await self._threads.run(_hash, password)

    async def matches(self, stored: StoredPassword | None, password: str) -> bool:
        """None: takes as long as for an account with a password, and is false. Raises Transient."""
        if self._pending >= _AT_ONCE + _WAITING:
            raise Transient("too many log-ins wait for their passwords to be checked")
        self._pending += 1
        try:
            matched = await self._threads.run(self._matches, stored, password, self._clock() + LONGEST_WAIT_S)
        finally:
            self._pending -= 1
        if matched and stored is not None:
            self._recent[stored.argon2id] = _Recent(self._digest(stored, password), self._clock() + REMEMBER_S)
            self._recent.move_to_end(stored.argon2id)
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        return matched

    def remembers(self, stored: StoredPassword, password: str) -> bool:
        """Whether it has matched lately; False says nothing."""
        recent = self._recent.get(stored.argon2id)
        if recent is None:
            return False
        if recent.until <= self._clock():
            del self._recent[stored.argon2id]
            return False
        return hmac.compare_digest(recent.digest, self._digest(stored, password))

    def _digest(self, stored: StoredPassword, password: str) -> bytes:
        seen = f"{stored.argon2id}\0{password}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(seen, digest_size=32, key=self._key).digest()

    def _matches(self, stored: StoredPassword | None, password: str, latest: float) -> bool:
        if self._clock() > latest:
            raise Transient(f"a log-in has waited {LONGEST_WAIT_S:g} s for its password to be checked")
        return _matches(stored, password)

    async def close(self) -> None:
        """Idempotent."""
        await self._threads.close()


def is_outdated(stored: StoredPassword) -> bool:
    """Whether the clear password, now that it is seen, is worth hashing again."""
    return stored.scram_sha_256 is None or _HASHER.check_needs_rehash(stored.argon2id)


def _hash(password: str) -> StoredPassword:
    return StoredPassword(_HASHER.hash(_normalized(password)), scram_sha_256(password, secrets.token_bytes(16)))


def _matches(stored: StoredPassword | None, password: str) -> bool:
    """Raises Transient when the hash could not be computed, for want of memory say: that is no wrong password."""
    too_long = len(password) > MAX_PASSWORD_OCTETS
    compared = _DUMMY if stored is None else stored.argon2id
    try:
        _HASHER.verify(compared, "" if too_long else _normalized(password))
    except (VerifyMismatchError, InvalidHashError):
        return False
    except VerificationError as error:
        raise Transient(f"a password could not be checked: {error}") from None
    return stored is not None and not too_long


def _normalized(password: str) -> bytes:
    """One form for what different keyboards compose differently: spaces are spaces, and NFC. RFC 8265 §4.2.2."""
    if not password.isascii():
        spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
        password = unicodedata.normalize("NFC", spaced)
    return password.encode("utf-8", "surrogatepass")


def scram_sha_256(password: str, salt: bytes) -> str:
    """The verifier as `StoredPassword` keeps it. RFC 5802 §3, RFC 7677."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password).encode(), salt, _SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"


def saslprep(password: str) -> str:
    """As a SCRAM client prepares it. RFC 4013; what that prohibits stays as it is, as clients do."""
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    return password if any(_prohibited(char) for char in prepared) or not prepared else prepared


def _prohibited(char: str) -> bool:
    """RFC 4013 §2.3 and §2.5."""
    tables = (
        stringprep.in_table_a1,
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    return any(table(char) for table in tables)
