"""What runs, truly: supervisord's view, what masters say of themselves, and the workers that finish without one.

`observe` asks all of them and is bounded by the slowest one's silence (`ANSWER_S`); it works with the agent dead and
with supervisord dead. `describe` is pure: from what was seen to what `postroom status` says.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from maillib import control
from maillib.control import Message, Verb, WorkerState
from maillib.errors import ConfigError, Transient
from maillib.settings.base import Json, load
from orchestrator.errors import SupervisorDown
from orchestrator.holds import Hold
from orchestrator.place import AGENT
from orchestrator.supervisor import EXIT_CODES, Program, ProgramState, Supervisor

ANSWER_S = 2.0
"""How long a master or worker may take to answer; they need a millisecond."""
_PARALLEL = 16
_STARTING_S = 20.0
"""How long a program may run until its master answers: the wait for a taken port, and some."""

SCHEMA_VERSION = 1


class State(StrEnum):
    """State of a service."""

    RUNNING = "running"
    STARTING = "starting"
    FINISHING = "finishing"
    STOPPED = "stopped"
    FAILED = "failed"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker, as its master or itself reports it."""

    pid: int
    generation: int
    state: str
    sessions: int
    deadline: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """Answer of a master to `status`."""

    pid: int
    version: str
    code: str
    generation: int
    digest: str
    certificate: str | None
    """Digest of the certificate that its workers were started with."""
    started: float
    state: str
    workers: tuple[Worker, ...]
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was found of one service."""

    program: Program | None = None
    """None: supervisord has no such program, or does not answer."""
    master: Master | None = None
    """None: no master answers."""
    others: tuple[Worker, ...] = ()
    """Living workers that are not of that master: drainers of a stop, or serving ones whose master was killed."""
    hold: Hold | None = None

    @property
    def workers(self) -> tuple[Worker, ...]:
        return (*(self.master.workers if self.master else ()), *self.others)

    @property
    def sessions(self) -> int:
        return sum(worker.sessions for worker in self.workers)

    @property
    def finishing(self) -> int:
        return sum(worker.sessions for worker in self.workers if worker.state == WorkerState.DRAINING)

    @property
    def drainers(self) -> tuple[Worker, ...]:
        return tuple(worker for worker in self.others if worker.state == WorkerState.DRAINING)

    @property
    def supervised(self) -> bool:
        """The master that answers is the one supervisord started."""
        return self.master is not None and self.program is not None and self.program.pid == self.master.pid


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at everything."""

    supervisor: bool
    """supervisord answers."""
    left_behind: bool
    """It does not, and has not ended by itself: its socket is still there."""
    agent: Program | None
    services: Mapping[str, Seen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One service of the spec that was applied, as far as status shows it."""

    protocol: str
    enabled: bool
    listeners: tuple[Mapping[str, Json], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One row of `postroom status`."""

    protocol: str
    enabled: bool
    desired: str
    state: State
    pid: int | None
    sessions: int
    finishing: int
    listeners: tuple[Mapping[str, Json], ...]
    generation: int | None
    hold: Hold | None
    uptime_s: int | None
    last_error: str | None

    @property
    def as_wanted(self) -> bool:
        if self.desired == "running":
            return self.state is State.RUNNING and self.hold is None
        return self.state is State.OFF

    def as_json(self) -> dict[str, Json]:
        hold: Json = None
        if self.hold is not None:
            hold = {"who": self.hold.who, "when": iso(self.hold.when), "why": self.hold.why}
        return {
            "protocol": self.protocol,
            "enabled": self.enabled,
            "desired": self.desired,
            "state": self.state.value,
            "pid": self.pid,
            "sessions": self.sessions,
            "finishing": self.finishing,
            "listeners": [dict(listener) for listener in self.listeners],
            "generation": self.generation,
            "hold": hold,
            "uptime_s": self.uptime_s,
            "last_error": self.last_error,
        }


def observe(run: Path, socket: Path, names: Iterable[str], holds: Mapping[str, Hold]) -> Observation:
    """Look at `names`, at every program of supervisord and at every service that left something in `run`."""
    try:
        with Supervisor(socket, timeout_s=ANSWER_S) as supervisor:
            programs, answers = supervisor.processes(), True
    except SupervisorDown:
        programs, answers = {}, False
    found = {path.name for path in (run / "services").glob("*") if path.is_dir()}
    agent = programs.pop(AGENT, None)
    every = sorted({*names, *programs, *found})
    with ThreadPoolExecutor(_PARALLEL) as pool:
        masters = dict(zip(every, pool.map(lambda name: ask_master(run, name), every), strict=True))
        others = dict(zip(every, pool.map(lambda name: _others(run, name, masters[name]), every), strict=True))
    services = {
        name: Seen(program=programs.get(name), master=masters[name], others=others[name], hold=holds.get(name))
        for name in every
    }
    left_behind = not answers and socket.exists()
    return Observation(supervisor=answers, left_behind=left_behind, agent=agent, services=services)


def ask_master(run: Path, name: str) -> Master | None:
    """None: no master answers."""
    try:
        answer = control.ask(control.master_socket(run, name), {"verb": Verb.STATUS}, timeout_s=ANSWER_S)
        return _known(Master, {**answer, "workers": [_fields(Worker, row) for row in _rows(answer, "workers")]})
    except (Transient, ConfigError):
        return None


def describe(expected: Expected, seen: Seen, now: float) -> ServiceStatus:
    """What `postroom status` says of one service."""
    master = seen.master
    return ServiceStatus(
        protocol=expected.protocol,
        enabled=expected.enabled,
        desired="running" if expected.enabled else "stopped",
        state=state(seen, now, enabled=expected.enabled),
        pid=master.pid if master else None,
        sessions=seen.sessions,
        finishing=seen.finishing,
        listeners=expected.listeners,
        generation=master.generation if master else None,
        hold=seen.hold,
        uptime_s=max(0, int(now - master.started)) if master else None,
        last_error=_trouble(seen),
    )


def state(seen: Seen, now: float, *, enabled: bool = True) -> State:
    """One word for it. A master that answers knows best; else what supervisord says; else what workers are left."""
    if seen.master is not None:
        if seen.master.state == "starting":
            return State.FAILED if seen.master.last_error else State.STARTING
        return State.RUNNING if seen.master.state == "running" else State.FINISHING
    program = seen.program.state if seen.program else None
    if program is ProgramState.EXITED and seen.program is not None:
        return State.FAILED if seen.program.exit_status in EXIT_CODES else State.STARTING  # supervisord tries again
    if program in (ProgramState.BACKOFF, ProgramState.FATAL, ProgramState.UNKNOWN):
        return State.FAILED
    if program in (ProgramState.STARTING, ProgramState.RUNNING) and seen.program is not None:
        return State.STARTING if now - seen.program.since < _STARTING_S else State.FAILED
    if program is ProgramState.STOPPING or seen.drainers:
        return State.FINISHING
    if seen.others:
        return State.FAILED  # workers that still serve, whose master is gone and has no successor
    return State.STOPPED if enabled else State.OFF


def expected_from(resolved: Json) -> dict[str, Expected]:
    """The services of resolved.json, in the order of the spec."""
    services = resolved.get("services") if isinstance(resolved, Mapping) else None
    rows = services if isinstance(services, Mapping) else {}
    return {name: _expected(row) for name, row in rows.items() if isinstance(row, Mapping)}


def table(rows: Mapping[str, ServiceStatus]) -> str:
    """For people: one line a service."""
    head = ("SERVICE", "STATE", "SESSIONS", "LISTENERS", "PID", "GEN", "UP", "HOLD")
    lines = [head]
    for name, row in rows.items():
        word = f"{row.state} {row.finishing}" if row.state is State.FINISHING else str(row.state)
        sessions = f"{row.sessions} ({row.finishing} finishing)" if row.finishing else str(row.sessions)
        listeners = ", ".join(str(listener["address"]) for listener in row.listeners)
        hold = (
            f"{row.hold.who}, {iso(row.hold.when)}" + (f": {row.hold.why}" if row.hold.why else "") if row.hold else ""
        )
        lines.append(
            (name, word, sessions, listeners or "-", _or_dash(row.pid), _or_dash(row.generation), _up(row), hold)
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _expected(row: Mapping[str, Json]) -> Expected:
    config = row["config"]
    listen = config["listen"] if isinstance(config, Mapping) else None
    return Expected(
        protocol=str(config["protocol"]) if isinstance(config, Mapping) else "",
        enabled=bool(row["enabled"]),
        listeners=tuple(_listener(one) for one in listen if isinstance(one, Mapping))
        if isinstance(listen, list)
        else (),
    )


def _others(run: Path, name: str, master: Master | None) -> tuple[Worker, ...]:
    """Workers with a living record that the master does not count; each is asked how many sessions it has."""
    counted = {worker.pid for worker in master.workers} if master else set()
    workers = []
    for record in control.read_records(run, name):
        if record.pid in counted:
            continue
        try:
            answer = control.ask(
                control.worker_socket(run, name, record.pid), {"verb": Verb.STATUS}, timeout_s=ANSWER_S
            )
            workers.append(_known(Worker, answer))
        except (Transient, ConfigError):
            if control.is_alive(record.pid, record.start_time):  # busy, or just about to end: it is there for a session
                workers.append(
                    Worker(
                        pid=record.pid,
                        generation=record.generation,
                        state=record.state,
                        sessions=1,
                        deadline=record.deadline,
                    )
                )
    return tuple(workers)


def _trouble(seen: Seen) -> str | None:
    if seen.master is not None:
        return seen.master.last_error
    if seen.program is None or seen.program.state in (ProgramState.STOPPED, ProgramState.STOPPING):
        return None
    if seen.program.trouble:
        return seen.program.trouble
    return f"exit status {seen.program.exit_status}" if seen.program.state is ProgramState.EXITED else None


T = TypeVar("T")


def _known(kind: type[T], answer: Mapping[str, object]) -> T:
    """The fields we know; a newer program may say more. Raises ConfigError when one is missing or of another type."""
    return load(kind, _fields(kind, answer))


def _fields(kind: type[T], answer: Mapping[str, object]) -> dict[str, Json]:
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # dataclasses only
    return {key: value for key, value in answer.items() if key in names}  # type: ignore[misc]  # JSON by construction


def _rows(answer: Message, key: str) -> Sequence[Mapping[str, object]]:
    rows = answer.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _listener(row: Mapping[str, Json]) -> dict[str, Json]:
    host, port = str(row["host"]), row["port"]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return {"address": address, "role": row.get("role"), "tls": row.get("tls")}


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _up(row: ServiceStatus) -> str:
    if row.uptime_s is None:
        return "-"
    minutes, seconds = divmod(row.uptime_s, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"


def iso(unix: float) -> str:
    """`unix` time as machines and people read it. RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))
