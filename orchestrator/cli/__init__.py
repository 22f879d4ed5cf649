"""The command line: one typer application, one module per group of verbs, one exit code per outcome.

Verb modules import what they need inside their commands: `postroom status` must not pay for the spec's validator.
Machine output goes to stdout, all else to stderr; an error of ours is one line (a bad spec: one line per mistake).
"""

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from maillib.errors import MailError
from maillib.version import VERSION
from orchestrator import errors
from orchestrator.errors import Exit
from orchestrator.problems import SpecErrors

_VERBS = ("spec_verbs", "host_verbs", "change_verbs", "history_verbs", "run_verbs", "look_verbs", "rehearse_verb")
"""Modules of verbs that stand alone: `postroom apply`."""
_NOUNS = (
    "queue",
    "mailbox",
    "domain",
    "account",
    "export",
    "alias",
    "list",
    "contact",
    "retrieval",
)
"""Groups of verbs: `postroom queue show`; the module of each is NOUN_verbs."""

EXITS: tuple[tuple[type[BaseException], Exit], ...] = (
    (SpecErrors, Exit.BAD_SPEC),
    (errors.BadPlan, Exit.BAD_SPEC),
    (errors.SupervisorDown, Exit.UNAVAILABLE),
    (errors.PreflightFailed, Exit.PREFLIGHT),
    (errors.Locked, Exit.TRY_AGAIN),
    (errors.PlanStale, Exit.TRY_AGAIN),
    (errors.NotReady, Exit.NOT_AS_WANTED),
    (errors.ApplyFailed, Exit.ROLLED_BACK),
    (MailError, Exit.FAILED),
    (PermissionError, Exit.NOT_PERMITTED),
    (OSError, Exit.FAILED),
)
"""The first class that fits decides."""

UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]
"""Of the click inside typer, which gives only some of its errors a public name."""

_GARBAGE = (50_000, 20, 20)
"""A start makes a hundred thousand objects and drops hardly any: to look for garbage as often as Python does by itself
is a tenth of it."""

_INTERRUPTED = 130
"""As a shell says of a program that SIGINT has ended."""

app = typer.Typer(
    name="postroom",
    help="Mail services, declared in services.yaml, applied, started and stopped.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"postroom {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    file: Annotated[Path, typer.Option("-f", "--file", help="The spec.", metavar="FILE", readable=False)] = Path(
        "services.yaml"
    ),  # whether it can be read is found by reading it: 65 then, as for a missing one
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    context.obj = file


@cache
def _register(module: str) -> None:
    """Once: tests call `main` more than once."""
    importlib.import_module(f"{__name__}.{module}").register(app)


def _register_for(arguments: Sequence[str]) -> None:
    """What `arguments` may mean: each verb costs a millisecond. For help, or for a mistake, all there are."""
    named = _named(arguments)
    if named in _NOUNS:
        _register(f"{named}_verbs")
        return
    for module in _VERBS:
        _register(module)
    if named not in {getattr(command.callback, "__name__", None) for command in app.registered_commands}:
        for noun in _NOUNS:
            _register(f"{noun}_verbs")


def _named(arguments: Sequence[str]) -> str | None:
    """The verb, or the group of verbs: the first word that is no option."""
    words = iter(arguments)
    for word in words:
        if word in ("-f", "--file"):
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def main() -> int:
    """Entry of the `postroom` command. Returns the exit code."""
    os.umask(0o027)
    gc.set_threshold(*_GARBAGE)
    arguments = sys.argv[1:] or ["--help"]
    _register_for(arguments)
    try:
        code = app(arguments, standalone_mode=False, prog_name="postroom")
    except UsageError as error:
        typer.echo(_usage_text(error.format_message()), err=True)
        return Exit.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        return Exit.FAILED
    except (MailError, OSError) as error:
        prefix = "" if isinstance(error, SpecErrors) else "postroom: "
        typer.echo("\n".join(f"{prefix}{line}" for line in _words(error).splitlines()), err=True)
        return exit_code(error)
    return int(code or 0)


def _words(error: MailError | OSError) -> str:
    """Of the system's errors, the file and what is wrong, without the number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _usage_text(text: str) -> str:
    """A group named alone is answered with its help; all else is one line."""
    return text if text.startswith("Usage:") else f"postroom: {text.replace('Value error, ', '')}"


def exit_code(error: MailError | OSError) -> Exit:
    return next(code for kind, code in EXITS if isinstance(error, kind))
