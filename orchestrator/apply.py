"""Makes what runs be what the spec says: under a lock, generation by generation, service by service.

Order: lock → pre-flight → render → look at what runs → plan → write the generation aside, read it back, rename →
certificates and accounts → make it the one that holds → switch per service in dependency order → record the result.

Guarantees: what fails before the switch changes nothing that runs. A service that does not become ready is not cut
over: its old workers go on serving, and what was switched before it goes back, by a plan from what runs then to the
generation that held before. Equal spec and everything running: nothing is written or touched. Killed in between, the
next apply goes on from what it finds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from maillib import control
from maillib.errors import MailError
from maillib.settings.base import Json
from maillib.version import VERSION
from orchestrator import (
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
from orchestrator.errors import ApplyFailed
from orchestrator.generation import Generation
from orchestrator.operate import Tell
from orchestrator.place import Place
from orchestrator.plan import Plan
from orchestrator.render import CONFIGURATION, Rendered, render
from orchestrator.spec import Spec
from orchestrator.switch import Switch

SCHEMA_VERSION = 1

ACCOUNTS = "accounts.yaml"
RESOLVED = "resolved.json"
"""Names of files in a generation, beside those of `render`."""


class Accounts(Protocol):
    """The declared accounts. Given to apply from outside: only administration touches the store."""

    @property
    def text(self) -> str | None:
        """The declaration as it was read; None: the spec names none."""

    def plan(self) -> Sequence[str]:
        """What would change, one sentence each. Raises MailError."""

    def apply(self) -> None:
        """Change it; services answer by the new data when this returns. Raises MailError."""


_ALONE_WAIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    lock_wait_s: float = 60.0
    ready_s: float = 60.0
    """How long one service may take to become ready."""
    on_failure: Literal["rollback", "hold"] = "rollback"
    """hold: leave everything as the failure left it."""
    override: Literal["respect", "reset"] = "respect"
    """reset: start what is held."""
    by: str = "postroom apply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of it."""

    plan: Plan
    generation: int
    new: bool
    """It was made by this apply."""


def make_plan(spec: Spec, accounts: Accounts, *, ignore_holds: bool = False) -> Plan:
    """What `apply` would do now. Changes nothing."""
    rendered = _render(spec, generation.next_number(spec.state_dir))
    return _plan(spec, {**rendered.files, RESOLVED: _resolved(spec)}, accounts, ignore_holds=ignore_holds)


def apply(spec: Spec, accounts: Accounts, options: Options, tell: Tell) -> Applied:
    """Raises PreflightFailed, Locked and ApplyFailed; other MailErrors for what failed before the switch began."""
    preflight.check(spec)
    state_dir = spec.state_dir
    state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    with locks.exclusive(state_dir, "apply", wait_s=options.lock_wait_s):
        preflight.check(spec)  # once more: whoever held the lock may have changed what runs
        held = generation.current(state_dir)
        number = generation.next_number(state_dir)
        rendered = _render(spec, number)
        files = {**rendered.files, RESOLVED: _resolved(spec)}
        todo = _plan(spec, files, accounts, ignore_holds=options.override == "reset")
        is_new = held is None or _differs(spec, held, accounts, todo)
        if held is not None and not is_new and not todo.changes:
            return Applied(plan=todo, generation=held.number, new=False)
        folders.prepare(spec)
        target = held
        if is_new or target is None:
            target = _write(spec, number, rendered, {**files, **_sources(spec, accounts), "plan.json": _json(todo)})
        if spec.tls_mode == "self-signed":
            certificates.ensure(state_dir, spec.hostname)
        accounts.apply()
        folders.give(spec)
        _switch(spec, held, target, todo, options, tell)
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


def _plan(spec: Spec, files: Mapping[str, str], accounts: Accounts, *, ignore_holds: bool) -> Plan:
    due = certificates.due(spec.state_dir, spec.hostname) if spec.tls_mode == "self-signed" else None
    world = survey.world(Place(spec.state_dir), certificate_due=due)
    return plan.plan(survey.wanted(files), world, ignore_holds=ignore_holds, accounts=accounts.plan())


def _render(spec: Spec, number: int) -> Rendered:
    return render(spec, resources.programs(), generation=number, as_root=operate.is_root())


def _resolved(spec: Spec) -> str:
    return generation.encode(spec_.resolved(spec))


def _json(todo: Plan) -> str:
    return generation.encode(plan.as_json(todo))


def _sources(spec: Spec, accounts: Accounts) -> dict[str, str]:
    sources = {"spec.yaml": spec.text.decode()}
    return sources if accounts.text is None else {**sources, ACCOUNTS: accounts.text}


def _differs(spec: Spec, held: Generation, accounts: Accounts, todo: Plan) -> bool:
    """Whether what a generation holds would be another one: comments in the spec are no reason."""
    same_number = _render(spec, held.number)
    wanted = {**same_number.files, RESOLVED: _resolved(spec)}
    if any(held.text(name) != text for name, text in wanted.items()):
        return True
    return bool(todo.accounts) and held.text(ACCOUNTS) != accounts.text


def _write(spec: Spec, number: int, rendered: Rendered, files: Mapping[str, str]) -> Generation:
    def read_back(folder: Path) -> None:
        readback.read_back(folder / CONFIGURATION, rendered)

    return generation.write(spec.state_dir, number, files, check=read_back)


def _switch(spec: Spec, held: Generation | None, target: Generation, todo: Plan, options: Options, tell: Tell) -> None:
    place = Place(spec.state_dir)
    reset = options.override == "reset"
    switch = Switch(place=place, by=options.by, ready_s=options.ready_s, ignore_holds=reset, tell=tell)
    begun = control.now()
    generation.switch(place.state_dir, target)
    try:
        switch.run(todo)
    except MailError as error:
        outcome = "held"
        if options.on_failure == "rollback":
            outcome = _roll_back(switch, held, tell)
        target.record(_result(outcome, begun, options, str(error)))
        raise ApplyFailed(f"{error} ({_OUTCOMES[outcome]})") from None
    target.record(_result("applied", begun, options, None))


_OUTCOMES = {
    "held": "everything was left as it is now",
    "rolled back": "everything else is as it was before",
    "rollback failed": "not everything could be brought back; `postroom status` tells, `postroom apply` mends",
}


def _roll_back(switch: Switch, held: Generation | None, tell: Tell) -> str:
    """Back to `held`, as far as it goes. Returns the outcome."""
    place = switch.place
    try:
        if held is None:
            names = [path.name for path in (place.run / "services").glob("*")]
            operate.end_all(place, names, drain_s=0.0, tell=tell)
            generation.switch(place.state_dir, None)
            return "rolled back"
        generation.switch(place.state_dir, held)
        switch.run(plan.plan(survey.wanted(survey.files_of(held)), survey.world(place)))
    except MailError as error:
        tell(f"rollback: {error}")
        return "rollback failed"
    return "rolled back"


def _result(outcome: str, begun: float, options: Options, error: str | None) -> Json:
    return {
        "schema_version": SCHEMA_VERSION,
        "outcome": outcome,
        "by": options.by,
        "version": VERSION,
        "begun": status.iso(begun),
        "ended": status.iso(control.now()),
        "error": error,
    }
