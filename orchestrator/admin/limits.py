"""What values of accounts may be, whether they come from accounts.yaml or from the command line."""

import typing
from typing import Literal

from maillib.address import has_controls
from maillib.errors import PermanentError

LoginProtocol = Literal["smtp", "imap", "pop", "ldap"]
LOGIN_PROTOCOLS: tuple[str, ...] = typing.get_args(LoginProtocol)
"""Protocols that an account may log in with."""

MAX_NAME_CHARACTERS = 200
"""Fits a header line with an address beside it. RFC 5322 §2.1.1."""

MAX_QUOTA_OCTETS = 1 << 60
"""Fits the store's 64 bits with room for sums."""


MAX_KEEP_DAYS = 3650
MIN_INTERVAL_S = 30
"""Between two looks at a server of others."""
MAX_INTERVAL_S = 7 * 86_400

_MAX_FOLDER_OCTETS = 1000


def check_name(text: str) -> None:
    """Raises PermanentError that says what is wrong with a person's name; what is allowed."""
    check_line(text, "the name")


def check_line(text: str, what: str, *, is_required: bool = False) -> None:
    """`what` names the text. Raises PermanentError."""
    if is_required and not text.strip():
        raise PermanentError(f"{what} is empty; allowed: one line of text")
    if len(text) > MAX_NAME_CHARACTERS:
        raise PermanentError(f"{what} has {len(text)} characters; allowed: at most {MAX_NAME_CHARACTERS}")
    if has_controls(text):
        raise PermanentError(f"{what} holds a control character; allowed: one line of text")


def check_folder(text: str) -> None:
    """A mailbox by its name. Raises PermanentError."""
    levels = text.split("/")
    if not all(levels) or not text.isprintable() or len(text.encode()) > _MAX_FOLDER_OCTETS:
        raise PermanentError(f"{text!r} is no mailbox; allowed: INBOX, or names with / between them")


def check_quota(octets: int) -> None:
    """Raises PermanentError."""
    if not 1 <= octets <= MAX_QUOTA_OCTETS:
        raise PermanentError(f"a quota of {octets} octets is out of range; allowed: 1 to {MAX_QUOTA_OCTETS}")


def check_keep_days(days: int) -> None:
    """Raises PermanentError."""
    if not 1 <= days <= MAX_KEEP_DAYS:
        raise PermanentError(f"{days} days are out of range; allowed: false, true, or 1d to {MAX_KEEP_DAYS}d")


def check_interval(seconds: int) -> None:
    """Raises PermanentError."""
    if not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        raise PermanentError(f"{seconds} s is out of range; allowed: {MIN_INTERVAL_S}s to {MAX_INTERVAL_S // 86_400}d")


def check_message_size(octets: int) -> None:
    """Raises PermanentError."""
    if not 1 <= octets <= MAX_QUOTA_OCTETS:
        raise PermanentError(f"{octets} octets are out of range; allowed: 1 to {MAX_QUOTA_OCTETS}")
