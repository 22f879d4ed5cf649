"""What a password, and a hash of one, may look like."""

import base64
import binascii
import re
import unicodedata

from maillib.errors import PermanentError

MAX_PASSWORD_OCTETS = 1024
"""No person types more; hashing time does not depend on it, memory for log-ins that wait does."""

_HASH = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,8}),t=([1-9][0-9]{0,8}),p=([1-9][0-9]{0,8})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)

MAX_HASH_MEMORY_KIB = 131_072
MAX_HASH_TIME = 32
MAX_HASH_LANES = 16
"""What a hash made elsewhere may cost to check: a log-in may not take down the worker that checks it."""


def check_password(text: str) -> None:
    """Raises PermanentError that says what is wrong, without the password."""
    if not text:
        raise PermanentError("the password is empty")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise PermanentError("the password holds a control character or is not UTF-8")
    if len(text.encode()) > MAX_PASSWORD_OCTETS:
        raise PermanentError(f"the password has more than {MAX_PASSWORD_OCTETS} octets")


def check_password_hash(text: str) -> None:
    """Argon2id in its encoded form, version 19. RFC 9106. Raises PermanentError that says what is wrong."""
    match = _HASH.fullmatch(text)
    if match is None:
        raise PermanentError("no argon2id hash; allowed: $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH")
    memory_kib, time, lanes = (int(match[group]) for group in (1, 2, 3))
    if memory_kib > MAX_HASH_MEMORY_KIB or time > MAX_HASH_TIME or lanes > MAX_HASH_LANES:
        allowed = f"m={MAX_HASH_MEMORY_KIB},t={MAX_HASH_TIME},p={MAX_HASH_LANES}"
        raise PermanentError(f"the hash costs too much to check at each log-in; allowed: at most {allowed}")
    if memory_kib < 8 * lanes:
        raise PermanentError("the hash has less memory than argon2id allows: 8 KiB a lane (m >= 8 p)")
    if _octets(match[4]) < 8 or _octets(match[5]) < 16:
        raise PermanentError("salt or hash are cut short; allowed: a salt of 8 octets or more, a hash of 16 or more")


def _octets(unpadded: str) -> int:
    """Length of what is encoded; 0 when that is no base64."""
    try:
        return len(base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True))
    except binascii.Error:
        return 0
