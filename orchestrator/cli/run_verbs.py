"""Verbs on what runs: status, start, stop, restart, reload, sessions, wait, release, logs, down."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maillib import control
from maillib.control import Verb
from maillib.errors import NotFound, Transient
from maillib.settings.base import Json
from orchestrator import generation
from orchestrator.cli import suite
from orchestrator.errors import Exit, NotReady, SupervisorDown
from orchestrator.place import Place

if TYPE_CHECKING:  # the verbs that need them import them: they cost more than the rest of the start
    from orchestrator.status import Observation, ServiceStatus

READY_S = 60.0
"""Default of --timeout: how long services may take to become ready."""
DOWN_DRAIN_S = 10.0
_QUICK_STOP_S = 0.7
"""`stop` without --wait returns after this, whatever still finishes."""
_WATCH_S = 1.0
_FOLLOW_S = 0.2
_LOG_TAIL = 50

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Services; `all`: every enabled one.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A service.")]
Json_ = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Drain = Annotated[
    float | None,
    typer.Option(
        "--drain", parser=suite.duration, metavar="60s", help="Sessions may go on so long; never beyond stop.drain."
    ),
]
Now = Annotated[bool, typer.Option("--now", help="Say goodbye to sessions at once.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when the last session has ended.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Kept with the hold.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", parser=suite.duration, metavar="60s", help="At most so long.")
]


def register(app: typer.Typer) -> None:
    for verb in (status, start, stop, restart, reload, sessions, wait, release, logs, down):
        app.command()(verb)


def status(
    context: typer.Context,
    as_json: Json_ = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """Show what runs. Exit 0: all as wanted; 3: not; 69: supervisord does not answer though it should."""
    place = suite.place(context)
    while True:
        observation, rows = look(context, place)
        if as_json:
            suite.print_json(_status_json(place, observation, rows))
        else:
            from orchestrator.status import table

            clear = "\x1b[H\x1b[J" if watch else ""
            typer.echo(clear + table(rows))
        if not watch:
            break
        time.sleep(_WATCH_S)
    if observation.left_behind:
        raise SupervisorDown("supervisord does not answer though it should; `postroom apply` brings it back")
    for line in _remarks(observation, rows):
        suite.tell(line)
    raise typer.Exit(Exit.DONE if all(row.as_wanted for row in rows.values()) else Exit.NOT_AS_WANTED)


def start(
    context: typer.Context,
    names: Names,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when they are ready, or at once.")] = True,
    timeout: Timeout = None,
) -> None:
    """Start services and wait until they are ready. Ends their holds."""
    from orchestrator import holds, operate
    from orchestrator.supervisor import Supervisor

    place = suite.place(context)
    limit_s = READY_S if timeout is None else timeout
    rows = suite.services(place)
    for name in _in_dependency_order(rows, suite.chosen(place, names)):
        if not rows[name]["enabled"]:
            raise NotFound(f"{name} is off: set `enabled: true` in the spec and apply")
        holds.release(place.state_dir, [name])
        with Supervisor(place.supervisor) as supervisor:
            operate.start(supervisor, name, timeout_s=limit_s)
        if wait:
            operate.wait_ready(place, name, timeout_s=limit_s)
        suite.tell(f"{name}: {'running' if wait else 'starting'}")


def stop(
    context: typer.Context,
    names: Names,
    wait: Wait = False,
    drain: Drain = None,
    now: Now = False,
    reason: Reason = None,
) -> None:
    """Stop services: no new sessions from now on, those that are open finish. Holds them stopped."""
    from orchestrator import holds, operate
    from orchestrator.supervisor import Supervisor

    place = suite.place(context)
    rows = suite.services(place)
    chosen = list(reversed(_in_dependency_order(rows, suite.chosen(place, names))))
    workers = {name: _workers(place, name) for name in chosen}
    with Supervisor(place.supervisor) as supervisor:
        loaded = supervisor.processes()
        for name in (name for name in chosen if rows[name]["enabled"]):
            holds.hold(place.state_dir, name, who=suite.actor("stop"), why=reason or "")
        limit_s = 0.0 if now else drain
        begun = [name for name in chosen if name in loaded]
        stopping = operate.stop(supervisor, begun, timeout_s=_QUICK_STOP_S)
        if limit_s is not None:
            for name in chosen:
                operate.drain(place, name, limit_s=limit_s)
    for name in chosen:
        left = len(operate.draining(place, name))
        foreground = " in the foreground, since no agent answers" if name in stopping else ""
        finish = "1 worker finishes its" if left == 1 else f"{left} workers finish their"
        suite.tell(f"{name}: stopped" + (f"; {finish} sessions{foreground}" if left else ""))
    if wait:
        _wait_drained(place, workers)


def restart(
    context: typer.Context,
    names: Names,
    wait: Wait = False,
    drain: Drain = None,
    now: Now = False,
    timeout: Timeout = None,
) -> None:
    """Replace master code and workers without refusing a connection; start what does not run."""
    limit_s = READY_S if timeout is None else timeout
    _change(context, names, Verb.RESTART, limit_s, wait=wait, drain_s=0.0 if now else drain)


def reload(
    context: typer.Context,
    names: Names,
    wait: Wait = False,
    drain: Drain = None,
    now: Now = False,
    timeout: Timeout = None,
) -> None:
    """Replace workers, with certificates and secrets read anew, without refusing a connection."""
    limit_s = READY_S if timeout is None else timeout
    _change(context, names, Verb.RELOAD, limit_s, wait=wait, drain_s=0.0 if now else drain)


def sessions(context: typer.Context, name: Name, as_json: Json_ = False) -> None:
    """List the open sessions of a service, those that finish included."""
    place = suite.place(context)
    rows = _sessions(place, suite.one(place, name))
    if as_json:
        listed: list[Json] = list(rows)
        suite.print_json({"schema_version": 1, "service": name, "sessions": listed})
        return
    from orchestrator.status import iso

    columns = ("id", "user", "peer", "listener", "tls", "since", "finishing", "doing")
    suite.print_rows([{**row, "since": iso(float(str(row["since"])))} for row in rows], columns)


def wait(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: every enabled one.")] = None,
    until: Annotated[Literal["ready", "stopped", "drained"], typer.Option("--for", help="What to wait for.")] = "ready",
    timeout: Timeout = None,
) -> None:
    """Wait until services are ready, take no more sessions, or have finished the last one. Exit 3: not in time."""
    from orchestrator import operate

    place = suite.place(context)
    deadline = time.monotonic() + (READY_S if timeout is None else timeout)
    chosen = suite.chosen(place, names or ["all"])
    reached = _REACHED[until]
    while late := [name for name, row in look(context, place)[1].items() if name in chosen and not reached(row)]:
        if time.monotonic() > deadline:
            raise NotReady(f"not {until} in time: {', '.join(late)}")
        time.sleep(_FOLLOW_S)
    if until == "ready":
        for name in chosen:
            operate.wait_ready(place, name, timeout_s=max(0.0, deadline - time.monotonic()))


def release(context: typer.Context, names: Names) -> None:
    """End holds: the next apply starts these services again."""
    from orchestrator import holds

    place = suite.place(context)
    holds.release(place.state_dir, suite.chosen(place, names))


def logs(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A service, `agent` or `supervisord`.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is added, until Ctrl-C.")] = False,
) -> None:
    """Print the end of a log."""
    place = suite.place(context)
    if name not in ("agent", "supervisord"):
        suite.one(place, name)
    path = place.logs / f"{name}.log"
    if not path.exists():
        raise NotFound(f"there is no {path} yet")
    _print_log(path, follow=follow)


def down(
    context: typer.Context,
    drain: Annotated[
        float | None,
        typer.Option("--drain", parser=suite.duration, metavar="10s", help="Sessions may go on so long."),
    ] = None,
) -> None:
    """Stop everything, supervisord too: afterwards no process and no port is left."""
    import shutil

    from orchestrator import holds, locks, operate

    place = suite.place(context)
    if not place.state_dir.is_dir():
        return
    with locks.exclusive(place.state_dir, "down", wait_s=READY_S):
        names = {path.name for path in (place.run / "services").glob("*") if path.is_dir()}
        holds.announce_stop(place.state_dir, sorted(names), by=suite.actor("down"))
        operate.end_all(place, names, drain_s=DOWN_DRAIN_S if drain is None else drain, tell=suite.tell)
        if not place.run.is_relative_to(place.state_dir):  # the short one: nothing of ours stays outside
            shutil.rmtree(place.run, ignore_errors=True)


def look(context: typer.Context, place: Place) -> "tuple[Observation, dict[str, ServiceStatus]]":
    """One look at everything, and what it means for each service of the generation that holds."""
    from orchestrator import holds
    from orchestrator import status as status_

    held = generation.current(place.state_dir)
    expected = status_.expected_from(held.data("resolved.json") if held else suite.resolved(context))
    observation = status_.observe(place.run, place.supervisor, expected, holds.read(place.state_dir))
    now = control.now()
    rows = {name: status_.describe(expected[name], observation.services[name], now) for name in expected}
    return observation, rows


def _status_json(place: Place, observation: "Observation", rows: "Mapping[str, ServiceStatus]") -> Json:
    held = generation.current(place.state_dir)
    agent = observation.agent
    return {
        "schema_version": 1,
        "generation": held.number if held else None,
        "services": {name: row.as_json() for name, row in rows.items()},
        "internal": {
            "agent": {"state": agent.state.lower(), "pid": agent.pid} if agent else None,
            "manage": None,
        },
    }


def _remarks(observation: "Observation", rows: "Mapping[str, ServiceStatus]") -> list[str]:
    """What a person should know beside the table."""
    lines = [f"{name}: {row.last_error}" for name, row in rows.items() if row.last_error and not row.as_wanted]
    if not observation.supervisor:
        lines.append("supervisord does not run; `postroom apply` starts it")
    elif observation.agent is None or observation.agent.state != "RUNNING":
        lines.append("the agent does not run: mail flows, stops drain in the foreground; `postroom apply` starts it")
    return lines


_REACHED: dict[str, "Callable[[ServiceStatus], bool]"] = {
    "ready": lambda row: row.state == "running",
    "stopped": lambda row: row.state in ("stopped", "off", "finishing"),
    "drained": lambda row: row.finishing == 0 and row.state != "finishing",
}


def _workers(place: Place, name: str) -> set[int]:
    """Process ids of all workers of `name` there are now."""
    from orchestrator import operate
    from orchestrator.status import ask_master

    master = ask_master(place.run, name)
    return operate.draining(place, name) | {worker.pid for worker in (master.workers if master else ())}


def _wait_drained(place: Place, workers: Mapping[str, set[int]]) -> None:
    """Until the workers of each service have ended. Raises NotReady when sessions had to be cut."""
    from orchestrator import operate

    cut = {name: operate.wait_drained(place, name, pids, timeout_s=None) for name, pids in workers.items()}
    if any(cut.values()):
        said = ", ".join(f"{name}: {count}" for name, count in cut.items() if count)
        raise NotReady(f"sessions that had to be cut: {said}")


def _change(
    context: typer.Context, names: list[str], verb: Verb, limit_s: float, *, wait: bool, drain_s: float | None
) -> None:
    """`drain_s`: how long sessions of the old workers may go on, where that is less than their own limit."""
    from orchestrator import operate
    from orchestrator.status import ask_master

    place = suite.place(context)
    rows = suite.services(place)
    workers: dict[str, set[int]] = {}
    for name in _in_dependency_order(rows, suite.chosen(place, names)):
        if ask_master(place.run, name) is None:
            if verb is Verb.RELOAD:
                raise NotReady(f"{name} does not run")
            start(context, [name], timeout=limit_s)
            continue
        workers[name] = _workers(place, name)
        longest_s = operate.drain_limit(place, name)
        config = generation.service_file(place.state_dir, name)
        operate.change(place, name, verb, config=config, drain_s=longest_s, tell=suite.tell)
        operate.wait_ready(place, name, timeout_s=limit_s)
        if drain_s is not None:
            operate.drain(place, name, limit_s=drain_s)
        suite.tell(f"{name}: {verb}ed")
    if wait:
        _wait_drained(place, workers)


def _in_dependency_order(rows: Mapping[str, Mapping[str, Json]], names: list[str]) -> list[str]:
    """`names`, each after those of them it depends on."""
    ordered: list[str] = []

    def place(name: str) -> None:
        dependencies = rows[name].get("depends_on")
        for other in dependencies if isinstance(dependencies, list) else []:
            if other in names and other not in ordered:
                place(str(other))
        if name not in ordered:
            ordered.append(name)

    for name in names:
        place(name)
    return ordered


def _sessions(place: Place, name: str) -> list[dict[str, Json]]:
    from orchestrator.status import ANSWER_S

    rows: list[dict[str, Json]] = []
    for record in control.read_records(place.run, name):
        try:
            path = control.worker_socket(place.run, name, record.pid)
            answer = control.ask(path, {"verb": Verb.SESSIONS}, timeout_s=ANSWER_S)
        except Transient:
            continue  # it has just ended
        listed = answer.get("sessions")
        finishing = record.state is control.WorkerState.DRAINING
        for row in listed if isinstance(listed, list) else []:
            rows.append({**row, "pid": record.pid, "finishing": finishing})
    return sorted(rows, key=lambda row: float(str(row["since"])))


def _print_log(path: Path, *, follow: bool) -> None:
    with path.open(errors="replace") as file:
        for line in file.readlines()[-_LOG_TAIL:]:
            typer.echo(line, nl=False)
        while follow:
            line = file.readline()
            if line:
                typer.echo(line, nl=False)
            elif path.exists() and path.stat().st_ino != _inode(file.fileno()):
                break
            else:
                time.sleep(_FOLLOW_S)
    if follow:
        _print_log(path, follow=True)  # it was rotated: go on with the new one


def _inode(fd: int) -> int:
    import os

    return os.fstat(fd).st_ino
