"""Verbs that write out what is here in a form that can be declared: export accounts."""

import os
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import suite

export = typer.Typer(name="export", help="What is here, as files.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(export)


@export.command()
def accounts(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it here, for its owner alone.")
    ] = None,
) -> None:
    """Write domains, accounts and the rest of the directory as an accounts.yaml; passwords as their hashes."""
    from orchestrator.admin import export as export_

    text = export_.accounts(suite.place(context).state_dir)
    if output is None:
        typer.echo(text, nl=False)
        return
    _write(output, text)
    suite.tell(f"wrote {output}")


def _write(path: Path, text: str) -> None:
    """All of it or nothing, readable for its owner alone; a file that was there is replaced."""
    aside = path.with_name(f"{path.name}.tmp")
    aside.unlink(missing_ok=True)  # one of an export that was killed may be readable for others
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
