"""What is wrong with a file that a person wrote: places, and the error that carries all of them.

Each problem is one line, `file:line:column: path: what is wrong; what is allowed; nearest known key`, whatever the
file holds: values and keys are shown escaped and shortened.
"""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from maillib.errors import MailError

Where = tuple[str | int, ...]
"""Keys and list indexes from the top of a file down to one value."""

MAX_PROBLEMS = 500
"""More than anybody reads: a file that is wrong in each of 100,000 places is given up here, in a second."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_@.+-]{1,80}")
_SHOWN_CHARACTERS = 60
_HINT_CHARACTERS = 60
_HINT_CANDIDATES = 100


class Position(NamedTuple):
    """Where in a text; both count from 1, columns in characters. One is made for each key and value that is read."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    code: str
    """Stable name of the kind of mistake, for machines."""
    file: str
    line: int | None
    """None, like `column`, when the file as a whole is meant."""
    column: int | None
    path: str
    """As `services.smtp.listen[0].role`; empty for the file as a whole."""
    message: str
    """What is wrong; what is allowed."""
    hint: str | None = None
    """The nearest known key, or what to write instead."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        said = self.message if self.hint is None else f"{self.message}; {self.hint}"
        return ": ".join(part for part in (place, self.path, said) if part)

    def as_json(self) -> dict[str, str | int | None]:
        return {
            "code": self.code,
            "file": self.file,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint,
        }


class SpecErrors(MailError):
    """A file cannot be used as it is: everything that is wrong with it, in the order of the text. Exit code 65."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda found: (found.file, found.line or 0, found.column or 0)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def path_text(where: Where) -> str:
    """`where` as people write it: `services.smtp.listen[0].role`."""
    text = ""
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE_KEY.fullmatch(step) else shown(step))
    return text


def shown(value: object) -> str:
    """`value` for a message: on one line, escaped, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The hint for a name that is not known: the one that was probably meant."""
    found = difflib.get_close_matches(name[:_HINT_CHARACTERS], list(islice(known, _HINT_CANDIDATES)), n=1)
    return f"did you mean {path_text((found[0],))}?" if found else None
