"""The agent: a small program under supervisord that observes. Nothing depends on it to be safe.

What it does while it lives:
- starts the programs in dependency order when supervisord comes up (they have autostart=false), honouring holds;
- writes a stop by hand (`supervisorctl stop`) down as a hold, and ends a hold when its service is started by any way;
- starts a service that was loaded anew by hand (`supervisorctl update`, `add`), unless it is held;
- looks after drainers: workers that finish their sessions after their master has ended. supervisord stops the agent
  last, and the agent ends when the last drainer has, so that a shutdown of supervisord waits for sessions.

Security: reads only from supervisord (standard input) and from a unix socket whose clients it checks.
Signals: SIGTERM. Settings: none; it reads the generation in force. Diagnostics: STATE_DIR/log/agent.log.

It is an event listener of supervisord: events come on standard input, answers go to standard output.
"""

import argparse
import os
import selectors
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # started as a file, not with -m
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maillib import control, maillog
from maillib.command_socket import Client, CommandSocket
from maillib.control import Message, Verb, WorkerState
from maillib.errors import MailError, Transient
from maillib.version import VERSION, code_digest
from orchestrator import audit, generation, holds
from orchestrator.audit import Entry
from orchestrator.holds import Hold
from orchestrator.place import AGENT, AGENT_PACKAGES
from orchestrator.supervisor import ALIVE, Program, ProgramState, Supervisor

SETTLE_S = 2.0
"""After a stop by hand, how long a start may follow that makes it a restart."""

BOOT_LOOK_S = 0.1
"""How often the boot looks whether what a program depends on is ready."""

BOOT_WAIT_S = 30.0
"""How long a program waits for what it depends on; then it is started anyway: its own readiness tells."""

KILL_AFTER_S = 20.0
"""A drainer that lives so long after its deadline does not keep it any more."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="agent")
    parser.add_argument("--state-dir", required=True, type=Path)
    state_dir = parser.parse_args().state_dir
    os.umask(0o027)
    maillog.open_log(state_dir / "log" / "agent.log", AGENT)
    maillog.started(pid=os.getpid(), generation=0, version=VERSION)
    return Agent(state_dir).loop()


@dataclass(slots=True)
class Boot:
    """Programs that are still to be started, and what they wait for."""

    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Program to the services it depends on."""
    give_up_at: float = 0.0


