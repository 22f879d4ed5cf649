"""Verbs that change what runs: start, stop, restart, reload, release, down.

Each but `stop` takes the lock of the suite for the act itself, not while it waits for sessions to finish afterwards.
Each leaves a line in the audit trail, also when it fails.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from maillib import control
from maillib.control import Verb
from maillib.errors import NotFound
from orchestrator import generation
from orchestrator.cli import suite
from orchestrator.errors import NotReady, SupervisorDown
from orchestrator.place import Place

READY_S = 60.0
"""Without --timeout: for the lock, and for each service to become ready."""
DOWN_DRAIN_S = 10.0
_QUICK_STOP_S = 0.7
"""`stop` without --wait returns after this, whatever still finishes."""
_ENDING_S = 30.0
"""After its deadline, how long a worker may take to say goodbye and end."""

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Services; `all`: every enabled one.")]
Drain = Annotated[
    float | None,
    typer.Option(
        "--drain", parser=suite.duration, metavar="60s", help="Old sessions may go on so long; never beyond stop.drain."
    ),
]
Now = Annotated[bool, typer.Option("--now", help="Say goodbye to old sessions at once: --drain 0s.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when the last old session has ended; 3 when one was cut.")]
Reason = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="TEXT",
        parser=lambda text: " ".join(text.split()),  # one line, wherever it is shown
        help="Kept in the audit trail, and with a hold.",
    ),
]


def register(app: typer.Typer) -> None:
    for verb in (start, stop, restart, reload, release, down):
        app.command()(verb)


def start(
    context: typer.Context,
    names: Names,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when they are ready, or at once.")] = True,
    drain: Drain = None,
    now: Now = False,
    timeout: suite.Timeout = None,
    reason: Reason = "",
) -> None:
    """Start services and wait until they are ready. Ends their holds; sessions of before a stop go on."""
    with _acting(context, "start", names, reason, timeout) as act:
        for name in act.names:
            _start(act, name, wait=wait)
            _limit(act.place, name, drain, now=now)


def stop(
    context: typer.Context,
    names: Names,
    wait: Wait = False,
    drain: Drain = None,
    now: Now = False,
    timeout: suite.Timeout = None,
    reason: Reason = "",
) -> None:
    """Stop services: no new sessions from now on, those that are open finish. Holds them stopped."""
    from orchestrator import holds, operate
    from orchestrator.supervisor import Supervisor

    with _acting(context, "stop", names, reason, timeout) as act:
        place, leaving = act.place, act.names[::-1]
        workers = {name: operate.workers(place, name) for name in leaving}
        with Supervisor(place.supervisor) as supervisor:
            loaded = supervisor.processes().keys()
            hold = holds.Hold(who=suite.actor("stop"), when=control.now(), why=reason)
            for name in leaving:
                if act.is_enabled(name):
                    holds.hold(place.state_dir, name, hold)
            stopping = operate.stop(supervisor, loaded & {*leaving}, timeout_s=_QUICK_STOP_S)
        for name in leaving:
            _limit(place, name, drain, now=now)
            suite.tell(f"{name}: stopped{_what_finishes(place, name, in_foreground=name in stopping)}")
        act.done()
        if wait:
            _wait_drained(act, workers)


def restart(
    context: typer.Context,
    names: Names,
    wait: Wait = False,
    drain: Drain = None,
    now: Now = False,
    timeout: suite.Timeout = None,
    reason: Reason = "",
) -> None:
    """Replace master code and workers without refusing a connection; start what does not run."""
    with _acting(context, "restart", names, reason, timeout) as act:
        _change(act, Verb.RESTART, wait=wait, drain=drain, now=now)


def reload(
    context: typer.Context,
    names: Names,
    wait: Wait = False,
    drain: Drain = None,
    now: Now = False,
    timeout: suite.Timeout = None,
    reason: Reason = "",
) -> None:
    """Replace workers, with certificates and secrets read anew, without refusing a connection."""
    with _acting(context, "reload", names, reason, timeout) as act:
        _change(act, Verb.RELOAD, wait=wait, drain=drain, now=now)


def release(context: typer.Context, names: Names, timeout: suite.Timeout = None, reason: Reason = "") -> None:
    """End holds: the next apply starts these services again."""
    from orchestrator import holds

    with _acting(context, "release", names, reason, timeout) as act:
        holds.release(act.place.state_dir, act.names, by=suite.actor("release"))


def down(
    context: typer.Context,
    drain: Annotated[
        float | None,
        typer.Option("--drain", parser=suite.duration, metavar="10s", help="Sessions may go on so long."),
    ] = None,
    reason: Reason = "",
) -> None:
    """Stop everything, supervisord too: afterwards no process and no port is left."""
    import shutil

    from orchestrator import holds, locks, operate
    from orchestrator.supervisor import Supervisor

    place = suite.place(context)
    if not place.state_dir.is_dir():
        return
    with locks.exclusive(place.state_dir, "down", wait_s=READY_S, tell=suite.tell):
        names = {path.name for path in (place.run / "services").glob("*") if path.is_dir()}
        with suite.audited(place, "down", sorted(names), reason=reason):
            with contextlib.suppress(SupervisorDown), Supervisor(place.supervisor) as supervisor:
                programs = supervisor.processes()
                holds.write_down(place.state_dir, {name: programs[name] for name in names & programs.keys()})
            holds.announce_stop(place.state_dir, sorted(names), by=suite.actor("down"))
            operate.end_all(place, names, drain_s=DOWN_DRAIN_S if drain is None else drain, tell=suite.tell)
            if not place.run.is_relative_to(place.state_dir):  # the short one: nothing of ours stays outside
                shutil.rmtree(place.run, ignore_errors=True)


@dataclass(slots=True)
class _Act:
    """What one verb is about to do to some services."""

    place: Place
    names: list[str]
    """In the order in which they start."""
    enabled: frozenset[str]
    timeout_s: float | None
    """As given: for each wait."""
    locked: contextlib.ExitStack

    def is_enabled(self, name: str) -> bool:
        return name in self.enabled

    @property
    def ready_s(self) -> float:
        """How long each service may take to become ready."""
        return READY_S if self.timeout_s is None else self.timeout_s

    def done(self) -> None:
        """Others may change the suite now; what is left is to wait."""
        self.locked.close()


@contextlib.contextmanager
def _acting(context: typer.Context, verb: str, names: list[str], reason: str, timeout: float | None) -> Iterator[_Act]:
    """In the audit trail, and but for a stop under the lock of the suite. Raises Locked."""
    from orchestrator import locks
    from orchestrator.order import in_order

    place = suite.place(context)
    suite.chosen(place, names)  # a wrong name is told without waiting
    with contextlib.ExitStack() as locked:
        if verb != "stop":  # nothing may hold a stop up: apply leaves what is held meanwhile
            wait_s = READY_S if timeout is None else timeout
            locked.enter_context(locks.exclusive(place.state_dir, verb, wait_s=wait_s, tell=suite.tell))
        rows, chosen = suite.services(place), suite.chosen(place, names)
        act = _Act(
            place=place,
            names=in_order({name: _names(rows[name]["depends_on"]) for name in chosen}),
            enabled=frozenset(name for name in chosen if rows[name]["enabled"]),
            timeout_s=timeout,
            locked=locked,
        )
        with suite.audited(place, verb, chosen, reason=reason):
            yield act


def _start(act: _Act, name: str, *, wait: bool) -> None:
    from orchestrator import holds, operate
    from orchestrator.supervisor import Supervisor

    if not act.is_enabled(name):
        raise NotFound(f"{name} is off: set `enabled: true` in the spec and apply")
    with Supervisor(act.place.supervisor) as supervisor:
        operate.start(supervisor, name, timeout_s=act.ready_s)
    holds.forget(act.place.state_dir, [name])
    if wait:
        operate.wait_ready(act.place, name, timeout_s=act.ready_s)
    suite.tell(f"{name}: {'running' if wait else 'starting'}")


def _change(act: _Act, verb: Verb, *, wait: bool, drain: float | None, now: bool) -> None:
    """Reload or restart, one after the other."""
    from orchestrator import operate
    from orchestrator.observation import ask_master
    from orchestrator.supervisor import Supervisor

    place = act.place
    with Supervisor(place.supervisor) as supervisor:
        supervisor.pid()  # where it does not answer, nothing is begun that nobody can see the end of
    workers: dict[str, set[int]] = {}
    for name in act.names:
        if ask_master(place.run, name) is None:
            if verb is Verb.RELOAD:
                raise NotReady(f"{name} does not run")
            _start(act, name, wait=True)
            continue
        workers[name] = operate.workers(place, name)
        longest_s = operate.drain_limit(place, name)
        config = generation.service_file(place.state_dir, name)
        operate.change(place, name, verb, config=config, drain_s=longest_s, tell=suite.tell)
        operate.wait_ready(place, name, timeout_s=act.ready_s)
        _limit(place, name, drain, now=now)
        suite.tell(f"{name}: {verb}ed")
    act.done()
    if wait:
        _wait_drained(act, workers)


def _limit(place: Place, name: str, drain_s: float | None, *, now: bool) -> None:
    """Sessions of old workers may go on so long, where that is less than their own limit."""
    from orchestrator import operate

    if now or drain_s is not None:
        operate.drain(place, name, limit_s=0.0 if now or drain_s is None else drain_s)


def _what_finishes(place: Place, name: str, *, in_foreground: bool) -> str:
    from orchestrator import operate

    left = len(operate.draining(place, name))
    if not left:
        return ""
    finish = "1 worker finishes its" if left == 1 else f"{left} workers finish their"
    return f"; {finish} sessions" + (" in the foreground, since no agent answers" if in_foreground else "")


def _wait_drained(act: _Act, workers: dict[str, set[int]]) -> None:
    """Until the workers of each service have ended. Raises NotReady when sessions had to be cut."""
    from orchestrator import operate

    cut = {}
    for name, pids in workers.items():
        limit_s = operate.drain_limit(act.place, name) + _ENDING_S if act.timeout_s is None else act.timeout_s
        cut[name] = operate.wait_drained(act.place, name, pids, timeout_s=limit_s)
    if any(cut.values()):
        said = ", ".join(f"{name}: {count}" for name, count in cut.items() if count)
        raise NotReady(f"sessions that had to be cut: {said}")


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []
