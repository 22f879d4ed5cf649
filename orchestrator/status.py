"""What runs, in the words of `postroom status`. Pure: `observation` has looked."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from maillib.settings.base import Json
from orchestrator.holds import Hold
from orchestrator.observation import Seen
from orchestrator.supervisor import EXIT_CODES, ProgramState

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
    cut: int
    """Sessions that had to be cut in the last hour."""
    last_error: str | None

    @property
    def as_wanted(self) -> bool:
        if self.desired == "running":
            return self.state is State.RUNNING and self.hold is None
        return self.state is State.OFF

    def as_json(self) -> dict[str, Json]:
        hold = self.hold
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
            "hold": {"who": hold.who, "when": iso(hold.when), "why": hold.why} if hold else None,
            "uptime_s": self.uptime_s,
            "cut": self.cut,
            "last_error": self.last_error,
        }


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
        cut=seen.cut,
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


def as_run(expected: Expected, service: Json) -> Expected:
    """The same with the listeners that its master was told: others than those in force, where an apply was killed."""
    return replace(expected, listeners=_listeners(service))


def table(rows: Mapping[str, ServiceStatus]) -> str:
    """For people: one line a service."""
    head = ("SERVICE", "STATE", "SESSIONS", "LISTENERS", "PID", "GEN", "UP", "HOLD")
    lines = [head]
    for name, row in rows.items():
        word = f"{row.state} {row.finishing}" if row.state is State.FINISHING else str(row.state)
        sessions = f"{row.sessions} ({row.finishing} finishing)" if row.finishing else str(row.sessions)
        listeners = ", ".join(str(listener["address"]) for listener in row.listeners)
        hold = hold_words(row.hold) if row.hold else ""
        lines.append(
            (name, word, sessions, listeners or "-", _or_dash(row.pid), _or_dash(row.generation), _up(row), hold)
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _expected(row: Mapping[str, Json]) -> Expected:
    config = row["config"]
    return Expected(
        protocol=str(config["protocol"]) if isinstance(config, Mapping) else "",
        enabled=bool(row["enabled"]),
        listeners=_listeners(config),
    )


def _listeners(config: Json) -> tuple[Mapping[str, Json], ...]:
    listen = config.get("listen") if isinstance(config, Mapping) else None
    return tuple(_listener(one) for one in listen if isinstance(one, Mapping)) if isinstance(listen, list) else ()


def _trouble(seen: Seen) -> str | None:
    if seen.master is not None:
        return seen.master.last_error
    if seen.program is None or seen.program.state in (ProgramState.STOPPED, ProgramState.STOPPING):
        return None
    if seen.program.trouble:
        return seen.program.trouble
    if seen.program.state is not ProgramState.EXITED:
        return None
    if seen.program.exit_status == 0:
        return "its master was told to end, and not by supervisord"
    return f"exit status {seen.program.exit_status}"


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


def hold_words(hold: Hold) -> str:
    """Who, when, why."""
    return f"{hold.who}, {iso(hold.when)}" + (f": {hold.why}" if hold.why else "")


def iso(unix: float) -> str:
    """`unix` time as machines and people read it. RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))
