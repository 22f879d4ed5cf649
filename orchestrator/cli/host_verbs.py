"""Verbs on this host: check (is it ready for an apply?) and doctor (that, and everything about a running suite)."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import suite
from orchestrator.errors import Exit

if TYPE_CHECKING:  # the verbs import what they need
    from collections.abc import Sequence

    from orchestrator.preflight.finding import Finding

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    for verb in (check, doctor):
        app.command()(verb)


def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Pre-flight: is this host ready for an apply of the spec? Exit 73: no. Warnings do not fail."""
    from orchestrator import preflight
    from orchestrator.cli import accounts

    wanted, declared = accounts.read(context.obj)
    findings = [*preflight.find(wanted), *declared.find()]
    _show(findings, as_json=as_json, well="this host is ready")
    raise typer.Exit(Exit.PREFLIGHT if any(finding.is_error for finding in findings) else Exit.DONE)


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Everything that is wrong: this host, what runs, queued and stored mail.

    Exit 0: no error; 69: somebody does not answer; 73: this host is not ready; 3: a service is not as wanted; 1: else.
    """
    from orchestrator import doctor as doctor_
    from orchestrator import preflight
    from orchestrator.admin import health
    from orchestrator.cli import accounts
    from orchestrator.place import Place
    from orchestrator.preflight.finding import located

    wanted, declared = accounts.read(context.obj)
    running = located(doctor_.find(Place(wanted.state_dir)), wanted.path, wanted.text)
    findings = [*preflight.find(wanted), *declared.find(), *running, *health.find(wanted.state_dir)]
    _show(findings, as_json=as_json, well="all is well")
    raise typer.Exit(doctor_.exit_code(findings))


def _show(findings: "Sequence[Finding]", *, as_json: bool, well: str) -> None:
    from orchestrator.preflight import finding as finding_

    findings = sorted(findings, key=lambda finding: [*finding_.Severity].index(finding.kind.severity))
    if as_json:
        suite.print_json(finding_.as_json(findings))
        return
    for finding in findings:
        typer.echo(text(finding))
    counts = Counter(finding.kind.severity for finding in findings)
    said = ", ".join(f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items())
    suite.tell(said if counts[finding_.Severity.ERROR] else f"{well} ({said})" if said else well)


def text(finding: "Finding") -> str:
    """For people: how bad and what kind, where, what is wrong, and what to do."""
    head = f"{finding.kind.severity:<8} {finding.kind.id}"
    lines = [f"{head}  {finding.place}".rstrip(), f"  {finding.message}", f"  -> {finding.action}"]
    return "\n".join(lines)
