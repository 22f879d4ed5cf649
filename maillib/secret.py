"""References to secrets: where a password or key is, never what it is.

A secret is read at the moment it is needed, and kept nowhere: not in a plan, a generation, a log or a command line.
"""

import os
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from maillib.errors import MailError

MAX_OCTETS = 65_536
"""More than any password, key or token; a wrong path (a disk image, /dev/zero) fails instead of filling memory."""


Source = Literal["env", "file", "credential"]
SOURCES: tuple[Source, ...] = typing.get_args(Source)


class SecretUnreadable(MailError):
    """A secret is not where its reference says, or is no text."""


@dataclass(frozen=True, slots=True)
class SecretRef:
    """One of `{env: NAME}`, `{file: PATH}`, `{credential: NAME}`."""

    source: Source
    name: str
    """Variable, absolute path, or name of a file in the service manager's $CREDENTIALS_DIRECTORY."""

    @classmethod
    def parse(cls, text: str) -> "SecretRef":
        """Reads what `str` makes of it. Raises ValueError."""
        found, _, name = text.partition(" ")
        for source in SOURCES:
            if source == found:
                return cls(source, name)
        raise ValueError(f"{text!r} is no reference to a secret")

    def __str__(self) -> str:
        return f"{self.source} {self.name}"

    def read(self) -> str:
        """The secret; of a file, one trailing line end is dropped and all else counts. Blocks on the file system.

        Raises SecretUnreadable; its text names the reference, never the content.
        """
        match self.source:
            case "env":
                value = os.environ.get(self.name)
                if value is None:
                    raise SecretUnreadable(f"{self}: the environment has no such variable")
                return value
            case "file":
                return self._file(Path(self.name))
            case "credential":
                folder = os.environ.get("CREDENTIALS_DIRECTORY")
                if folder is None:
                    raise SecretUnreadable(f"{self}: CREDENTIALS_DIRECTORY is not set")
                return self._file(Path(folder) / self.name)

    def _file(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return read_secret(file, str(self))
        except OSError as error:
            raise SecretUnreadable(f"{self} cannot be read: {error.strerror}") from None


def read_secret(file: BinaryIO, name: str) -> str:
    """The secret in `file`, without one trailing line end; errors call it `name`. Raises SecretUnreadable, OSError."""
    data = file.read(MAX_OCTETS + 1)
    if len(data) > MAX_OCTETS:
        raise SecretUnreadable(f"{name} is larger than {MAX_OCTETS} octets")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise SecretUnreadable(f"{name} is not UTF-8") from None
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
