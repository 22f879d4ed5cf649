"""Specs and what becomes of them, input and expected output in one file.

`rendered/NAME.txt`: a spec and every file made from it. `refused/NAME.txt`: a spec and every mistake found in it. Parts
begin with a line `=== NAME`. `GOLDEN=write pytest tests/golden` writes the expected parts anew; review reads the diff.
"""

import os
import re
from pathlib import Path

import pytest

from orchestrator import spec, yamltext
from orchestrator.problems import SpecErrors
from orchestrator.render import render
from orchestrator.resources import Programs

HERE = Path(__file__).parent
PLACE = Path("/etc/postroom/services.yaml")
PROGRAMS = Programs(
    Path("/opt/postroom/bin/python"), Path("/opt/postroom/orchestrator/agent.py"), Path("/opt/postroom/workers")
)
SPEC = "services.yaml"


def _cases(folder: str) -> list[Path]:
    return sorted((HERE / folder).glob("*.txt"))


def _parts(case: Path) -> dict[str, str]:
    pieces = re.split(r"^=== (.+)\n", case.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _resolve(text: str) -> spec.Spec:
    return spec.resolve(yamltext.parse(text.encode(), file=SPEC), PLACE)


def _compare(case: Path, found: dict[str, str]) -> None:
    wanted = _parts(case)
    found = {SPEC: wanted[SPEC], **found}
    if os.environ.get("GOLDEN") == "write":
        case.write_text("".join(f"=== {name}\n{text}" for name, text in found.items()), encoding="utf-8")
    assert found == _parts(case)


@pytest.mark.parametrize("case", _cases("rendered"), ids=lambda case: case.stem)
def test_rendered(case: Path) -> None:
    """A spec gives exactly these files, octet for octet."""
    rendered = render(_resolve(_parts(case)[SPEC]), PROGRAMS, generation=8, as_root=False)
    _compare(case, dict(rendered.files))


@pytest.mark.parametrize("case", _cases("refused"), ids=lambda case: case.stem)
def test_refused(case: Path) -> None:
    """Every mistake of a spec is told in one go, at its place, and nothing else is."""
    with pytest.raises(SpecErrors) as refused:
        _resolve(_parts(case)[SPEC])
    _compare(case, {"refused": f"{refused.value}\n"})
