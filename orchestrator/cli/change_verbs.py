"""Verbs that change what runs: plan, apply."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maillib.settings.base import Json
from orchestrator.cli import suite
from orchestrator.errors import ApplyFailed, BadPlan, Exit, GenerationDamaged, PlanStale

if TYPE_CHECKING:  # imported by the verbs: the validator and its models cost more than the rest of the start
    from orchestrator.apply import Applied
    from orchestrator.attempt import Options
    from orchestrator.cli.accounts import DeclaredAccounts
    from orchestrator.cli.progress import Progress
    from orchestrator.facts import World
    from orchestrator.plan import Plan
    from orchestrator.spec import Spec

WAIT_S = 60.0
"""Default of --wait: for the lock, and for each service to become ready."""

Override = Literal["respect", "reset"]
OverrideOption = Annotated[Override | None, typer.Option(help="reset: start what is held, too. Default: respect.")]
Prune = Annotated[
    bool, typer.Option("--prune", help="Remove entries that have left accounts.yaml; their mail is kept.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Wait = Annotated[
    float | None,
    typer.Option(parser=suite.duration, metavar="60s", help="For the lock, and for each service to be ready."),
]
OnFailure = Annotated[
    Literal["rollback", "hold"], typer.Option(help="What becomes of what was switched when a service fails.")
]


def register(app: typer.Typer) -> None:
    for verb in (plan, apply):
        app.command()(verb)


def plan(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Seal it: `apply FILE` does exactly this.")
    ] = None,
    override: OverrideOption = None,
    prune: Prune = False,
    as_json: AsJson = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when there is a change.")
    ] = False,
) -> None:
    """Show what `apply` would do now, why, and what it costs those who are connected."""
    from orchestrator import plan as plan_
    from orchestrator import planning, plantext
    from orchestrator.cli import accounts

    spec, declared = accounts.read(context.obj, prune=prune)
    todo, world = planning.make_plan(spec, declared, ignore_holds=override == "reset")
    if todo.base is None:
        _tell_of_damage(spec.state_dir)
    if output is not None:
        _seal(output, spec, declared, todo, world, override or "respect")
    if as_json:
        suite.print_json(plan_.as_json(todo))
    else:
        typer.echo(plantext.text(todo))
    if output is not None:
        suite.tell(f"sealed in {output}: `postroom apply {output}` does exactly this")
    if detailed_exitcode and todo.changes:
        raise typer.Exit(Exit.DIFFERENCES)


def apply(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A plan that `plan -o` sealed. Default: what the spec says now."),
    ] = None,
    wait: Wait = None,
    on_failure: OnFailure = "rollback",
    override: OverrideOption = None,
    prune: Prune = False,
    as_json: AsJson = False,
) -> None:
    """Make it so. Exit 73: this host is not ready for it, 75: the plan is stale or the suite is busy, nothing changed;
    4: failed and rolled back."""
    from orchestrator.attempt import Options
    from orchestrator.cli import progress

    if file is not None and (override is not None or prune):
        raise typer.BadParameter("a sealed plan has its own --override and --prune: give them to `plan -o`")
    limit_s = WAIT_S if wait is None else wait
    options = Options(
        lock_wait_s=limit_s,
        ready_s=limit_s,
        on_failure=on_failure,
        override=override or "respect",
        by=suite.actor("apply"),
    )
    with failures_as_json(wanted=as_json), progress.shown() as shown:
        if file is None:
            done = _apply_spec(context.obj, options, shown, prune=prune)
        else:
            done = _apply_plan(context, file, options, shown)
    print_applied(done, as_json=as_json)


def _apply_spec(path: Path, options: "Options", shown: "Progress", *, prune: bool) -> "Applied":
    from orchestrator import apply as apply_
    from orchestrator.cli import accounts

    return apply_.apply(*accounts.read(path, prune=prune), options, shown.tell, doing=shown.doing)


def _apply_plan(context: typer.Context, file: Path, options: "Options", shown: "Progress") -> "Applied":
    import dataclasses

    from orchestrator import apply as apply_
    from orchestrator import planning, sealed
    from orchestrator.cli import accounts

    found = sealed.read(file)
    if context.obj.exists() and (here := suite.place(context).state_dir) != Path(found.terms.state_dir):
        raise BadPlan(f"{file} is a plan for {found.terms.state_dir}; {context.obj} says {here}")
    options = dataclasses.replace(options, override=found.terms.override)
    spec, declared = accounts.of_sealed(found)
    # Before pre-flight too, which might only tell that what has moved is in the way.
    found.refuse_if_stale(*planning.make_plan(spec, declared, ignore_holds=options.override == "reset"))
    return apply_.apply(spec, declared, options, shown.tell, doing=shown.doing, review=found.refuse_if_stale)


def _tell_of_damage(state_dir: Path) -> None:
    """A generation that is not whole counts for nothing: apply makes a new one, though nothing that runs may change."""
    from orchestrator import generation

    try:
        if (held := generation.current(state_dir)) is not None:
            held.verify()
    except GenerationDamaged as error:
        suite.tell(str(error))


def _seal(
    output: Path, spec: "Spec", declared: "DeclaredAccounts", todo: "Plan", world: "World", override: Override
) -> None:
    from orchestrator import plan as plan_
    from orchestrator import sealed

    declaration = declared.declaration
    terms = sealed.Terms(
        spec=sealed.Source(path=str(spec.path.absolute()), text=spec.text.decode()),
        accounts=None if declaration is None else sealed.Source(path=str(spec.accounts), text=declaration.text),
        state_dir=str(spec.state_dir),
        override=override,
        prune=declared.prune,
    )
    sealed.write(output, sealed.Sealed(terms=terms, observed=sealed.facts(world), plan=plan_.as_json(todo)))


@contextlib.contextmanager
def failures_as_json(*, wanted: bool) -> Iterator[None]:
    """Where JSON is wanted, what kept a change from being made is an object, too."""
    try:
        yield
    except PlanStale as error:
        if wanted:
            suite.print_json({"schema_version": 1, "error": "stale", "moved": [one.as_json() for one in error.moved]})
        raise
    except ApplyFailed as error:
        if wanted:
            failed: dict[str, Json] = {"generation": error.generation, "outcome": error.outcome, "reason": str(error)}
            suite.print_json({"schema_version": 1, "error": "failed", **failed})
        raise


def print_applied(done: "Applied", *, as_json: bool) -> None:
    """What came of an apply or a rollback."""
    from orchestrator import plan as plan_
    from orchestrator import plantext

    if as_json:
        result: Json = {
            "schema_version": 1,
            "generation": done.generation,
            "new": done.new,
            "plan": plan_.as_json(done.plan),
        }
        suite.print_json(result)
        return
    for line in plantext.accounts(done.plan):
        suite.tell(line)
    changed = done.new or done.plan.changes
    typer.echo(f"generation {done.generation} holds" if changed else f"no change: generation {done.generation} holds")
    held = [action.service for action in done.plan.actions if action.verb is plan_.Verb.HOLD]
    if held:
        suite.tell(f"held, not started: {', '.join(held)}; `postroom start` or `apply --override reset` starts them")
