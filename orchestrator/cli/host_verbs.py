"""Verbs on this host: check (is it ready for an apply?) and doctor (that, and everything about a running suite)."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import suite
from orchestrator.errors import Exit

if TYPE_CHECKING:  # the verbs import what they need
    from collections.abc import Sequence

    from orchestrator.preflight.finding import Finding

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    app.command()(check)


def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Pre-flight: is this host ready for an apply of the spec? Exit 73: no. Warnings do not fail."""
    from orchestrator import preflight
    from orchestrator.cli import accounts

    wanted, declared = accounts.read(context.obj)
    findings = [*preflight.find(wanted), *declared.find()]
    _show(findings, as_json=as_json, well="this host is ready")
    raise typer.Exit(Exit.PREFLIGHT if any(finding.is_error for finding in findings) else Exit.DONE)


def _show(findings: "Sequence[Finding]", *, as_json: bool, well: str) -> None:
    from orchestrator.preflight import finding as finding_

    if as_json:
        suite.print_json(finding_.as_json(findings))
        return
    for finding in findings:
        typer.echo(text(finding))
    if not any(finding.is_error for finding in findings):
        suite.tell(well)


def text(finding: "Finding") -> str:
    """For people: how bad and what kind, where, what is wrong, and what to do."""
    head = f"{finding.kind.severity:<8} {finding.kind.id}"
    lines = [f"{head}  {finding.place}".rstrip(), f"  {finding.message}", f"  -> {finding.action}"]
    return "\n".join(lines)
