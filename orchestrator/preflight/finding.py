"""What pre-flight and `doctor` say: one finding a thing, with a stable id, how bad it is, where it is from and what to
do about it.

Each kind of finding stands beside the check that makes it; docs/preflight.md is made from them and is an interface:
ids and severities do not change.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from maillib.settings.base import Json
from orchestrator import yamltext
from orchestrator.errors import Exit
from orchestrator.problems import Position, Where, path_text

SCHEMA_VERSION = 1


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """`apply` would fail, or mail is at risk: `check` and `apply` exit 73."""
    WARNING = "warning"
    """It works now, and somebody should know."""
    NOTE = "note"
    """How things are, where it may surprise."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can be wrong."""

    id: str
    severity: Severity
    meaning: str
    """For docs/preflight.md: what it says of the host."""
    action: str
    """What to do, where a finding has nothing closer to say."""
    exit: Exit = Exit.PREFLIGHT
    """Exit code of `doctor` when it is an error."""

    def at(self, where: Where, message: str, action: str | None = None) -> "Finding":
        """A finding of this kind about the value at `where` of the spec; () is the host as a whole."""
        return Finding(kind=self, where=where, message=message, action=action or self.action)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that was found."""

    kind: Kind
    where: Where
    """In the spec, or in `file`."""
    message: str
    """What is wrong, on one line."""
    action: str
    """What to do about it."""
    file: Path | None = None
    """The file that `where` is in; None: not known yet, or none."""
    position: Position | None = None
    """Of `where` in `file`; None: it is from no key."""

    @property
    def is_error(self) -> bool:
        return self.kind.severity is Severity.ERROR

    @property
    def place(self) -> str:
        """`services.yaml:12:5: services.pop.listen[0].address`, as much of it as there is."""
        line = f"{self.file}:{self.position.line}:{self.position.column}" if self.file and self.position else ""
        return ": ".join(part for part in (line, path_text(self.where)) if part)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, f"{self.message}; {self.action}") if part)

    def as_json(self) -> dict[str, Json]:
        return {
            "id": self.kind.id,
            "severity": self.kind.severity.value,
            "path": path_text(self.where),
            "message": self.message,
            "action": self.action,
            "file": str(self.file) if self.position else None,
            "line": self.position.line if self.position else None,
            "column": self.position.column if self.position else None,
        }


def located(findings: Iterable[Finding], file: Path, data: bytes) -> Iterator[Finding]:
    """`findings` with the places they have in `data`, the text of `file`, which was read before; those that are about
    something in it.

    A key that is not written, whose default is meant, has the position of what is around it.
    """
    document: yamltext.Document | None = None
    for finding in findings:
        if finding.where:
            document = document or yamltext.parse(data, file=str(file))
            finding = replace(finding, file=file, position=document.position(finding.where))
        yield finding


def as_json(findings: Iterable[Finding]) -> dict[str, Json]:
    return {"schema_version": SCHEMA_VERSION, "findings": [finding.as_json() for finding in findings]}


def kinds(namespace: Mapping[str, object]) -> Iterator[Kind]:
    """The kinds that a module has, in its order."""
    return (value for value in namespace.values() if isinstance(value, Kind))