class Agent:
    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._run = control.run_dir(state_dir)
        self._selector = selectors.DefaultSelector()
        self._boot = Boot()
        self._stopped: dict[str, float] = {}
        """Programs that were stopped, and the monotonic time from which on that is a hold."""
        self._loaded: dict[str, float] = {}
        """Programs that supervisord has loaded while it ran, and the time from which on nobody else will start them."""
        self._drainers: dict[int, int] = {}
        """pid to pidfd."""
        self._shutting_down = False
        """supervisord stops everything: none of these stops is a hold."""
        self._ending = False
        """SIGTERM came during that: only the drainers are waited for."""
        self._done = False
        self._input = b""
        self._code = code_digest(*AGENT_PACKAGES)
        self._signals: deque[int] = deque()

    def loop(self) -> int:
        self._catch_signals()
        os.set_blocking(0, False)
        self._selector.register(0, selectors.EVENT_READ, self._read_events)
        commands = CommandSocket(self._selector, self._command)
        commands.listen(control.agent_socket(self._run))
        os.write(1, b"READY\n")
        self._begin()
        while not self._done:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            while self._signals:
                self._signals.popleft()
                self._asked_to_end()
            self._tick()
        commands.close()
        return 0

    def _catch_signals(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(reader, selectors.EVENT_READ, lambda: os.read(reader, 4096))
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda number, _frame: self._signals.append(number))

    def _begin(self) -> None:
        """See what is there: drainers to adopt, programs to start, stops that nobody has noted."""
        self._adopt_drainers()
        try:
            with self._supervisor() as supervisor:
                programs = supervisor.processes()
        except MailError as error:
            maillog.problem(what="first look at supervisord", error=str(error))
            return
        dependencies = self._dependencies()
        held, ours = self._ledger()
        for name in dependencies.keys() & programs.keys():
            program = programs[name]
            if name in held and program.state in ALIVE:
                self._end_hold(name)  # it was started by hand while no agent lived
            elif holds.was_stopped(program) and name not in held and name not in ours:
                self._stopped[name] = time.monotonic() + SETTLE_S
            elif program.state is ProgramState.STOPPED and not program.since and name not in held:
                self._boot.waiting[name] = dependencies[name]
        for name, depends in self._boot.waiting.items():  # one that is off is nothing to wait for
            self._boot.waiting[name] = tuple(other for other in depends if other in programs)
        self._boot.give_up_at = time.monotonic() + BOOT_WAIT_S

    def _ledger(self) -> tuple[Mapping[str, Hold], Mapping[str, str]]:
        """Holds and announced stops. Where the ledger is damaged there are none: mail has to flow."""
        try:
            return holds.read(self._state_dir), holds.announced(self._state_dir)
        except MailError as error:
            maillog.problem(what="ledger of holds", error=str(error))
            return {}, {}

    def _patience(self) -> float | None:
        now = time.monotonic()
        times = [*self._stopped.values(), *self._loaded.values()]
        if self._boot.waiting:
            times.append(now + BOOT_LOOK_S)
        if self._drainers:
            times.append(now + 1.0)
        return max(0.0, min(times) - now) if times else None

    def _tick(self) -> None:
        if self._drainers:
            self._end_overdue()
        if self._ending:
            self._done = not self._drainers
            return
        if self._boot.waiting:
            self._start_what_can_start()
        for name in _take_due(self._stopped):
            self._make_hold(name)
        for name in _take_due(self._loaded):
            self._start_loaded(name)

    # Boot

    def _dependencies(self) -> dict[str, tuple[str, ...]]:
        """Services of the generation in force, and what each depends on: nothing where it is damaged."""
        try:
            held = generation.current(self._state_dir)
            resolved = held.data(generation.RESOLVED) if held is not None else None
        except MailError as error:
            maillog.problem(what="generation in force", error=str(error))
            names = generation.folder(self._state_dir).glob("live/*.json")
            return {path.stem: () for path in names}
        services = resolved.get("services") if isinstance(resolved, dict) else None
        if not isinstance(services, dict):
            return {}
        return {
            name: tuple(str(other) for other in depends)
            for name, service in services.items()
            if isinstance(service, dict) and isinstance(depends := service.get("depends_on", []), list)
        }

    def _start_what_can_start(self) -> None:
        overdue = time.monotonic() >= self._boot.give_up_at
        for name, depends in list(self._boot.waiting.items()):
            if overdue or all(self._is_ready(other) for other in depends):
                del self._boot.waiting[name]
                try:
                    with self._supervisor() as supervisor:
                        supervisor.start(name)
                except MailError as error:
                    maillog.problem(what=f"start of {name}", error=str(error))

    def _start_loaded(self, name: str) -> None:
        """Have it started, once what it depends on is ready, when it should run and nobody has started it."""
        program, dependencies = self._program(name), self._dependencies()
        if program is None or program.state is not ProgramState.STOPPED or name not in dependencies:
            return
        if name not in self._ledger()[0]:
            self._boot.waiting[name] = dependencies[name]
            self._boot.give_up_at = time.monotonic() + BOOT_WAIT_S

    def _is_ready(self, name: str) -> bool:
        """A service that is held is nothing to wait for."""
        if name not in self._boot.waiting and name in self._ledger()[0]:
            return True
        try:
            status = control.ask(control.master_socket(self._run, name), {"verb": Verb.STATUS}, timeout_s=1.0)
        except Transient:
            return False
        return status.get("state") == "running"

    # Events of supervisord

    def _read_events(self) -> None:
        """Each event: a line of `key:value` words with `len`, then that many octets. supervisord, Events."""
        try:
            data = os.read(0, 65_536)
        except BlockingIOError:
            return
        if not data:  # supervisord has died; the next one starts another agent, and knows of no stop
            self._write_holds()
            self._done = True
            return
        self._input += data
        while b"\n" in self._input:
            line, _, rest = self._input.partition(b"\n")
            header = _words(line)
            length = int(header["len"])
            if len(rest) < length:
                return
            self._input = rest[length:]
            os.write(1, b"RESULT 2\nOK")
            self._event(header["eventname"], _words(rest[:length].partition(b"\n")[0]))
            os.write(1, b"READY\n")

    def _event(self, name: str, payload: dict[str, str]) -> None:
        program = payload.get("processname") or payload.get("groupname", "")
        if program == AGENT:
            return
        match name:
            case "PROCESS_STATE_STOPPED" if not self._shutting_down:
                self._stopped[program] = time.monotonic() + SETTLE_S
            case "PROCESS_GROUP_REMOVED":
                self._stopped.pop(program, None)  # not stopped to stay so, but for being replaced
                self._loaded.pop(program, None)
            case "PROCESS_GROUP_ADDED":
                self._loaded[program] = time.monotonic() + SETTLE_S
            case "PROCESS_STATE_STARTING":
                for waiting in (self._stopped, self._loaded, self._boot.waiting):
                    waiting.pop(program, None)
                if self._is_up(program):
                    self._end_hold(program)
            case "SUPERVISOR_STATE_CHANGE_STOPPING":
                self._shutting_down = True
                self._write_holds()
                for waiting in (self._stopped, self._loaded, self._boot.waiting):
                    waiting.clear()

    def _make_hold(self, name: str) -> None:
        """Of a program that supervisord still has: one that was removed is no longer anybody's to hold."""
        program = self._program(name)
        if program is not None and program.state is ProgramState.STOPPED:
            self._write_hold(name, program.ended)

    def _write_holds(self) -> None:
        """supervisord ends: what was stopped a moment ago was no restart."""
        for name in self._stopped:
            self._write_hold(name, control.now())

    def _write_hold(self, name: str, when: float) -> None:
        held, ours = self._ledger()
        if name in held or name in ours or name not in self._dependencies():
            return
        try:
            holds.hold(self._state_dir, name, holds.by_hand(when))
            maillog.hold_made(service=name, who=holds.BY_HAND)
            audit.record(self._state_dir, Entry(verb="stop", names=(name,), who=holds.BY_HAND, when=when))
        except (MailError, OSError) as error:
            maillog.problem(what=f"hold of {name}", error=str(error))

    def _end_hold(self, name: str) -> None:
        try:
            ended = holds.forget(self._state_dir, [name])
        except (MailError, OSError) as error:
            maillog.problem(what=f"end of the hold of {name}", error=str(error))
            return
        if ended:
            maillog.hold_ended(service=name)

    def _is_up(self, name: str) -> bool:
        """False: it was stopped again before we heard of its start, and what is written may be of that stop."""
        program = self._program(name)
        return program is None or program.state in (ProgramState.STARTING, ProgramState.RUNNING, ProgramState.BACKOFF)

    def _program(self, name: str) -> Program | None:
        """None: supervisord does not have it, or does not answer."""
        try:
            with self._supervisor() as supervisor:
                return supervisor.processes().get(name)
        except MailError:
            return None

    # Drainers

    def _adopt_drainers(self) -> None:
        services = self._run / "services"
        for folder in services.iterdir() if services.is_dir() else ():
            for record in control.read_records(self._run, folder.name):
                if record.state is WorkerState.DRAINING:
                    self._adopt(record.pid)

    def _adopt(self, pid: int) -> bool:
        """Be told of its end. False: it has ended already."""
        if pid in self._drainers:
            return True
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        self._drainers[pid] = pidfd
        self._selector.register(pidfd, selectors.EVENT_READ, lambda: self._drainer_ended(pid))
        return True

    def _drainer_ended(self, pid: int) -> None:
        pidfd = self._drainers.pop(pid)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        for folder in (self._run / "services").iterdir():
            control.sweep(self._run, folder.name)

    def _end_overdue(self) -> None:
        for folder in (self._run / "services").iterdir():
            for record in control.read_records(self._run, folder.name):
                overdue = record.deadline is not None and control.monotonic() > record.deadline + KILL_AFTER_S
                if overdue and (pidfd := self._drainers.get(record.pid)) is not None:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    # Asked

    def _command(self, client: Client, request: Message) -> None:
        match request.get("verb"):
            case Verb.DRAINERS if isinstance(pids := request.get("pids"), list):
                for pid in pids:
                    self._adopt(int(pid))
                client.answer({"ok": True})
            case Verb.STATUS:
                drainers: list[object] = list(self._drainers)
                booting: list[object] = list(self._boot.waiting)
                about: Message = {"pid": os.getpid(), "code": self._code, "drainers": drainers, "booting": booting}
                client.answer({"ok": True, **about})
            case verb:
                client.fail(f"unknown verb {verb!r}")

    def _asked_to_end(self) -> None:
        """SIGTERM: a shutdown of supervisord waits for the drainers; a stop of the agent alone need not."""
        try:
            with self._supervisor() as supervisor:
                self._shutting_down = self._shutting_down or not supervisor.answers()
        except MailError as error:
            maillog.problem(what="question whether supervisord shuts down", error=str(error))
        if self._shutting_down:
            self._ending = True
            self._adopt_drainers()
        else:
            self._done = True

    def _supervisor(self) -> Supervisor:
        return Supervisor(self._run / "supervisor.sock", timeout_s=5.0)


def _take_due(times: dict[str, float]) -> list[str]:
    """Names whose time has come, which are taken out."""
    due = [name for name, at in times.items() if at <= time.monotonic()]
    for name in due:
        del times[name]
    return due


def _words(line: bytes) -> dict[str, str]:
    return dict(word.split(":", 1) for word in line.decode().split() if ":" in word)


if __name__ == "__main__":
    sys.exit(main())
