"""A worker process: takes what its master hands it, drops to its user, serves, and drains when told.

It accepts on sockets it did not make, and never calls `listen` or `shutdown` on them: another copy may serve a
successor. What it is told on the channel: `drain`, `detach` (its master is about to end; finish alone), `reopen`. The
end of the channel without `detach` means that the master was killed: it goes on accepting until a new master has asked
for the listeners and says that it serves them, at most ORPHAN_S, then drains.

Signals: SIGTERM drains; SIGINT and SIGHUP are ignored, the master decides.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import uvloop

from maillib import control, maillog
from maillib.control import Ended, Message, WorkerRecord, WorkerState
from maillib.errors import ConfigError, MailError
from maillib.runtime import channel, folders
from maillib.runtime.accepting import Acceptor
from maillib.runtime.occupancy import Occupancy
from maillib.runtime.service import Build, Registry, Service
from maillib.runtime.worker_control import WorkerControl
from maillib.settings import service
from maillib.settings.base import load
from maillib.settings.service import Listener, ServiceConfig, ServiceFile
from maillib.version import VERSION

ORPHAN_S = 5.0
"""How long a worker without a master waits for the next one."""

HANDED_OVER_S = 30.0
"""How long it then waits to hear that the next one serves."""

GOODBYE_GRACE_S = 5.0
"""After the goodbye, how long a connection may take to end before it is cut."""

GC_THRESHOLD = 10_000
"""Objects more than before until the collector looks for cycles. Sessions leave next to none; at Python's own 700 the
looks were 5 % of a message's cost."""

THREAD_STACK_OCTETS = 1 << 20
"""The default of 8 MiB for each thread would count against the memory limit."""


def run(channel_fd: int, load: Callable[[], Build]) -> int:
    """Serve until drained. Returns the exit status."""
    threading.stack_size(THREAD_STACK_OCTETS)
    master = socket.socket(fileno=channel_fd)
    os.set_inheritable(channel_fd, False)
    try:
        setup = Setup.receive(master)
        build = load()
        setup.limit_resources()
        setup.drop_privileges()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Worker(master, setup).serve(build))
    except (MailError, OSError) as error:
        maillog.problem(what="start of a worker", error=str(error))
        channel.send(master, {"error": str(error)})
        return 78 if isinstance(error, ConfigError) else 1


