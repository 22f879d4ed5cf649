"""supervisord as a client sees it: XML-RPC over its unix socket, with typed answers, and how to start one.

Guarantees: no call waits for a program to start or stop (`wait` is false everywhere: a waiting stop burns most of a
core inside supervisord); callers poll `processes`. Every call raises `SupervisorDown` when nobody answers or
supervisord is on its way down, and `SupervisorFault` when it refuses.
Leaves to others: what to start and when (apply, the agent); whether a program that runs is ready (its master says so).
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.errors import SupervisorDown, SupervisorEnding, SupervisorFault

POLL_S = 0.05
"""Between two looks at supervisord; one look costs it half a millisecond."""

START_TIMEOUT_S = 20.0
"""How long a new supervisord may take until it answers: a second when idle, more on a machine that is busy."""

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LOGNAME")
"""What supervisord, and so every program, gets of the caller's environment: nothing that could hold a secret."""

_SHUTDOWN_STATE, _ALREADY_STARTED, _NOT_RUNNING, _BAD_NAME, _ALREADY_ADDED = 6, 60, 70, 10, 90
"""Numbers of supervisor.xmlrpc.Faults: importing it takes longer than the call."""


class ProgramState(StrEnum):
    """supervisord's words for a program."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    UNKNOWN = "UNKNOWN"


EXIT_CODES = (0, 78)
"""A master that ended so is not started again: stopped, or its file cannot be used (EX_CONFIG)."""

ALIVE = frozenset({ProgramState.STARTING, ProgramState.RUNNING, ProgramState.BACKOFF})
"""States in which a program runs, or will by itself in a moment."""

IDLE = frozenset({ProgramState.STOPPED, ProgramState.EXITED, ProgramState.FATAL, ProgramState.UNKNOWN})
"""States from which a start is a start, and in which a group may be removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program as supervisord reports it. RUNNING says nothing about readiness."""

    name: str
    """As `supervisorctl` has it: with its group before it where that is called otherwise, as none of ours is."""
    state: ProgramState
    pid: int | None
    since: float
    """Unix time of the last start; 0: never."""
    ended: float
    """Unix time of the last end; 0: never."""
    exit_status: int
    trouble: str
    """Why it could not be spawned; empty: no trouble known."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Groups that differ between the configuration file and what supervisord has loaded."""

    added: frozenset[str]
    changed: frozenset[str]
    removed: frozenset[str]


class Supervisor:
    """Client of the supervisord that listens at `path`. One connection, not for use by several threads."""

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self.path = path
        self._transport = _UnixTransport(path, timeout_s)
        self._proxy = xmlrpc.client.ServerProxy("http://localhost", transport=self._transport)

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def pid(self) -> int:
        """Process id of supervisord itself."""
        return int(str(self._call("getPID")))

    def answers(self) -> bool:
        try:
            self.pid()
        except SupervisorDown:
            return False
        return True

    def is_ending(self) -> bool:
        """It is there, but on its way down: it waits for what still finishes."""
        try:
            self.pid()
        except SupervisorEnding:
            return True
        except SupervisorDown:
            return False
        return False

    def processes(self) -> dict[str, Program]:
        """Every program that supervisord has loaded, by name."""
        rows = self._call("getAllProcessInfo")
        return {program.name: program for program in map(_program, rows if isinstance(rows, list) else [])}

    def start(self, name: str) -> None:
        """Ask for a start; one that runs already is left alone. Nothing happens while the program is STOPPING."""
        with _tolerating(_ALREADY_STARTED):
            self._call("startProcess", name, False)

    def stop(self, names: Sequence[str]) -> None:
        """Ask for the stop of all `names` at once; those that do not run, or do not exist, are left alone."""
        for _, fault in self._multicall([("stopProcess", (name, False)) for name in names]):
            if fault is not None and fault.code not in (_NOT_RUNNING, _BAD_NAME):
                raise fault

    def reload_config(self) -> Changes:
        """Have the configuration file read: how does it differ from what is loaded? `add` and `remove` make it so."""
        rows = self._call("reloadConfig")
        match rows:
            case [[list(added), list(changed), list(removed)]]:
                return Changes(*(frozenset(map(str, names)) for names in (added, changed, removed)))
        raise SupervisorFault(0, f"reloadConfig answers {rows!r}")

    def add(self, name: str) -> None:
        """Load the group from the configuration file that was read last. It is not started."""
        with _tolerating(_ALREADY_ADDED):
            self._call("addProcessGroup", name)

    def remove(self, name: str) -> None:
        """Forget a group whose program is stopped."""
        with _tolerating(_BAD_NAME):
            self._call("removeProcessGroup", name)

    def shutdown(self) -> None:
        """Ask supervisord to stop everything and end; returns at once."""
        self._call("shutdown")

    def _call(self, method: str, *args: object) -> object:
        with _translated(self.path):
            # What supervisord may be given is text, numbers and lists: always marshallable.
            return getattr(self._proxy.supervisor, method)(*args)

    def _multicall(
        self, calls: Sequence[tuple[str, tuple[object, ...]]]
    ) -> list[tuple[object, SupervisorFault | None]]:
        """Raw system.multicall: results do not come wrapped as the convention has it, so MultiCall cannot read them."""
        if not calls:
            return []
        request = [{"methodName": f"supervisor.{method}", "params": list(params)} for method, params in calls]
        with _translated(self.path):
            rows = self._proxy.system.multicall(request)
        return [_result(row) for row in (rows if isinstance(rows, list) else [])]


