"""One look at all that runs: supervisord's view, what masters say of themselves, and the workers without a master.

`observe` asks everybody at the same time and works with the agent dead and with supervisord dead; silence costs it
`ANSWER_S`, twice at most, however many are silent. It changes nothing.
Leaves to others: what it means (`status`), what differs from what should be (`drift`, `plan`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from maillib import control
from maillib.control import Message, Verb, WorkerRecord, WorkerState
from maillib.errors import ConfigError
from maillib.settings.base import Json, load
from orchestrator import generation, holds
from orchestrator.asking import ask_all
from orchestrator.errors import SupervisorDown, SupervisorEnding
from orchestrator.holds import Hold
from orchestrator.place import AGENT, Place
from orchestrator.supervisor import Program, Supervisor

ANSWER_S = 2.0
"""How long a master or worker may take to answer; they need a millisecond."""


class Supervisord(StrEnum):
    """How supervisord itself is."""

    RUNNING = "running"
    ENDING = "shutting down"
    """It waits for what still finishes."""
    SILENT = "silent"
    """It does not answer, and has not ended by itself: its socket is still there."""
    NONE = "not running"


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
    listening: tuple[str, ...] | None = None
    """Addresses; None: its program is of a version that does not say."""
    room: int = 0
    """Connections that its workers can count: a higher limit needs new ones."""


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
    cut: int = 0
    """Sessions that had to be cut in the last hour, because `stop.drain` or `--drain` had passed."""

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
    supervisord: Supervisord
    agent: Program | None
    services: Mapping[str, Seen]
    unmanaged: Mapping[str, Program]
    """Programs of supervisord that no generation has ever declared: not ours to touch."""

    @property
    def supervised(self) -> bool:
        """supervisord answers."""
        return self.supervisord is Supervisord.RUNNING


def observe(place: Place, names: Iterable[str]) -> Observation:
    """Look at `names`, at every program of supervisord and at every service that left something in `run`."""
    names = set(names)
    supervisord, programs = _programs(place)
    agent = programs.pop(AGENT, None)
    strangers = programs.keys() - names
    if strangers:
        strangers -= _ever_declared(place)
    unmanaged = {name: programs.pop(name) for name in sorted(strangers)}
    left = {path.name for path in (place.run / "services").glob("*") if path.is_dir()}
    every = sorted({*names, *programs, *left})
    masters = _masters(place.run, every)
    others = _others(place.run, {name: masters.get(name) for name in every})
    held = holds.in_force(place.state_dir, programs)
    services = {
        name: Seen(
            program=programs.get(name),
            master=masters.get(name),
            others=others[name],
            hold=held.get(name),
            cut=control.sessions_cut(place.run, name),
        )
        for name in every
    }
    return Observation(supervisord=supervisord, agent=agent, services=services, unmanaged=unmanaged)


def ask_master(run: Path, name: str) -> Master | None:
    """None: no master answers."""
    return _masters(run, [name]).get(name)


def open_sessions(place: Place, name: str) -> list[dict[str, Json]]:
    """Every open session of a service as its workers describe it, the oldest first."""
    records = {control.worker_socket(place.run, name, one.pid): one for one in control.read_records(place.run, name)}
    rows: list[dict[str, Json]] = []
    for path, answer in ask_all(records, {"verb": Verb.SESSIONS}, timeout_s=ANSWER_S).items():
        record = records[path]
        more: dict[str, Json] = {"pid": record.pid, "finishing": record.state is WorkerState.DRAINING}
        rows += [{**row, **more} for row in _rows(answer, "sessions")]  # type: ignore[dict-item]  # JSON by construction
    return sorted(rows, key=lambda row: float(str(row["since"])))


def _programs(place: Place) -> tuple[Supervisord, dict[str, Program]]:
    try:
        with Supervisor(place.supervisor, timeout_s=ANSWER_S) as supervisor:
            return Supervisord.RUNNING, supervisor.processes()
    except SupervisorEnding:
        return Supervisord.ENDING, {}
    except SupervisorDown:
        return Supervisord.SILENT if place.supervisor.exists() else Supervisord.NONE, {}


def _ever_declared(place: Place) -> set[str]:
    """The services of all generations that are kept: only these are ours to stop and to remove."""
    return {path.stem for path in generation.folder(place.state_dir).glob("*/services/*.json")}


def _masters(run: Path, names: Iterable[str]) -> dict[str, Master]:
    """Those that answer, by service."""
    sockets = {control.master_socket(run, name): name for name in names}
    found = {}
    for path, answer in ask_all(sockets, {"verb": Verb.STATUS}, timeout_s=ANSWER_S).items():
        workers: Json = [_fields(Worker, row) for row in _rows(answer, "workers")]
        master = _known(Master, {**answer, "workers": workers})
        if master is not None:
            found[sockets[path]] = master
    return found


def _others(run: Path, masters: Mapping[str, Master | None]) -> dict[str, tuple[Worker, ...]]:
    """Workers with a living record that the master does not count; each is asked how many sessions it has."""
    records: dict[Path, WorkerRecord] = {}
    for name, master in masters.items():
        counted = {worker.pid for worker in master.workers} if master else set()
        for record in control.read_records(run, name):
            if record.pid not in counted:
                records[control.worker_socket(run, name, record.pid)] = record
    answers = ask_all(records, {"verb": Verb.STATUS}, timeout_s=ANSWER_S)
    found: dict[str, list[Worker]] = {name: [] for name in masters}
    for path, record in records.items():
        worker = _known(Worker, answers[path]) if path in answers else None
        if worker is None and control.is_alive(record.pid, record.start_time):
            # busy, or just about to end: it is there for a session
            worker = Worker(
                pid=record.pid,
                generation=record.generation,
                state=record.state,
                sessions=1,
                deadline=record.deadline,
            )
        if worker is not None:
            found[record.service].append(worker)
    return {name: tuple(workers) for name, workers in found.items()}


T = TypeVar("T")


def _known(kind: type[T], answer: Mapping[str, object]) -> T | None:
    """The fields we know; a newer program may say more. None when one is missing or of another type."""
    try:
        return load(kind, _fields(kind, answer))
    except ConfigError:
        return None


def _fields(kind: type[T], answer: Mapping[str, object]) -> dict[str, Json]:
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # dataclasses only
    return {key: value for key, value in answer.items() if key in names}  # type: ignore[misc]  # JSON by construction


def _rows(answer: Message, key: str) -> Sequence[Mapping[str, object]]:
    rows = answer.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
