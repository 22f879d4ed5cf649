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
    plan,
    planning,
    preflight,
    readback,
    status,
)
from orchestrator.attempt import Attempt, Options
from orchestrator.errors import GenerationDamaged
from orchestrator.facts import World
from orchestrator.generation import CONFIGURATION, Generation
from orchestrator.operate import Tell
from orchestrator.place import Place
from orchestrator.plan import Plan
from orchestrator.planning import Accounts, Draft
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
            wanted = planning.draft(spec, number)
            todo, world = planning.plan_for(spec, wanted, accounts, ignore_holds=options.override == "reset")
            review(todo, world)
            is_new = held is None or _differs(spec, held, accounts, todo)
            if held is not None and not (is_new or todo.changes) and generation.is_live(state_dir, held):
                return Applied(plan=todo, generation=held.number, new=False)
            folders.prepare(spec)
            target = held
            if is_new or target is None:
                target = _write(state_dir, number, wanted, _sources(spec, accounts, options, todo))
            take_back_certificate = certificates.way_back(state_dir)
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
            take_back_certificate=take_back_certificate,
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
    if any(held.text(name) != text for name, text in planning.draft(spec, held.number).files.items()):
        return True
    return bool(todo.accounts) and held.text(generation.ACCOUNTS) != accounts.text


def _write(state_dir: Path, number: int, wanted: Draft, sources: Mapping[str, str]) -> Generation:
    def read_back(folder: Path) -> None:
        readback.read_back(folder / CONFIGURATION, wanted.rendered)

    return generation.write(state_dir, number, {**wanted.files, **sources}, check=read_back)