def launch(configuration: Path, socket_path: Path, *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Start supervisord from `configuration`: detached, in a session of its own, with none of our descriptors.

    Returns once it answers at `socket_path`. Raises SupervisorDown with its own words when it does not come up.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", os.fspath(configuration)]
    # It opens its socket, forks and goes to the background by itself: the process we see ends at once, with an error
    # when there was one.
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd="/",
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        words = " ".join(done.stdout.decode(errors="replace").split())
        raise SupervisorDown(f"supervisord does not start: {words or f'exit status {done.returncode}'}")
    deadline = time.monotonic() + timeout_s
    with Supervisor(socket_path) as supervisor:
        while not supervisor.answers():
            if time.monotonic() > deadline:
                raise SupervisorDown(f"supervisord was started but does not answer at {socket_path}")
            time.sleep(POLL_S)


def _program(row: object) -> Program:
    if not isinstance(row, Mapping):
        raise SupervisorFault(0, "a process description is no struct")
    state, name, group = str(row["statename"]), str(row["name"]), str(row["group"])
    return Program(
        name=name if name == group else f"{group}:{name}",
        state=ProgramState(state) if state in ProgramState.__members__ else ProgramState.UNKNOWN,
        pid=int(row["pid"]) or None,
        since=float(row["start"]),
        ended=float(row["stop"]),
        exit_status=int(row["exitstatus"]),
        trouble=str(row["spawnerr"]),
    )


def _result(row: object) -> tuple[object, SupervisorFault | None]:
    if isinstance(row, Mapping) and "faultCode" in row:
        return None, SupervisorFault(int(row["faultCode"]), str(row["faultString"]))
    return row, None


@contextlib.contextmanager
def _tolerating(code: int) -> Iterator[None]:
    try:
        yield
    except SupervisorFault as fault:
        if fault.code != code:
            raise


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode == _SHUTDOWN_STATE:
            raise SupervisorEnding("supervisord is shutting down") from None
        raise SupervisorFault(fault.faultCode, fault.faultString) from None
    except PermissionError:
        raise
    except FileNotFoundError:
        raise SupervisorDown("supervisord does not run; `postroom apply` starts it") from None
    except (OSError, http.client.HTTPException) as error:
        words = f"supervisord does not answer at {path}: {error or type(error).__name__}"
        raise SupervisorDown(f"{words}; `postroom apply` brings it back") from None
    except xmlrpc.client.ProtocolError as error:
        raise SupervisorFault(error.errcode, f"HTTP {error.errcode} {error.errmsg}") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_s = timeout_s
        self._open: _UnixConnection | None = None

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        if self._open is None:
            self._open = _UnixConnection(self._path, self._timeout_s)
        return self._open

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
