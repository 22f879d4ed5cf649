"""The verb `rehearse`."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from maillib.errors import MailError
from orchestrator.cli import suite
from orchestrator.errors import Exit

if TYPE_CHECKING:  # the verb imports it: it costs more than the rest of the start
    from orchestrator.rehearse.report import Report, Step

_ENDS = (signal.SIGTERM, signal.SIGHUP)
"""End it in good order, as Ctrl-C does."""


def register(app: typer.Typer) -> None:
    app.command()(rehearse)


def rehearse(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Services to talk to. Default: every enabled one.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="The suite that runs, with accounts made for it; nothing is stopped.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit report, also of a failure.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the scratch folder, with everything stopped.")] = False,
) -> None:
    """Bring a copy of the spec up on free ports and hold a real conversation with each service. Exit 1: one failed."""
    from orchestrator.rehearse import junit as junit_
    from orchestrator.rehearse.report import Report

    if live and keep:
        raise typer.BadParameter("--keep is about the scratch folder; with --live there is none")
    for number in _ENDS:
        signal.signal(number, _end)
    report = Report(tell=lambda step: typer.echo(_lines(step), err=as_json))
    trouble: str | None = "the rehearsal was ended before its time"
    try:
        if live:
            _on_running_suite(context, names or ["all"], report)
        else:
            _in_scratch(context.obj, names or ["all"], report, keep=keep)
        trouble = None
    except (MailError, OSError) as error:
        trouble = str(error)
        raise
    finally:
        if junit is not None:
            junit_.write(junit, report, error=trouble)
    for remark in report.remarks:
        suite.tell(remark)
    if as_json:
        suite.print_json(report.as_json())
    else:
        typer.echo(_summary(report))
    raise typer.Exit(Exit.DONE if report.passed else Exit.FAILED)


def _in_scratch(path: Path, names: Sequence[str], report: "Report", *, keep: bool) -> None:
    from orchestrator.admin.guests import Guests
    from orchestrator.cli import accounts
    from orchestrator.rehearse import rehearsal

    spec, _ = accounts.read(path)
    chosen = _chosen(names, {name: one.enabled for name, one in spec.services.items()})
    rehearsal.in_scratch(spec, chosen, accounts.read, Guests, report, keep=keep)


def _on_running_suite(context: typer.Context, names: Sequence[str], report: "Report") -> None:
    from maillib.settings import service
    from orchestrator import generation
    from orchestrator.admin.guests import Guests
    from orchestrator.rehearse import rehearsal

    place = suite.place(context)
    enabled = {name: bool(row["enabled"]) for name, row in suite.services(place).items()}
    chosen = _chosen(names, enabled)
    services = {
        name: service.read(generation.service_file(place.state_dir, name)).service
        for name, is_enabled in enabled.items()
        if is_enabled
    }
    with suite.audited(place, "rehearse", chosen) as entry:
        rehearsal.on_running_suite(place, services, chosen, Guests(place.state_dir), report)
        entry.result = entry.result if report.passed else "failed"


def _chosen(names: Sequence[str], enabled: Mapping[str, bool]) -> list[str]:
    """Those of `names` that are enabled. Raises BadParameter when one is not, or is unknown."""
    for name in names:
        if name != "all" and name not in enabled:
            raise suite.no_service(name, enabled)
        if name != "all" and not enabled[name]:
            raise typer.BadParameter(f"{name} is off: there is nobody to talk to")
    return [name for name, is_enabled in enabled.items() if is_enabled and ("all" in names or name in names)]


def _lines(step: "Step") -> str:
    """One for a step, and more of one that failed."""
    from orchestrator.rehearse.report import Result

    words = {Result.PASSED: "pass", Result.FAILED: "FAIL", Result.SKIPPED: "skip"}
    why = f" ({step.came})" if step.result is Result.SKIPPED else ""
    first = f"{words[step.result]}  {step.ms:7.1f} ms  {step.service}: {step.name}{why}"
    if step.result is not Result.FAILED:
        return first
    return "\n".join([first, f"      expected: {step.expected}", f"      came: {step.came}", f"      log: {step.log}"])


def _summary(report: "Report") -> str:
    from orchestrator.rehearse.report import Result

    counts = ", ".join(f"{report.count(result)} {result.value}" for result in Result if report.count(result))
    outcome = "passed" if report.passed else "failed"
    return f"rehearsal {outcome}: {counts or 'nothing to talk to'}, {report.took_s:.1f} s"


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)
