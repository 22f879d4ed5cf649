"""The agent: a small program under supervisord that observes. Nothing depends on it to be safe.

What it does while it lives:
- starts the programs in dependency order when supervisord comes up (they have autostart=false), honouring holds;
- turns a stop by hand (`supervisorctl stop`) into a hold, and ends a hold when its service is started by any way;
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
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # started as a file, not with -m
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maillib import control, maillog
from maillib.command_socket import Client, CommandSocket
from maillib.control import Message, Verb, WorkerState
from maillib.errors import MailError, Transient
from maillib.version import VERSION, code_digest
from orchestrator import generation, holds
from orchestrator.place import AGENT, AGENT_PACKAGES
from orchestrator.supervisor import Program, ProgramState, Supervisor

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
        held, ours = holds.read(self._state_dir), holds.announced(self._state_dir)
        for program in programs.values():
            if program.name not in dependencies or program.state is not ProgramState.STOPPED:
                continue
            if not program.since:
                if program.name not in held:
                    self._boot.waiting[program.name] = dependencies[program.name]
            elif program.name not in held and program.name not in ours:
                self._stopped[program.name] = time.monotonic() + SETTLE_S
        for name, depends in self._boot.waiting.items():  # one that is off is nothing to wait for
            self._boot.waiting[name] = tuple(other for other in depends if other in programs)
        self._boot.give_up_at = time.monotonic() + BOOT_WAIT_S

    def _patience(self) -> float | None:
        now = time.monotonic()
        times = list(self._stopped.values())
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
        now = time.monotonic()
        for name in [name for name, due in self._stopped.items() if now >= due]:
            del self._stopped[name]
            self._make_hold(name)

    # Boot

    def _dependencies(self) -> dict[str, tuple[str, ...]]:
        """Enabled services of the generation in force, and what each depends on."""
        held = generation.current(self._state_dir)
        resolved = held.data("resolved.json") if held is not None else None
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

    def _is_ready(self, name: str) -> bool:
        """A service that is held is nothing to wait for."""
        if name not in self._boot.waiting and name in holds.read(self._state_dir):
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
        if not data:
            self._done = True  # supervisord has died; the next one starts another agent
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
        program = payload.get("processname", "")
        if program == AGENT:
            return
        match name:
            case "PROCESS_STATE_STOPPED" if not self._shutting_down:
                self._stopped[program] = time.monotonic() + SETTLE_S
            case "PROCESS_STATE_STARTING":
                self._stopped.pop(program, None)
                self._boot.waiting.pop(program, None)
                if holds.release(self._state_dir, [program]):
                    maillog.hold_ended(service=program)
            case "SUPERVISOR_STATE_CHANGE_STOPPING":
                self._shutting_down = True
                self._stopped.clear()
                self._boot.waiting.clear()

    def _make_hold(self, name: str) -> None:
        if name in holds.announced(self._state_dir) or not self._is_stopped(name):
            return
        if name not in holds.read(self._state_dir):
            holds.hold(self._state_dir, name, who="supervisorctl", why="stopped by hand")
            maillog.hold_made(service=name, who="supervisorctl")

    def _is_stopped(self, name: str) -> bool:
        """Whether supervisord still has the program, stopped: one that was removed is no longer anybody's to hold."""
        try:
            with self._supervisor() as supervisor:
                program: Program | None = supervisor.processes().get(name)
        except MailError:
            return False
        return program is not None and program.state is ProgramState.STOPPED

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


def _words(line: bytes) -> dict[str, str]:
    return dict(word.split(":", 1) for word in line.decode().split() if ":" in word)


if __name__ == "__main__":
    sys.exit(main())
