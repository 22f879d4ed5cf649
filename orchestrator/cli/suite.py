"""What the verbs share: the suite that `-f` means, options, how output is printed. Cheap to import."""

import getpass
import json
import os
from collections.abc import Mapping
from pathlib import Path

import typer

from maillib.errors import NotFound
from maillib.settings.base import Json
from orchestrator import generation, yamltext
from orchestrator.generation import Generation
from orchestrator.place import Place
from orchestrator.problems import SpecErrors

DEFAULT_STATE_DIR = "var"
"""As in the spec's model; here without its validator."""


def place(context: typer.Context) -> Place:
    """Where the suite of the spec lives; of the spec, only `state_dir` has to be right."""
    path: Path = context.obj
    document = yamltext.read(path)
    value = document.value
    state_dir = value.get("state_dir", DEFAULT_STATE_DIR) if isinstance(value, dict) else None
    if not isinstance(state_dir, str):
        raise SpecErrors([document.problem(("state_dir",), "no path; a path is expected", code="wrong-type")])
    return Place(Path(os.path.abspath(path.parent / state_dir)))  # noqa: PTH100 - links stay as written, as in `spec`


def applied(place: Place) -> Generation:
    """The generation that holds. Raises NotFound before the first apply."""
    found = generation.current(place.state_dir)
    if found is None:
        raise NotFound(f"nothing is applied in {place.state_dir} yet; `postroom apply` does it")
    return found


def resolved(context: typer.Context) -> Json:
    """The spec itself, where nothing is applied yet. Raises SpecErrors."""
    from orchestrator import spec

    return spec.resolved(spec.read(context.obj))


def services(place: Place) -> dict[str, Mapping[str, Json]]:
    """The services of the generation that holds, as resolved; in the order of the spec."""
    resolved = applied(place).data("resolved.json")
    rows = resolved.get("services") if isinstance(resolved, dict) else None
    return {name: row for name, row in rows.items() if isinstance(row, dict)} if isinstance(rows, dict) else {}


def chosen(place: Place, names: list[str]) -> list[str]:
    """`names` in the order of the spec, `all` meaning every enabled service. Raises NotFound for an unknown one."""
    known = services(place)
    wanted = {name for name, row in known.items() if row["enabled"]} if "all" in names else set(names)
    unknown = sorted(wanted - known.keys())
    if unknown:
        raise NotFound(f"no service {', '.join(unknown)}; there are {', '.join(known)}")
    return [name for name in known if name in wanted]


def actor(verb: str) -> str:
    """Who does this, for holds."""
    try:
        return f"{getpass.getuser()} (postroom {verb})"
    except (KeyError, OSError):
        return f"postroom {verb}"


def duration(text: str) -> float:
    """Parser of options: `30s`, `5m`, or plain seconds."""
    if text.replace(".", "", 1).isdigit():
        return float(text)
    from pydantic_core import PydanticCustomError

    from orchestrator.units import seconds

    try:
        return seconds(text)
    except PydanticCustomError as error:
        raise typer.BadParameter(error.message()) from None


def print_json(data: Json) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def tell(line: str) -> None:
    """Progress: for people, on stderr."""
    typer.echo(line, err=True)
