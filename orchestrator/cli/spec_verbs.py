"""Verbs on the spec: init, validate, schema, config, render. None of them touches what runs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from maillib.errors import Conflict
from maillib.settings.base import Json
from orchestrator.cli import suite
from orchestrator.errors import Exit
from orchestrator.problems import Problem, SpecErrors

SCHEMA_VERSION = 1

SCHEMAS = {"services.yaml": "services.schema.json", "accounts.yaml": "accounts.schema.json"}
"""Names of the JSON Schemas that the modelines of the files point to."""


def register(app: typer.Typer) -> None:
    for verb in (init, validate, schema, config, render):
        app.command()(verb)


def init(folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to.")] = Path()) -> None:
    """Write services.yaml and accounts.yaml, their JSON Schemas and passwords to begin with. Overwrites nothing: 1."""
    from orchestrator import demo, resources
    from orchestrator.admin import accounts_schema
    from orchestrator.cli import accounts
    from orchestrator.schema import json_schema

    schemas = {"services.yaml": json_schema(), "accounts.yaml": accounts_schema.json_schema()}
    texts = {}
    for name, schema_file in SCHEMAS.items():
        example = resources.example(name).read_text(encoding="utf-8")
        texts[name] = example.replace(f"./docs/{schema_file}", f"./{schema_file}", 1)
        texts[schema_file] = json.dumps(schemas[name], indent=2, ensure_ascii=False) + "\n"
    found = [name for name in texts if os.path.lexists(folder / name)]
    if found:
        raise Conflict(f"{folder / found[0]} is there already; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
        suite.tell(f"wrote {folder / name}")
    spec, declared = accounts.read(folder / "services.yaml")
    for path in demo.make_passwords(spec.state_dir, declared.declaration):
        suite.tell(f"wrote {path}: a new password")


def validate(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """Check the spec and the accounts it declares, without a look at this host. Exit 65: every mistake, one a line."""
    from orchestrator.cli import accounts

    path: Path = context.obj
    errors: tuple[Problem, ...] = ()
    try:
        spec, _ = accounts.read(path)
    except SpecErrors as error:
        if not as_json:
            raise
        errors = error.problems
    if as_json:
        found: list[Json] = [{**problem.as_json()} for problem in errors]
        suite.print_json({"schema_version": SCHEMA_VERSION, "valid": not errors, "errors": found})
        raise typer.Exit(Exit.BAD_SPEC if errors else Exit.DONE)
    count = len(spec.services)
    suite.tell(f"{path} is valid: {count} {'service' if count == 1 else 'services'}")


def schema(
    accounts: Annotated[bool, typer.Option("--accounts", help="Of accounts.yaml, not of services.yaml.")] = False,
) -> None:
    """Print the JSON Schema (2020-12) of services.yaml."""
    from orchestrator.schema import json_schema

    if accounts:
        from orchestrator.admin.accounts_schema import json_schema
    suite.print_json(json_schema())


def config(
    context: typer.Context,
    resolved: Annotated[bool, typer.Option("--resolved", help="With every default and absolute paths.")] = False,
    service: Annotated[str | None, typer.Option(metavar="NAME", help="The file that a worker runs from.")] = None,
) -> None:
    """Print the spec as it is understood, as JSON.

    With --service, what the worker needs to be run by hand is made too: folders, and the certificate of tls mode
    self-signed.
    """
    from orchestrator import apply, spec
    from orchestrator.render import service_file

    if not resolved:
        raise typer.BadParameter("say --resolved")
    found = spec.read(context.obj)
    if service is None:
        suite.print_json(spec.resolved(found))
    elif service in found.services:
        if apply.prepare_alone(found):
            suite.tell(f"made a certificate in {found.state_dir / 'tls'}")
        typer.echo(service_file(found.services[service].config, generation=0), nl=False)
    else:
        raise suite.no_service(service, found.services)


def render(
    context: typer.Context,
    target: Annotated[Literal["supervisord"], typer.Option(help="What the files are for.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write them here.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 2 when files in DIR differ.")] = False,
) -> None:
    """Print or write the files made from the spec, as `apply` would."""
    from orchestrator import resources, spec
    from orchestrator.generation import CONFIGURATION
    from orchestrator.render import render as render_

    if check and output is None:
        raise typer.BadParameter("--check compares with the folder that -o names")
    rendered = render_(spec.read(context.obj), resources.programs(), generation=0, as_root=os.geteuid() == 0)
    if output is None:
        typer.echo(rendered.files[CONFIGURATION], nl=False)
    elif check:
        differing = [*_differing(output, rendered.files)]
        for name in differing:
            typer.echo(name)
        raise typer.Exit(Exit.DIFFERENCES if differing else Exit.DONE)
    else:
        _write(output, rendered.files)


def _differing(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Names of files in `folder` that are missing, differ, or are none of `files`."""
    present = {f"services/{path.name}" for path in (folder / "services").glob("*.json")}
    return [name for name in sorted(present | set(files)) if _text(folder / name) != files.get(name)]


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Leaves `folder` so that `_differing` finds nothing."""
    for name in _differing(folder, files):
        path = folder / name
        if name not in files:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f"{path.name}.tmp")
            aside.write_text(files[name], encoding="utf-8")
            aside.replace(path)
        suite.tell(f"{'wrote' if name in files else 'removed'} {path}")


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
