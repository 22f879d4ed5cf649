"""docs/preflight.md from the kinds of findings that stand beside the checks: each is one row."""

from collections.abc import Iterator
from types import ModuleType

from orchestrator import doctor
from orchestrator.preflight import (
    clashing,
    clock,
    open_files,
    ports,
    programs,
    secretrefs,
    space,
    state_dir,
    tls,
    users,
)
from orchestrator.preflight.finding import Severity, kinds

_HEAD = """\
# Pre-flight and doctor

`postroom check` looks whether this host is as the spec needs it, and changes nothing; `apply` looks at the same before
it changes anything. `postroom doctor` looks at that and at everything about a running suite. Each finding has an id,
says where in the spec it is from (`file:line:column` and path), what is wrong and what to do. With `--json`:
`{"schema_version", "findings": [{"id", "severity", "path", "message", "action", "file", "line", "column"}]}`; `file`,
`line` and `column` are null where no key of a file is meant. Ids and severities are an interface.

- **error**: `check` and `apply` exit 73, nothing is changed. `doctor` exits 69 where somebody does not answer, else 73
  where the host is not ready, 3 where a service is not as wanted, 1 for all else.
- **warning**, **note**: exit 0.
"""

_TITLES: tuple[tuple[str, ModuleType], ...] = (
    ("State directory", state_dir),
    ("Space", space),
    ("Clock", clock),
    ("Programs", programs),
    ("Users", users),
    ("Open files", open_files),
    ("Ports", ports),
    ("Certificate and key", tls),
    ("Secrets", secretrefs),
    ("Declared accounts", clashing),
    ("What runs, queued and stored mail (doctor only)", doctor),
)


def text() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(title, module) for title, module in _TITLES)])


def _section(title: str, module: ModuleType) -> str:
    return f"## {title}\n\n| id | severity | meaning | what to do |\n| --- | --- | --- | --- |\n" + "".join(
        _rows(module)
    )


def _rows(module: ModuleType) -> Iterator[str]:
    """A finding's own words may say it closer."""
    for kind in kinds(vars(module)):
        exit_code = "" if kind.severity is not Severity.ERROR else f" ({kind.exit.value})"
        action = kind.action[:1].upper() + kind.action[1:]
        yield f"| `{kind.id}` | {kind.severity}{exit_code} | {kind.meaning} | {action}. |\n"
