"""References to secrets: does each lead to a secret that can be used and that only its owner can read?"""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from maillib.errors import MailError
from maillib.secret import SecretRef, SecretUnreadable
from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.problems import Where

MISSING = Kind(
    "secret-missing",
    Severity.ERROR,
    "A secret is not where its reference says, or cannot be read as text.",
    "put it there, readable for who applies",
)
EMPTY = Kind(
    "secret-empty",
    Severity.ERROR,
    "A secret is there and empty.",
    "write the secret into it",
)
UNUSABLE = Kind(
    "secret-unusable",
    Severity.ERROR,
    "A secret is there and cannot be used for what it is meant for.",
    "write another one",
)
OPEN = Kind(
    "secret-open",
    Severity.WARNING,
    "A file with a secret can be read or written by everybody on this host.",
    "chmod 0600",
)


def find(where: Where, ref: SecretRef, usable: Callable[[str], None] | None) -> Iterator[Finding]:
    """`usable` raises MailError for a secret that does not do for its purpose; None: any does."""
    try:
        text = ref.read()
    except SecretUnreadable as error:
        yield MISSING.at(where, str(error))
        return
    if not text:
        yield EMPTY.at(where, f"{ref} is empty")
        return
    try:
        if usable is not None:
            usable(text)
    except MailError as error:
        yield UNUSABLE.at(where, f"{ref}: {error}")
    if ref.source == "file":
        mode = stat.S_IMODE(Path(ref.name).stat().st_mode)
        if mode & 0o007:
            yield OPEN.at(where, f"everybody may read or write {ref.name} (mode {mode:04o})", f"chmod 0600 {ref.name}")
