"""The steps of which `apply` and the run verbs consist: start, stop, reload, restart, and the waits between them.

Guarantees: nothing waits without a limit; a step that did not get there in time raises `NotReady` with the reason the
programs themselves give. A step is idempotent: doing it again does no harm.
Leaves to others: which step a service needs (plan), holds (the verbs), order (apply).
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from maillib import control
from maillib.control import Verb, WorkerState
from maillib.errors import NotFound, Transient
from maillib.settings import service as service_file
from orchestrator import generation, observation, probe, processes
from orchestrator.errors import ChangeRefused, NotReady
from orchestrator.place import Place
from orchestrator.supervisor import EXIT_CODES, IDLE, POLL_S, Program, ProgramState, Supervisor

CHANGE_S = 90.0
"""A reload or restart beyond the wait for old generations: new workers 30 s, a dry start 30 s, and some."""

CUT_GRACE_S = 5.0
"""After its deadline a drainer has said goodbye; what has not ended by then is killed by `end_all`."""

FAILING_S = 10.0
"""How long a master may go on starting workers that end at once, before it counts as not ready."""

Tell = Callable[[str], None]
"""Takes one line of progress."""


def start(supervisor: Supervisor, name: str, *, timeout_s: float) -> None:
    """Have supervisord start a program, after the end of a stop that is under way. Raises NotReady, NotFound."""
    deadline = time.monotonic() + timeout_s
    while True:
        program = supervisor.processes().get(name)
        if program is None:
            raise NotFound(f"supervisord has no program {name}; `postroom apply` adds it")
        if program.state in IDLE:
            supervisor.start(name)
            return
        if program.state is not ProgramState.STOPPING:
            return
        if time.monotonic() > deadline:
            raise NotReady(f"{name} is still stopping: its sessions finish in the foreground, since no agent answers")
        time.sleep(POLL_S)


def stop(supervisor: Supervisor, names: Iterable[str], *, timeout_s: float) -> tuple[str, ...]:
    """Have supervisord stop programs, all at once. Returns those that are still stopping after `timeout_s`."""
    wanted = set(names)
    supervisor.stop(sorted(wanted))
    deadline = time.monotonic() + timeout_s
    while True:
        programs = supervisor.processes()
        stopping = tuple(sorted(name for name in wanted & programs.keys() if programs[name].state not in IDLE))
        if not stopping or time.monotonic() > deadline:
            return stopping
        time.sleep(POLL_S)


def wait_ready(place: Place, name: str, *, timeout_s: float) -> None:
    """Until the master that supervisord started has all workers ready, with the file in force, and its listeners greet.

    Raises NotReady with what master or supervisord say.
    """
    begun = time.monotonic()
    deadline = begun + timeout_s
    file = service_file.read(generation.service_file(place.state_dir, name))
    with Supervisor(place.supervisor) as supervisor:
        while True:
            program, master = supervisor.processes().get(name), observation.ask_master(place.run, name)
            if master is not None and program is not None and master.pid == program.pid:
                if master.state == "running" and master.digest == file.digest:
                    break
            elif program is None or _has_ended(program):
                raise NotReady(f"{name} is not ready: {_reason(place, name, program, None)}")
            failing = master is not None and master.last_error is not None
            if time.monotonic() > min(deadline, begun + FAILING_S if failing else deadline):
                raise NotReady(f"{name} is not ready: {_reason(place, name, program, master)}")
            time.sleep(POLL_S)
    try:
        limit_s = max(probe.ATTEMPT_S, deadline - time.monotonic())
        probe.wait(file.service.protocol, file.service.listen, timeout_s=limit_s)
    except probe.ProbeFailed as error:
        raise NotReady(f"{name} is not ready: {error}") from None


def change(place: Place, name: str, verb: Verb, *, config: Path, drain_s: float, tell: Tell) -> None:
    """Have the master of `name` reload or restart from `config`. Raises ChangeRefused, Transient.

    `drain_s`: how long an old generation may drain; the master may wait for one of them first.
    """
    request: control.Message = {"verb": verb, "config": os.fspath(config)}
    for message in control.exchange(control.master_socket(place.run, name), request, timeout_s=CHANGE_S + drain_s):
        if "event" in message:
            tell(f"{name}: {message['event']}")
        elif not message["ok"]:
            raise ChangeRefused(f"{name} keeps its old workers: {message.get('error')}")


def let_go(place: Place, name: str, address: str) -> None:
    """Have the master of `name` close a listener whose port another service takes. Raises NotReady."""
    request: control.Message = {"verb": Verb.LET_GO, "addresses": [address]}
    try:
        answer = control.ask(control.master_socket(place.run, name), request, timeout_s=CHANGE_S)
    except Transient as error:
        raise NotReady(f"{name}: {error}") from None
    if not answer["ok"]:
        raise NotReady(f"{name} keeps {address}: {answer.get('error')}")


def drain(place: Place, name: str, *, limit_s: float) -> None:
    """Tell every finishing worker of `name` to end within `limit_s`; a shorter limit it has already stays."""
    for record in control.read_records(place.run, name):
        if record.state is WorkerState.DRAINING:
            with contextlib.suppress(Transient):  # it has just ended
                request: control.Message = {"verb": Verb.DRAIN, "limit_s": limit_s}
                control.ask(control.worker_socket(place.run, name, record.pid), request, timeout_s=observation.ANSWER_S)


def draining(place: Place, name: str) -> set[int]:
    """Process ids of the workers of `name` that finish."""
    return {record.pid for record in control.read_records(place.run, name) if record.state is WorkerState.DRAINING}


def workers(place: Place, name: str) -> set[int]:
    """Process ids of all workers of `name` there are now."""
    master = observation.ask_master(place.run, name)
    return draining(place, name) | {worker.pid for worker in (master.workers if master else ())}


def wait_drained(place: Place, name: str, pids: Iterable[int], *, timeout_s: float) -> int:
    """Until these workers have ended. Returns how many of their sessions were cut. Raises NotReady when time is up."""
    watched = set(pids)
    deadline = time.monotonic() + timeout_s
    while left := watched & {record.pid for record in control.read_records(place.run, name)}:
        if time.monotonic() > deadline:
            raise NotReady(f"{name}: {len(left)} workers still finish their sessions")
        time.sleep(POLL_S)
    outcomes = (control.read_ended(place.run, name, pid) for pid in watched)
    return sum(outcome.cut for outcome in outcomes if outcome is not None)


def drain_limit(place: Place, name: str) -> float:
    """How long sessions of `name` may take to finish, by the configuration that holds."""
    return service_file.read(generation.service_file(place.state_dir, name)).service.stop.drain


def end_all(place: Place, names: Iterable[str], *, drain_s: float, tell: Tell) -> None:
    """End whatever of `names` and of supervisord runs: everybody drains at the same time, at most `drain_s`.

    Afterwards no process of this suite is left and all its ports are free. Whoever calls has announced the stops: a
    hold may be made of others.
    """
    services = set(names)
    deadline = time.monotonic() + drain_s
    with Supervisor(place.supervisor) as supervisor:
        supervisord = supervisor.pid() if supervisor.answers() else None
        if supervisord is not None:
            supervisor.stop(sorted(services & supervisor.processes().keys()))
        else:
            stop_unsupervised(place, services)
        while _finishing(place, services) and time.monotonic() < deadline + CUT_GRACE_S:
            for name in services:
                drain(place, name, limit_s=max(0.0, deadline - time.monotonic()))
            time.sleep(POLL_S)
        if supervisord is not None:
            supervisor.shutdown()
    ended_by = time.monotonic() + CUT_GRACE_S
    while left := list(processes.of_suite(place)):
        if time.monotonic() > ended_by:
            for process in left:
                if control.is_alive(process.pid, process.started):
                    tell(f"process {process.pid} does not end by itself: killed")
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(POLL_S)


def stop_unsupervised(place: Place, names: Iterable[str]) -> None:
    """Have masters stop that no supervisord knows, and workers without a master: their signals are ours to send."""
    for name in names:
        master = observation.ask_master(place.run, name)
        serving = [record for record in control.read_records(place.run, name) if record.deadline is None]
        for pid in [master.pid] if master is not None else [record.pid for record in serving]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _finishing(place: Place, names: Iterable[str]) -> bool:
    return any(True for name in names for _ in control.read_records(place.run, name))


def _has_ended(program: Program) -> bool:
    """It does not run, and supervisord will not start it again by itself."""
    retried = program.state is ProgramState.EXITED and program.exit_status not in EXIT_CODES
    return program.state in IDLE and not retried


def _reason(place: Place, name: str, program: Program | None, master: observation.Master | None) -> str:
    if master is not None:
        return master.last_error or f"its workers are {master.state}"
    if program is not None and program.state is ProgramState.RUNNING and control.now() - program.since > FAILING_S:
        return f"its master, process {program.pid}, does not answer; supervisord starts another one when it is killed"
    return last_words(place, name) or "its master has ended"


def last_words(place: Place, name: str) -> str | None:
    """The last line the program wrote to supervisord: there an early end is explained."""
    try:
        lines = (place.logs / f"{name}.out").read_text(errors="replace").splitlines()
    except OSError:
        return None
    return lines[-1].strip() if lines else None


def is_root() -> bool:
    return os.geteuid() == 0
