"""What the verbs share: the suite that `-f` means, options, how output is printed. Cheap to import."""

import contextlib
import getpass
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.address import Address, normalize_domain
from maillib.errors import AddressError, NotFound
from maillib.settings.base import Json
from orchestrator import generation, yamltext
from orchestrator.generation import Generation
from orchestrator.place import Place
from orchestrator.problems import SpecErrors

if TYPE_CHECKING:
    from orchestrator.audit import Entry

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
    """`names` in the order of the spec, `all` meaning every enabled service. Raises BadParameter for an unknown one."""
    known = services(place)
    wanted = {name for name, row in known.items() if row["enabled"]} if "all" in names else set(names)
    unknown = sorted(wanted - known.keys())
    if unknown:
        raise no_service(", ".join(unknown), known)
    return [name for name in known if name in wanted]


def one(place: Place, name: str) -> str:
    """`name`, which has to be a service: here `all` is none. Raises BadParameter."""
    known = services(place)
    if name not in known:
        raise no_service(name, known)
    return name


def no_service(name: str, known: Iterable[str]) -> typer.BadParameter:
    """A wrong word on the command line, like an unknown option: usage."""
    return typer.BadParameter(f"there is no service {name}; there are {', '.join(known) or 'none'}")


def actor(verb: str) -> str:
    """Who does this, for holds."""
    try:
        return f"{getpass.getuser()} (postroom {verb})"
    except (KeyError, OSError):
        return f"postroom {verb}"


@contextlib.contextmanager
def audited(place: Place, verb: str, names: Sequence[str], *, reason: str | None = None) -> "Iterator[Entry]":
    """The block is one act for the audit trail, recorded when it ends, however it ends.

    It may complete the entry, with `before` and `after` for example.
    """
    from orchestrator import audit

    entry = audit.Entry(verb=verb, names=tuple(names), reason=reason or "")
    try:
        yield entry
    except typer.Exit as end:
        entry.result = f"exit {end.exit_code}" if end.exit_code else audit.DONE
        raise
    except BaseException as error:
        entry.result = str(error).partition("\n")[0] or type(error).__name__
        raise
    finally:
        if place.state_dir.is_dir():
            try:
                audit.record(place.state_dir, entry)
            except OSError as error:
                tell(f"postroom: this is not in the audit trail: {error}")


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


Timeout = Annotated[float | None, typer.Option("--timeout", parser=duration, metavar="60s", help="At most so long.")]


def size(text: str) -> int:
    """Octets of `1GiB`. Raises BadParameter."""
    from pydantic_core import PydanticCustomError

    from orchestrator.units import octets

    try:
        return octets(text)
    except PydanticCustomError as error:
        raise typer.BadParameter(error.message()) from None


def address(text: str) -> Address:
    """Parser of arguments."""
    try:
        return Address.parse(text)
    except AddressError as error:
        raise typer.BadParameter(str(error)) from None


def domain(text: str) -> str:
    """Parser of arguments: A- or U-labels, returned in A-labels."""
    try:
        return normalize_domain(text)
    except AddressError as error:
        raise typer.BadParameter(str(error)) from None


def print_fields(row: Mapping[str, Json]) -> None:
    """One object for people: a line a field."""
    width = max(map(len, row))
    for name, value in row.items():
        typer.echo(f"{name:<{width}}  {_cell(value)}".rstrip())


def print_rows(rows: Sequence[Mapping[str, Json]], columns: Sequence[str]) -> None:
    """Several for people: a line each, below a line with the names of the columns."""
    cells = [[*columns], *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Json) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name} {of}" for name, of in value.items())
    return {None: "-", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def print_json(data: Json) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def tell(line: str) -> None:
    """Progress: for people, on stderr."""
    typer.echo(line, err=True)


def tell_progress(line: str) -> None:
    """What is being done right now: on a terminal alone, in place of the last such line; empty: nothing any more."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}", nl=False, err=True)
