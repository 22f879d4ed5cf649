"""Verbs that look at what runs and change nothing: status, drift, sessions, wait, logs."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maillib import control
from maillib.errors import NotFound
from maillib.settings.base import Json
from orchestrator import generation, tail
from orchestrator.cli import suite
from orchestrator.errors import Exit, GenerationDamaged, NotReady, SupervisorDown
from orchestrator.place import Place

if TYPE_CHECKING:  # the verbs that need them import them: they cost more than the rest of the start
    from orchestrator.observation import Observation, Seen
    from orchestrator.status import Expected, ServiceStatus

_WATCH_S = 1.0
_FOLLOW_S = 0.2
_WAIT_S = 60.0

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A service.")]
SomeNames = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: all.")]


def register(app: typer.Typer) -> None:
    for verb in (status, drift, sessions, wait, logs):
        app.command()(verb)


def status(
    context: typer.Context,
    names: SomeNames = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """Show what runs. Exit 0: all as wanted; 3: not; 69: supervisord does not answer though it should."""
    place = suite.place(context)
    while True:
        declared = _expected(context, place)
        observation, rows = _look(place, declared, suite.chosen(place, names) if names else [*declared])
        remarks = [*_remarks(observation, rows), *_leftovers(observation, declared), *_change_under_way(place)]
        if as_json:
            _print_object(_status_json(place, observation, rows), on_one_line=watch)
        else:
            _print_table(rows, remarks, watch=watch)
        if not watch:
            break
        time.sleep(_WATCH_S)
    if not as_json:
        for line in remarks:
            suite.tell(line)
    _fail_if_silent(observation)
    raise typer.Exit(Exit.DONE if all(row.as_wanted for row in rows.values()) else Exit.NOT_AS_WANTED)


def drift(
    context: typer.Context,
    as_json: AsJson = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when anything differs.")
    ] = False,
) -> None:
    """Show where what is on disk and what runs differ from what was applied last, and what mends it."""
    from orchestrator import drift as drift_
    from orchestrator.admin.undone import undone

    found = drift_.find(suite.place(context), undone)
    if as_json:
        suite.print_json(found.as_json())
    else:
        typer.echo("\n".join(map(str, found.items)) or f"no drift: all is as generation {found.generation} has it")
    _fail_if_silent(found.observation)
    if found.items and detailed_exitcode:
        raise typer.Exit(Exit.DIFFERENCES)


def sessions(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """List the open sessions of a service, those that finish included."""
    from orchestrator.observation import open_sessions
    from orchestrator.status import iso

    place = suite.place(context)
    rows = open_sessions(place, suite.one(place, name))
    if as_json:
        listed: list[Json] = list(rows)
        suite.print_json({"schema_version": 1, "service": name, "sessions": listed})
        return
    columns = ("id", "user", "peer", "listener", "tls", "since", "finishing", "doing")
    suite.print_rows([{**row, "since": iso(float(str(row["since"])))} for row in rows], columns)


def wait(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: every enabled one.")] = None,
    until: Annotated[Literal["ready", "stopped", "drained"], typer.Option("--for", help="What to wait for.")] = "ready",
    timeout: suite.Timeout = None,
) -> None:
    """Wait until services are ready, take no more sessions, or have finished the last one. Exit 3: not in time."""
    from orchestrator import operate

    place = suite.place(context)
    deadline = time.monotonic() + (_WAIT_S if timeout is None else timeout)
    chosen, expected = suite.chosen(place, names or ["all"]), _expected(context, place)
    reached = _REACHED[until]
    while late := [name for name, row in _look(place, expected, chosen)[1].items() if not reached(row)]:
        if time.monotonic() > deadline:
            raise NotReady(f"not {until} in time: {', '.join(late)}")
        time.sleep(_FOLLOW_S)
    if until == "ready":
        for name in chosen:
            operate.wait_ready(place, name, timeout_s=max(0.0, deadline - time.monotonic()))


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
    for line in tail.lines(path, follow=follow):
        typer.echo(line, nl=False)


def _expected(context: typer.Context, place: Place) -> "dict[str, Expected]":
    """The services of the generation in force; of the spec, where none is."""
    from orchestrator.status import expected_from

    held = generation.current(place.state_dir)
    return expected_from(held.data(generation.RESOLVED) if held else suite.resolved(context))


def _look(
    place: Place, expected: "Mapping[str, Expected]", names: list[str]
) -> "tuple[Observation, dict[str, ServiceStatus]]":
    """One look at everything, and what it means for `names`."""
    from orchestrator.observation import observe
    from orchestrator.status import describe

    observation = observe(place, expected)
    now = control.now()
    rows: dict[str, ServiceStatus] = {}
    for name in names:
        seen = observation.services[name]
        rows[name] = describe(_as_run(place, name, expected[name], seen), seen, now)
    return observation, rows


def _as_run(place: Place, name: str, expected: "Expected", seen: "Seen") -> "Expected":
    from orchestrator.status import as_run

    runs = generation.numbered(place.state_dir, seen.master.generation) if seen.master else None
    with contextlib.suppress(GenerationDamaged):
        service = runs.service(name) if runs else None
        return expected if service is None else as_run(expected, service)
    return expected


def _status_json(place: Place, observation: "Observation", rows: "Mapping[str, ServiceStatus]") -> Json:
    held = generation.current(place.state_dir)
    agent = observation.agent
    return {
        "schema_version": 1,
        "generation": held.number if held else None,
        "services": {name: row.as_json() for name, row in rows.items()},
        "internal": {
            "supervisord": {"state": observation.supervisord},
            "agent": {"state": agent.state.lower(), "pid": agent.pid} if agent else None,
            "manage": None,
        },
        "unmanaged": [*observation.unmanaged],
    }


def _print_object(data: Json, *, on_one_line: bool) -> None:
    if on_one_line:
        import json

        typer.echo(json.dumps(data, ensure_ascii=False))
    else:
        suite.print_json(data)


def _print_table(rows: "Mapping[str, ServiceStatus]", remarks: list[str], *, watch: bool) -> None:
    """When watched on a terminal, in place of the last one."""
    from orchestrator.status import table

    text = table(rows)
    if not watch:
        typer.echo(text)
    elif sys.stdout.isatty():
        typer.echo("\x1b[H\x1b[J" + "\n".join((text, *remarks)))
    else:
        typer.echo("\n".join((text, *remarks, "")))


def _remarks(observation: "Observation", rows: "Mapping[str, ServiceStatus]") -> list[str]:
    """What a person should know beside the table."""
    from orchestrator.observation import Supervisord

    lines = [f"{name}: {row.last_error}" for name, row in rows.items() if row.last_error and not row.as_wanted]
    lines += [f"{name}: {row.cut} sessions had to be cut in the last hour" for name, row in rows.items() if row.cut]
    if observation.unmanaged:
        lines.append(f"not ours, left alone: {', '.join(observation.unmanaged)}; see `postroom drift`")
    if observation.supervisord is Supervisord.NONE:
        lines.append("supervisord does not run; `postroom apply` starts it")
    elif observation.supervisord is Supervisord.ENDING:
        lines.append("supervisord is shutting down: it waits for sessions to finish")
    elif observation.supervised and (observation.agent is None or observation.agent.state != "RUNNING"):
        lines.append("the agent does not run: mail flows, stops drain in the foreground; `postroom apply` starts it")
    return lines


def _leftovers(observation: "Observation", declared: "Mapping[str, Expected]") -> list[str]:
    """Services that are not declared any more, or not yet, and run; or whose last sessions finish."""
    left = {name: seen for name, seen in observation.services.items() if name not in declared}
    others = [name for name, seen in left.items() if seen.program is not None or seen.master is not None]
    lines = [f"not in the generation in force, but there: {', '.join(others)}; see `postroom drift`"] if others else []
    return lines + [
        f"{name}: removed; sessions that still finish: {seen.finishing}"
        for name, seen in left.items()
        if seen.finishing and name not in others
    ]


def _change_under_way(place: Place) -> list[str]:
    """An apply that has begun, and whether somebody still works at it."""
    from orchestrator import locks

    held = generation.current(place.state_dir)
    begun = [one for one in generation.unfinished(place.state_dir) if held is None or one.number > held.number]
    if not begun:
        return []
    holder = locks.holder(place.state_dir)
    return [f"it is being changed by {holder}" if holder else "a change was broken off; `postroom apply` ends it"]


def _fail_if_silent(observation: "Observation") -> None:
    from orchestrator.observation import Supervisord

    if observation.supervisord is Supervisord.SILENT:
        raise SupervisorDown("supervisord does not answer though it should; `postroom apply` brings it back")


_REACHED: dict[str, "Callable[[ServiceStatus], bool]"] = {
    "ready": lambda row: row.state == "running",
    "stopped": lambda row: row.state in ("stopped", "off", "finishing"),
    "drained": lambda row: row.finishing == 0 and row.state != "finishing",
}
