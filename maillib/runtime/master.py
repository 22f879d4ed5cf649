"""The master of one service: binds, reads what only the owner may read, and looks after workers.

It never reads from the network and imports the standard library only. Its whole life is one select loop: signals,
the channels of its workers, its control socket, and a few deadlines.

- start: listeners from a predecessor, or bound; workers; `ready` from all of them.
- a worker that dies is replaced after a growing pause.
- reload: a cohort of new workers on the same listeners becomes ready, then the old one takes no more and drains.
- restart: the same, then the master executes itself anew (same pid).
- retune: the running workers take new values and listeners, where those need no more.
- stop (SIGTERM, SIGINT, SIGQUIT): refuse new connections at once; workers drain; when they do not end within a moment,
  the agent is told about them and the master ends; where no agent answers it waits for them itself.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from maillib import control, maillog
from maillib.command_socket import Client, CommandSocket
from maillib.control import Message, Verb
from maillib.errors import Transient
from maillib.runtime import folders, listeners, resume, takeover
from maillib.runtime.changes import Changes
from maillib.runtime.cohort import Cohort, Worker
from maillib.runtime.crew import Crew
from maillib.runtime.occupancy import Occupancy
from maillib.settings.service import Listener, ServiceFile
from maillib.version import VERSION, code_digest

QUICK_END_S = 0.2
"""How long a stop waits for workers that have nothing to finish."""

AGENT_S = 0.3
"""How long the agent may take to say that it looks after the drainers."""

ASKING_S = 0.5
"""How long a client of the control socket may take to send its request before a restart leaves it behind."""

LOG_CHECK_S = 30.0
"""How often the size of the log is looked at."""


def run(script: Path, config_argument: Path, file: ServiceFile, resumed: str | None) -> int:
    """Serve until told to stop. Returns the exit status."""
    master = Master(script, config_argument, file)
    if resumed is not None:
        master.resume(int(resumed))
    else:
        master.start()
    return master.loop()


class Master:
    def __init__(self, script: Path, config_argument: Path, file: ServiceFile) -> None:
        self._script = script
        self._config_argument = config_argument
        self._file = file
        self._code = code_digest()
        self._started = control.now()
        self._name = file.service.name
        self._run = Path(file.service.run_dir)
        self._log = folders.log_file(file.service)
        self._selector = selectors.DefaultSelector()
        self._commands = CommandSocket(self._selector, self._command)
        self._signals: deque[int] = deque()
        self._listeners: list[tuple[Listener, socket.socket]] = []
        current = Cohort(config_argument.resolve(), file)
        self._crew = Crew(script, file.service, self._selector, current, self)
        self._changes = Changes(config_argument, self)
        self._predecessors = takeover.Predecessors()
        self._said_ready = False
        self._execute_by: float | None = None
        """Monotonic time at which this image is left, whoever is still asking something; None: not at all."""
        self._execute_for: Client | None = None
        self._stop_began: float | None = None
        """Monotonic; None: not stopping."""
        self._detach_at: float | None = None
        self._next_log_check = time.monotonic()

    # Beginning

    def start(self) -> None:
        """Raises ConfigError, Conflict (port taken), MailError."""
        folders.prepare(self._file.service)
        self._begin()
        self._listeners, self._predecessors = takeover.acquire(self._run, self._name, self._file.service.listen)
        for listener, _ in self._listeners:
            maillog.listener_open(address=listener.address)
        control.sweep(self._run, self._name)
        self._commands.listen(control.master_socket(self._run, self._name))
        self._crew.fill(self._crew.current)

    def resume(self, memory: int) -> None:
        """Go on as the image before left it."""
        estate = resume.take_over(memory)
        self._begin()
        self._started = estate.started
        self._listeners = estate.listeners
        self._crew.adopt(estate.cohorts, Occupancy(estate.occupancy, estate.occupancy_slots))
        self._commands.adopt(estate.control, control.master_socket(self._run, self._name))
        if estate.client is not None:
            Client(estate.client).answer({"ok": True})
        self._said_ready = True
        waiting = ((Client(stream) if stream else None, request) for stream, request in estate.waiting)
        self._changes.waiting.extend(waiting)
        self._reap()
        control.sweep(self._run, self._name)
        self._changes.take_next()

    def _begin(self) -> None:
        maillog.open_log(self._log, f"{self._name}/master")
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(reader, selectors.EVENT_READ, lambda: os.read(reader, 4096))
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in resume.SIGNALS:
            signal.signal(number, lambda received, _frame: self._signals.append(received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, resume.SIGNALS)
        maillog.started(pid=os.getpid(), generation=self._file.generation, version=VERSION)

    # The loop

    def loop(self) -> int:
        while True:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            while self._signals:
                self._signal(self._signals.popleft())
            self._reap()
            self._tick()
            if self._stop_began is not None and not self._crew.workers():
                break
        self._commands.close()
        return 0

    def _patience(self) -> float:
        now = time.monotonic()
        times = [self._next_log_check, self._detach_at, self._execute_by, *self._crew.dates(), *self._changes.dates()]
        return max(0.0, min(time_ for time_ in times if time_ is not None) - now)

    def _tick(self) -> None:
        now = time.monotonic()
        self._crew.keep_dates(now, stopping=self._stop_began is not None)
        if self._stop_began is None:
            self._changes.tick(now)
        elif self._detach_at is not None and now >= self._detach_at:
            self._detach()
        if self._execute_by is not None and (now >= self._execute_by or not self._commands.clients):
            self._execute_anew()
        if now >= self._next_log_check:
            self._next_log_check = now + LOG_CHECK_S
            self._rotate_log()

    def _reap(self) -> None:
        self._crew.reap()
        self._changes.reaped()

    def _signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reopen_logs()
            self._changes.ask(None, {"verb": Verb.RELOAD})
        elif number != signal.SIGCHLD:
            if self._stop_began is None:
                self._stop(refuse=True)
            elif number == signal.SIGINT:
                self._crew.hurry()  # Ctrl-C again

    # What a crew asks of its master

    def sockets_for(self, one: Cohort) -> list[tuple[Listener, socket.socket]]:
        """The cohort's own view of each listener (role and TLS may differ), with the socket of that address."""
        sockets = {(listener.host, listener.port): sock for listener, sock in self._listeners}
        sockets |= self._changes.opened_for(one)
        addresses = ((listener, (listener.host, listener.port)) for listener in one.file.service.listen)
        # One may be missing: it was let go for another service.
        return [(listener, sockets[address]) for listener, address in addresses if address in sockets]

    def became_ready(self) -> None:
        if not self._changes.became_ready() and self._crew.current.is_ready:
            if not self._said_ready:
                self._say_ready()
            self._crew.last_error = None
            self._predecessors.tell_taken()

    def coming_failed(self, error: str) -> None:
        self._changes.fail(error)

    def has_retuned(self, pid: int) -> None:
        self._changes.has_retuned(pid)

    def say(self, words: str, to: TextIO) -> None:
        """For whoever started us in a shell; under supervisord it goes to NAME.out."""
        with contextlib.suppress(OSError):  # nobody reads it any more
            print(f"{self._name}: {words}", file=to, flush=True)

    def _say_ready(self) -> None:
        self._said_ready = True
        where = ", ".join(listener.address for listener, _ in self._listeners)
        self.say("ready" + (f" on {where}" if where else ""), sys.stdout)

    # Commands

    def _command(self, client: Client, request: Message) -> None:
        verb = request.get("verb")
        if verb == Verb.STATUS:
            client.answer(self._status())
        elif self._stop_began is not None:
            client.fail("the service is stopping")
        elif verb in (Verb.RELOAD, Verb.RESTART, Verb.RETUNE, Verb.LET_GO):
            self._changes.ask(client, request)
        elif verb == Verb.LISTENERS:
            described: list[object] = [asdict(listener) for listener, _ in self._listeners]
            client.answer({"ok": True, "listeners": described}, [sock.fileno() for _, sock in self._listeners])
        elif verb == Verb.TAKEN:
            client.answer({"ok": True})
            self._stop(refuse=False)
        else:
            client.fail(f"unknown verb {verb!r}")

    def _status(self) -> Message:
        current, occupancy = self._crew.current, self._crew.occupancy
        state = "draining" if self._stop_began is not None else "running" if current.is_ready else "starting"
        return {
            "ok": True,
            "service": self._name,
            "pid": os.getpid(),
            "version": VERSION,
            "code": self._code,
            "generation": current.file.generation,
            "digest": current.file.digest,
            "config": os.fspath(current.config),
            "certificate": current.certificate,
            "started": self._started,
            "state": state,
            "processes": current.file.service.processes,
            "workers": self._crew.status(),
            "listeners": [
                {"address": listener.address, "role": listener.role, "tls": listener.tls}
                for listener in current.file.service.listen
            ],
            "listening": [listener.address for listener, _ in self._listeners],
            "connections": occupancy.taken() if occupancy else 0,
            "room": self._crew.room,
            "last_error": self._crew.last_error,
        }

    # What changes ask of their master

    @property
    def file(self) -> ServiceFile:
        return self._file

    def room(self) -> int:
        return self._crew.room

    def note_trouble(self, error: str | None) -> None:
        self._crew.last_error = error

    def let_go(self, addresses: set[str]) -> None:
        for listener, sock in self._listeners:
            if listener.address in addresses:
                listeners.refuse_from_now_on(sock)
        self._listeners = [(one, sock) for one, sock in self._listeners if one.address not in addresses]

    def retune(self, config: Path, file: ServiceFile, opened: takeover.Sockets) -> set[int]:
        self._take_listeners(file, opened)
        self._crew.current.config, self._crew.current.file = config, file
        return self._crew.retune()

    def retuning_done(self) -> None:
        self._changes.retuned()

    def expect(self, coming: Cohort | None) -> None:
        self._crew.coming = coming

    @property
    def script(self) -> Path:
        return self._script

    @property
    def config_argument(self) -> Path:
        return self._config_argument

    def draining_cohorts(self) -> int:
        return len(self._crew.old)

    def listening_on(self) -> set[tuple[str, int]]:
        return {(listener.host, listener.port) for listener, _ in self._listeners}

    def fill(self, one: Cohort) -> None:
        self._crew.fill(one)
        if one.respawn_at is not None:
            self._changes.fail(self._crew.last_error or "a worker could not be started")

    def forget(self, worker: Worker) -> None:
        self._crew.forget(worker)

    def cut_over(self, coming: Cohort, opened: takeover.Sockets) -> None:
        """From here on `coming` serves; the cohort before it takes no more and drains."""
        self._take_listeners(coming.file, opened)
        leaving, self._crew.current = self._crew.current, coming
        self._crew.last_error = None
        self._crew.drain(leaving, reason="reload")
        if leaving.workers:
            self._crew.old.insert(0, leaving)

    def _take_listeners(self, file: ServiceFile, opened: takeover.Sockets) -> None:
        sockets = {(listener.host, listener.port): sock for listener, sock in self._listeners} | opened
        self._listeners = [(one, sockets.pop((one.host, one.port))) for one in file.service.listen]
        for sock in sockets.values():  # no longer declared
            listeners.refuse_from_now_on(sock)
        self._file = file

    def execute_when_quiet(self, client: Client | None) -> None:
        """Leave this image once nobody is in the middle of asking something: those would get no answer."""
        self._execute_for = client
        self._execute_by = time.monotonic() + ASKING_S

    def _execute_anew(self) -> None:
        occupancy = self._crew.occupancy
        assert occupancy is not None and self._commands.sock is not None
        client, self._execute_for, self._execute_by = self._execute_for, None, None
        estate = resume.Estate(
            started=self._started,
            listeners=self._listeners,
            cohorts=[self._crew.current, *self._crew.old],
            occupancy=occupancy.descriptor,
            occupancy_slots=occupancy.slots,
            control=self._commands.sock,
            client=client.stream if client else None,
            waiting=[(waiting.stream if waiting else None, request) for waiting, request in self._changes.waiting],
        )
        try:
            resume.execute_anew(self._script, self._config_argument, estate)
        except OSError as error:
            words = f"the new workers serve, but the master could not execute itself anew: {error}"
            self._changes.refuse(client, words)
            self.changeover_done(None)

    def changeover_done(self, failure: str | None) -> None:
        self._changes.changed_over(failure)

    # The end

    def _stop(self, *, refuse: bool) -> None:
        """Take no more. `refuse` False: a successor serves the same sockets, which must stay open."""
        self._execute_by = None
        self._stop_began = time.monotonic()
        self._detach_at = self._stop_began + QUICK_END_S
        for _, sock in self._listeners:
            if refuse:
                listeners.refuse_from_now_on(sock)
            else:
                sock.close()
        self._listeners.clear()
        self._changes.abandon()
        leaving = self._crew.current
        self._crew.drain(leaving, reason="stop")
        self._crew.old.insert(0, leaving)
        self._crew.current = Cohort(leaving.config, leaving.file)

    def _detach(self) -> None:
        """Leave the drainers to the agent, or wait for them here."""
        self._detach_at = None
        pids: list[object] = [worker.pid for worker in self._crew.workers()]
        try:
            answer = control.ask(
                control.agent_socket(self._run),
                {"verb": Verb.DRAINERS, "service": self._name, "pids": pids},
                timeout_s=AGENT_S,
            )
        except Transient:
            answer = {}
        if not answer.get("ok"):
            return
        self._crew.tell_all({"do": "detach"})
        self._commands.close()
        sys.exit(0)

    # Logs

    def _rotate_log(self) -> None:
        try:
            rotated = folders.rotate_log(self._file.service)
        except OSError as error:
            maillog.problem(what="rotation of the log", error=str(error))
            return
        if rotated:
            self._reopen_logs()

    def _reopen_logs(self) -> None:
        maillog.reopen()
        self._crew.tell_all({"do": "reopen"})
