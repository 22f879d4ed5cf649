"""What values of accounts may be, whether they come from accounts.yaml or from the command line."""

import typing
import unicodedata
from typing import Literal

from maillib.errors import PermanentError

LoginProtocol = Literal["smtp", "pop"]
LOGIN_PROTOCOLS: tuple[str, ...] = typing.get_args(LoginProtocol)
"""Protocols that an account may log in with."""

MAX_NAME_CHARACTERS = 200
"""Fits a header line with an address beside it. RFC 5322 §2.1.1."""

MAX_QUOTA_OCTETS = 1 << 60
"""Fits the store's 64 bits with room for sums."""


def check_name(text: str) -> None:
    """Raises PermanentError that says what is wrong with a person's name; what is allowed."""
    if len(text) > MAX_NAME_CHARACTERS:
        raise PermanentError(f"the name has {len(text)} characters; allowed: at most {MAX_NAME_CHARACTERS}")
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text):
        raise PermanentError("the name holds a control character; allowed: one line of text")


def check_quota(octets: int) -> None:
    """Raises PermanentError."""
    if not 1 <= octets <= MAX_QUOTA_OCTETS:
        raise PermanentError(f"a quota of {octets} octets is out of range; allowed: 1 to {MAX_QUOTA_OCTETS}")
