"""Verbs on what was applied: history, diff, rollback."""

from typing import TYPE_CHECKING, Annotated

import typer

from maillib.settings.base import Json
from orchestrator.cli import suite
from orchestrator.cli.change_verbs import WAIT_S, AsJson, OnFailure, Wait
from orchestrator.errors import Exit

if TYPE_CHECKING:  # imported by the verbs: the validator and its models cost more than the rest of the start
    from orchestrator.facts import World
    from orchestrator.plan import Plan

SCHEMA_VERSION = 1

GenerationNumber = Annotated[int, typer.Argument(metavar="GEN", min=1, help="A number that `history` shows.")]


def register(app: typer.Typer) -> None:
    for verb in (history, diff, rollback):
        app.command()(verb)


def history(context: typer.Context, as_json: AsJson = False) -> None:
    """List what was applied, oldest first: when, by whom, with which result."""
    from orchestrator import history as history_

    rows = [row.as_json() for row in history_.rows(suite.place(context).state_dir)]
    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, "generations": [*rows]})
        return
    suite.print_rows(rows, ("number", "current", "when", "by", "result", "summary"))
    for row in rows:
        if row["error"]:
            suite.tell(f"{row['number']}: {row['error']}")


def diff(
    context: typer.Context,
    old: GenerationNumber,
    new: Annotated[
        int | None, typer.Argument(metavar="[GEN]", min=1, help="Default: the one in force.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    detailed_exitcode: Annotated[bool, typer.Option("--detailed-exitcode", help="Exit 2 when they differ.")] = False,
) -> None:
    """Show how one generation differs from another, accounts included."""
    from orchestrator import history as history_

    place = suite.place(context)
    before = history_.numbered(place.state_dir, old)
    after = suite.applied(place) if new is None else history_.numbered(place.state_dir, new)
    found = history_.compare(before, after)
    if as_json:
        rows: list[Json] = [{"path": one.path, "before": one.before, "after": one.after} for one in found]
        suite.print_json(
            {"schema_version": SCHEMA_VERSION, "from": before.number, "to": after.number, "differences": rows}
        )
    else:
        for one in found:
            typer.echo(f"{one.path}: {_text(one.before)} -> {_text(one.after)}")
        if not found:
            typer.echo(f"generations {before.number} and {after.number} say the same")
    if detailed_exitcode and found:
        raise typer.Exit(Exit.DIFFERENCES)


def rollback(
    context: typer.Context,
    to: Annotated[
        int | None, typer.Option("--to", metavar="N", min=1, help="Default: the one in force before.")
    ] = None,
    wait: Wait = None,
    on_failure: OnFailure = "rollback",
    as_json: AsJson = False,
) -> None:
    """Apply an earlier generation once more, as a new one. Deletes no mailbox. Exits as `apply`."""
    from pathlib import Path

    from orchestrator import apply as apply_
    from orchestrator import generation, plantext, yamltext
    from orchestrator import history as history_
    from orchestrator import spec as spec_
    from orchestrator.attempt import Options
    from orchestrator.cli import accounts, progress
    from orchestrator.cli.change_verbs import failures_as_json, print_applied

    place = suite.place(context)
    state_dir = place.state_dir
    goal = history_.before(state_dir, suite.applied(place)) if to is None else history_.numbered(state_dir, to)
    document = yamltext.read(goal.path / generation.SPEC)
    spec = spec_.resolve(document, history_.path_of_spec(goal))
    copy = goal.path / generation.ACCOUNTS if spec.accounts else None
    declared = accounts.of_generation(state_dir, copy, (spec.accounts or Path()).parent)
    limit_s = WAIT_S if wait is None else wait
    options = Options(
        lock_wait_s=limit_s,
        ready_s=limit_s,
        on_failure=on_failure,
        by=f"{suite.actor('rollback')} to {goal.number}",
        verb="rollback",
    )
    with failures_as_json(wanted=as_json), progress.shown() as shown:

        def show(todo: "Plan", _: "World") -> None:
            shown.tell(f"back to generation {goal.number}:")
            for line in plantext.text(todo).splitlines():
                shown.tell(line)

        done = apply_.apply(spec, declared, options, shown.tell, doing=shown.doing, review=show)
    print_applied(done, as_json=as_json)
    if done.new:
        suite.tell(f"{context.obj} still says otherwise: the next `apply` of it brings that back")


def _text(value: Json) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
