"""Verbs that change what runs: plan, apply."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maillib.settings.base import Json
from orchestrator.cli import suite
from orchestrator.errors import Exit

if TYPE_CHECKING:  # imported by the verbs: the validator and its models cost more than the rest of the start
    from orchestrator.plan import Action, Plan, Reason

_TEXT_LIMIT = 60

WAIT_S = 60.0
"""Default of --wait: for the lock, and for each service to become ready."""

Prune = Annotated[
    bool, typer.Option("--prune", help="Remove entries that have left accounts.yaml; their mail is kept.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    for verb in (plan, apply):
        app.command()(verb)


def plan(
    context: typer.Context,
    as_json: AsJson = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when there is a change.")
    ] = False,
    prune: Prune = False,
) -> None:
    """Show what `apply` would do now, why, and what it costs those who are connected."""
    from orchestrator import apply as apply_
    from orchestrator import plan as plan_
    from orchestrator.cli import accounts

    todo = apply_.make_plan(*accounts.read(context.obj, prune=prune))
    if as_json:
        suite.print_json(plan_.as_json(todo))
    else:
        typer.echo(plan_text(todo))
    if detailed_exitcode and todo.changes:
        raise typer.Exit(Exit.DIFFERENCES)


def apply(
    context: typer.Context,
    wait: Annotated[
        float | None,
        typer.Option(parser=suite.duration, metavar="60s", help="For the lock, and for each service to be ready."),
    ] = None,
    on_failure: Annotated[
        Literal["rollback", "hold"], typer.Option(help="What becomes of what was switched when a service fails.")
    ] = "rollback",
    override: Annotated[Literal["respect", "reset"], typer.Option(help="reset: start what is held, too.")] = "respect",
    prune: Prune = False,
    as_json: AsJson = False,
) -> None:
    """Make it so. Exit 73: this host is not ready for it, nothing changed; 4: failed and rolled back."""
    from orchestrator import apply as apply_
    from orchestrator import plan as plan_
    from orchestrator.attempt import Options
    from orchestrator.cli import accounts

    limit_s = WAIT_S if wait is None else wait
    options = Options(
        lock_wait_s=limit_s, ready_s=limit_s, on_failure=on_failure, override=override, by=suite.actor("apply")
    )
    done = apply_.apply(*accounts.read(context.obj, prune=prune), options, suite.tell)
    if as_json:
        result: Json = {
            "schema_version": 1,
            "generation": done.generation,
            "new": done.new,
            "plan": plan_.as_json(done.plan),
        }
        suite.print_json(result)
        return
    for line in map(str, done.plan.accounts):
        suite.tell(line)
    changed = done.new or done.plan.changes
    typer.echo(f"generation {done.generation} holds" if changed else f"no change: generation {done.generation} holds")
    held = [action.service for action in done.plan.actions if action.verb is plan_.Verb.HOLD]
    if held:
        suite.tell(f"held, not started: {', '.join(held)}; `postroom start` or `apply --override reset` starts them")


def plan_text(todo: "Plan") -> str:
    """For people: a line an action, its reasons below."""
    lines = [] if todo.supervised else ["supervisord  start"]
    width = max((len(action.service) for action in todo.actions), default=0)
    for action in todo.actions:
        lines.append(f"{action.service:<{width}}  {action.verb:<7}  {_effect(action)}".rstrip())
        lines += [f"{'':<{width}}    {_reason(reason)}" for reason in action.because]
    lines += [f"accounts: {line}" for line in todo.accounts]
    if not todo.changes:
        lines.append("no change")
    return "\n".join(lines)


def _effect(action: "Action") -> str:
    if not action.changes:
        return ""
    effect = action.effect
    sessions = (
        f"{effect.sessions_kept} of {effect.sessions_now} sessions kept" if effect.sessions_now else "no sessions"
    )
    refused = "new connections are refused" + (" meanwhile" if action.verb == "restart" else "")
    return f"{sessions}, " + ("no connection refused" if effect.new_connections == "uninterrupted" else refused)


def _reason(reason: "Reason") -> str:
    if reason.before == reason.after:  # a hold: it stays
        return f"{reason.path}: {reason.before}"
    return f"{reason.path}: {_short(reason.before)} -> {_short(reason.after)}"


def _short(value: Json) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 1]}…"