class Setup:
    """What the master has handed over, unpacked."""

    def __init__(self, message: Message, descriptors: list[int]) -> None:
        occupancy, config, *rest = descriptors
        self.file: ServiceFile = service.parse(channel.read_memory_file(config))
        self.config: ServiceConfig = self.file.service
        maillog.open_log(folders.log_file(self.config), self.config.name)
        slots, region = message["occupancy_slots"], message["region"]
        assert isinstance(slots, int) and isinstance(region, int)
        self.occupancy = Occupancy(occupancy, slots)
        self.seat = self.occupancy.seat(region)
        self.tls: ssl.SSLContext | None = None
        if message["tls"]:
            certificate, key, *rest = rest
            self.tls = _tls_context(certificate, key)
        self.listeners = _listeners(message, rest)

    def retune(self, message: Message, descriptors: list[int]) -> None:
        """Take the place of what was handed over before. Raises ConfigError."""
        config, *rest = descriptors
        self.listeners = _listeners(message, rest)
        self.file = service.parse(channel.read_memory_file(config))
        self.config = self.file.service

    @classmethod
    def receive(cls, master: socket.socket) -> "Setup":
        received = channel.receive(master)
        if received is None:
            raise ConfigError("the master ended before it had said what to serve")
        return cls(*received)

    def limit_resources(self) -> None:
        """Descriptors and memory of this process. Data, not address space: threads map far more than they use."""
        limits = self.config.limits
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = limits.open_files if hard == resource.RLIM_INFINITY else min(limits.open_files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))

    def drop_privileges(self) -> None:
        """Become the service's user, for good. Nothing was read from the network before."""
        if self.config.user is None or os.geteuid() != 0:
            return
        import pwd

        try:
            entry = pwd.getpwnam(self.config.user)
        except KeyError:
            raise ConfigError(f"user {self.config.user!r} does not exist on this host") from None
        os.initgroups(self.config.user, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def _listeners(message: Message, descriptors: list[int]) -> list[tuple[Listener, socket.socket]]:
    described = message["listeners"]
    assert isinstance(described, list)
    return [(load(Listener, one), socket.socket(fileno=fd)) for one, fd in zip(described, descriptors, strict=True)]


def _tls_context(certificate: int, key: int) -> ssl.SSLContext:
    """TLS 1.2 and newer. The key is read from memory: its file may be readable by the master's user only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(f"/proc/self/fd/{certificate}", f"/proc/self/fd/{key}")
    except ssl.SSLError as error:
        raise ConfigError(f"certificate and private key do not work: {error.reason or error}") from None
    finally:
        os.close(certificate)
        os.close(key)
    return context


@contextlib.contextmanager
def _tolerant(what: str) -> Iterator[None]:
    """A run directory that is gone, or a full disk, neither ends a worker nor keeps it from ending."""
    try:
        yield
    except OSError as error:
        maillog.problem(what=what, error=str(error))


class Worker:
    """Serving, and the ways out of it."""

    def __init__(self, master: socket.socket, setup: Setup) -> None:
        self._master: socket.socket | None = master
        self._setup = setup
        self._config = setup.config
        self._run = Path(self._config.run_dir)
        self._registry = Registry()
        self._service: Service | None = None
        self._acceptor: Acceptor | None = None
        self._state = WorkerState.STARTING
        self._detached = False
        self._stopping = asyncio.Event()
        """Set when no new session is taken."""
        self._deadline: float | None = None
        """By `control.monotonic`; None: it does not drain."""
        self._deadline_moved = asyncio.Event()
        self._orphan_timer: asyncio.TimerHandle | None = None
        self._sessions_at_drain = 0
        self._start_time = control.start_time(os.getpid()) or 0

    async def serve(self, build: Build) -> int:
        loop = asyncio.get_running_loop()
        maillog.started(pid=os.getpid(), generation=self._setup.file.generation, version=VERSION)
        loop.add_signal_handler(signal.SIGTERM, lambda: self.drain(self._config.stop.drain, reason="signal"))
        for number in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        self._service = await build(self._config, self._registry)
        gc.collect()
        gc.freeze()  # what the service consists of stays; only what sessions leave is looked through
        gc.set_threshold(GC_THRESHOLD)
        self._acceptor = Acceptor(self._service, self._registry, self._setup)
        words = WorkerControl(self)
        words.listen(control.worker_socket(self._run, self._config.name, os.getpid()))
        assert self._master is not None
        self._master.setblocking(False)
        loop.add_reader(self._master.fileno(), self._hear)
        self._acceptor.start()
        self._enter(WorkerState.READY)
        maillog.ready(pid=os.getpid())
        work = loop.create_task(self._service.run(self._stopping))
        waiting = loop.create_task(self._stopping.wait())
        await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not self._stopping.is_set():
            self.drain(self._config.stop.drain, reason="the service ended by itself")
        waiting.cancel()
        cut = await self._finish(work)
        words.close()
        await self._service.close()
        ended = Ended(pid=os.getpid(), finished=self._sessions_at_drain - cut, cut=cut)
        maillog.stopped(pid=ended.pid, finished=ended.finished, cut=ended.cut)
        with _tolerant("records of this worker"):
            if self._sessions_at_drain:  # else nobody can be waiting to hear of it
                control.write_ended(self._run, self._config.name, ended)
            control.worker_record(self._run, self._config.name, os.getpid()).unlink(missing_ok=True)
        if work.cancelled():
            return 0
        if error := work.exception():
            maillog.bug(what="work of the service", error=error)
            return 1
        return 0

    # Asked over the control socket, or told on the channel

    @property
    def status(self) -> Message:
        return {
            "ok": True,
            "pid": os.getpid(),
            "generation": self._setup.file.generation,
            "state": self._state,
            "sessions": len(self._registry),
            "deadline": self._deadline,
        }

    @property
    def registry(self) -> Registry:
        return self._registry

    @property
    def has_master(self) -> bool:
        return self._master is not None

    @property
    def is_draining(self) -> bool:
        return self._deadline is not None

    @property
    def listeners(self) -> list[tuple[Listener, socket.socket]]:
        return self._setup.listeners

    def handed_over(self) -> None:
        """A new master has copies of the listeners and makes its workers ready."""
        self._wait_for_master(HANDED_OVER_S)

    def taken(self) -> None:
        """A new master's workers serve."""
        self.drain(self._config.stop.drain, reason="taken over")

    def drain(self, limit_s: float, *, reason: str) -> None:
        """Take no more; `limit_s` from now the sessions that are left are told goodbye.

        Asked again, a shorter limit replaces a longer one.
        """
        deadline = control.monotonic() + limit_s
        if self._deadline is not None:
            if deadline < self._deadline:
                self._deadline = deadline
                self._deadline_moved.set()
                self._enter(WorkerState.DRAINING)
            return
        self._deadline = deadline
        if self._orphan_timer is not None:
            self._orphan_timer.cancel()
        if self._acceptor is not None:
            self._acceptor.stop()
        self._sessions_at_drain = len(self._registry)
        maillog.draining(pid=os.getpid(), sessions=self._sessions_at_drain, limit_s=limit_s, reason=reason)
        self._enter(WorkerState.DRAINING)
        self._stopping.set()

    def _hear(self) -> None:
        assert self._master is not None
        try:
            heard = channel.receive(self._master)
        except BlockingIOError:
            return
        if heard is None:
            self._lose_master()
            return
        message, descriptors = heard
        limit_s = message.get("limit_s")
        match message.get("do"):
            case "retune":
                self._retune(message, descriptors)
            case "drain" if isinstance(limit_s, (int, float)):
                self.drain(limit_s, reason=str(message.get("reason")))
            case "detach":
                self._detached = True
            case "reopen":
                maillog.reopen()

    def _retune(self, message: Message, descriptors: list[int]) -> None:
        """New values and listeners for whoever comes from now on; sessions that are open keep theirs."""
        assert self._acceptor is not None and self._master is not None
        if self.is_draining:  # nobody comes any more
            for fd in descriptors:
                os.close(fd)
            return
        self._setup.retune(message, descriptors)
        self._config = self._setup.config
        self._acceptor.retune(self._config, self._setup.listeners)
        self._enter(self._state)
        maillog.retuned(pid=os.getpid(), generation=self._setup.file.generation)
        channel.send(self._master, {"took": self._setup.file.digest})

    def _lose_master(self) -> None:
        assert self._master is not None
        asyncio.get_running_loop().remove_reader(self._master.fileno())
        self._master.close()
        self._master = None
        if self._detached or self.is_draining:
            return
        maillog.master_gone(pid=os.getpid())
        self._wait_for_master(ORPHAN_S)

    def _wait_for_master(self, seconds: float) -> None:
        if self._orphan_timer is not None:
            self._orphan_timer.cancel()
        self._orphan_timer = asyncio.get_running_loop().call_later(
            seconds, lambda: self.drain(self._config.stop.drain, reason="no master")
        )

    def _enter(self, state: WorkerState) -> None:
        self._state = state
        record = WorkerRecord(
            pid=os.getpid(),
            start_time=self._start_time,
            service=self._config.name,
            generation=self._setup.file.generation,
            state=state,
            deadline=self._deadline,
        )
        with _tolerant("record of this worker"):
            control.write_record(self._run, record)
        if self._master is not None:
            channel.send(self._master, {"state": state})

    # The end

    async def _finish(self, work: asyncio.Task[None]) -> int:
        """Wait for the sessions to end, at most until the deadline; how many had to be told or cut."""
        assert self._acceptor is not None
        idle = asyncio.create_task(self._idle(work))
        while not idle.done() and self._deadline is not None and (left := self._deadline - control.monotonic()) > 0:
            self._deadline_moved.clear()
            moved = asyncio.create_task(self._deadline_moved.wait())
            await asyncio.wait((idle, moved), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
        if idle.done():
            return 0
        cut = len(self._registry)
        if self._config.stop.after == "goodbye":
            for session in self._registry:
                session.goodbye()
            await asyncio.wait((idle,), timeout=GOODBYE_GRACE_S)
        for session in self._registry:
            session.abort()
        await asyncio.wait((idle,), timeout=GOODBYE_GRACE_S)
        idle.cancel()
        work.cancel()
        await asyncio.wait((work,), timeout=GOODBYE_GRACE_S)
        return cut

    async def _idle(self, work: asyncio.Task[None]) -> None:
        """Ends when nothing is left: no connection between accept and session, no session, no work of the service."""
        assert self._acceptor is not None
        await self._acceptor.settled()
        await asyncio.wait((work,))
        await self._registry.wait_idle()
