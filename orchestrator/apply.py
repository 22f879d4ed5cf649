"""Makes what runs be what the spec says: under a lock, generation by generation, service by service.

Order: pre-flight → lock → render → look at what runs → plan → write the generation aside, read it back, rename →
certificate, accounts → switch per service in dependency order, each ready and probed → make it the one in force.

Guarantees: what fails before the switch changes nothing that runs. A service that does not become ready is not cut
over: its old workers go on serving, what was switched before it goes back, accounts too, and the generation in force
stays what it was (`attempt`). Equal spec and everything running: nothing is written or touched. Killed at any moment,
the old or the new generation is in force, nobody holds the lock, and the next apply goes on from what it finds.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from maillib import control
from maillib.settings.base import Json
from maillib.version import VERSION
from orchestrator import (
    attempt,
    certificates,
    folders,
    generation,
    locks,
    operate,
    plan,
    preflight,
    readback,
    resources,
    status,
    survey,
)
from orchestrator import spec as spec_
from orchestrator.attempt import Accounts, Attempt, Options
from orchestrator.errors import GenerationDamaged
from orchestrator.facts import World
from orchestrator.generation import CONFIGURATION, RESOLVED, Generation
from orchestrator.operate import Tell
from orchestrator.place import Place
from orchestrator.plan import Plan
from orchestrator.render import Rendered, render
from orchestrator.spec import Spec

SCHEMA_VERSION = 1

_ALONE_WAIT_S = 10.0

Review = Callable[[Plan, World], None]
"""Looks at what is about to be done, and at what that was concluded from; what it raises keeps everything as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of it."""

    plan: Plan
    generation: int
    new: bool
    """It was made by this apply."""


def make_plan(spec: Spec, accounts: Accounts, *, ignore_holds: bool = False) -> tuple[Plan, World]:
    """What `apply` would do now, and what that follows from. Changes nothing."""
    rendered = _render(spec, generation.next_number(spec.state_dir))
    return _plan(spec, {**rendered.files, RESOLVED: _resolved(spec)}, accounts, ignore_holds=ignore_holds)


def apply(
    spec: Spec,
    accounts: Accounts,
    options: Options,
    tell: Tell,
    *,
    doing: Tell = lambda step: None,
    review: Review = lambda todo, world: None,
) -> Applied:
    """Raises PreflightFailed, Locked and ApplyFailed; other MailErrors for what failed before the switch began.

    `doing` hears of each step when it begins. `review` is asked under the lock, before anything is written.
    """
    state_dir = spec.state_dir
    doing("pre-flight")
    preflight.check(spec)
    with contextlib.ExitStack() as stack:
        with attempt.nothing_changed_yet():
            state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            stack.enter_context(locks.exclusive(state_dir, options.verb, wait_s=options.lock_wait_s, tell=tell))
            for finding in preflight.check(spec):  # once more: whoever held the lock may have changed what runs
                tell(str(finding))
            doing("plan")
            attempt.settle(state_dir)
            held, is_damaged = _held(state_dir, tell)
            number = generation.next_number(state_dir)
            rendered = _render(spec, number)
            files = {**rendered.files, RESOLVED: _resolved(spec)}
            todo, world = _plan(spec, files, accounts, ignore_holds=options.override == "reset")
            review(todo, world)
            is_new = held is None or _differs(spec, held, accounts, todo)
            if held is not None and not (is_new or todo.changes) and generation.is_live(state_dir, held):
                return Applied(plan=todo, generation=held.number, new=False)
            folders.prepare(spec)
            target = held
            if is_new or target is None:
                target = _write(spec, number, rendered, {**files, **_sources(spec, accounts, options, todo)})
            if spec.tls_mode == "self-signed":
                certificates.ensure(state_dir, spec.hostname)
            folders.give(spec)
        Attempt(
            place=Place(state_dir),
            held=held,
            is_damaged=is_damaged,
            target=target,
            todo=todo,
            options=options,
            tell=tell,
            doing=doing,
        ).perform(accounts)
    return Applied(plan=todo, generation=target.number, new=is_new)


def prepare_alone(spec: Spec) -> bool:
    """Make what a worker needs that is started by hand without an apply: folders, and a certificate.

    True when a certificate was made. Raises Locked.
    """
    spec.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    with locks.exclusive(spec.state_dir, "config", wait_s=_ALONE_WAIT_S):
        folders.prepare(spec)
        folders.give(spec)
        return spec.tls_mode == "self-signed" and certificates.ensure(spec.state_dir, spec.hostname)


def _held(state_dir: Path, tell: Tell) -> tuple[Generation | None, bool]:
    """The generation in force, if it is whole; and whether there is one that is not."""
    try:
        held = generation.current(state_dir)
        if held is not None:
            held.verify()
    except GenerationDamaged as error:
        tell(str(error))
        return None, True
    return held, False


def _plan(spec: Spec, files: Mapping[str, str], accounts: Accounts, *, ignore_holds: bool) -> tuple[Plan, World]:
    due = certificates.due(spec.state_dir, spec.hostname) if spec.tls_mode == "self-signed" else None
    world = survey.world(Place(spec.state_dir), certificate_due=due)
    return plan.plan(survey.wanted(files), world, ignore_holds=ignore_holds, accounts=accounts.plan()), world


def _render(spec: Spec, number: int) -> Rendered:
    return render(spec, resources.programs(), generation=number, as_root=operate.is_root())


def _resolved(spec: Spec) -> str:
    return generation.encode(spec_.resolved(spec))


def _sources(spec: Spec, accounts: Accounts, options: Options, todo: Plan) -> dict[str, str]:
    """What a generation has beside the files that are rendered."""
    made: Json = {
        "schema_version": SCHEMA_VERSION,
        "by": options.by,
        "when": status.iso(control.now()),
        "version": VERSION,
        "spec": str(spec.path.absolute()),
        "accounts": None if spec.accounts is None else str(spec.accounts),
    }
    sources = {
        generation.SPEC: spec.text.decode(),
        generation.MADE: generation.encode(made),
        generation.PLAN: generation.encode(plan.as_json(todo)),
    }
    return sources if accounts.text is None else {**sources, generation.ACCOUNTS: accounts.text}


def _differs(spec: Spec, held: Generation, accounts: Accounts, todo: Plan) -> bool:
    """Whether what a generation holds would be another one: comments in the spec are no reason."""
    same_number = _render(spec, held.number)
    wanted = {**same_number.files, RESOLVED: _resolved(spec)}
    if any(held.text(name) != text for name, text in wanted.items()):
        return True
    return bool(todo.accounts) and held.text(generation.ACCOUNTS) != accounts.text


def _write(spec: Spec, number: int, rendered: Rendered, files: Mapping[str, str]) -> Generation:
    def read_back(folder: Path) -> None:
        readback.read_back(folder / CONFIGURATION, rendered)

    return generation.write(spec.state_dir, number, files, check=read_back)
