"""What masters, workers, agent and command line say to each other, and where.

Every message is one JSON object on one line. Two ways carry them:

- *control sockets* (unix stream): the master's and each worker's, in `RUN/services/NAME/`, and the agent's. A request
  is one line with a `verb`; the answer is zero or more progress lines (`{"event": ...}`) and then one with `ok`. The
  other side closes.
- the *channel* between a master and one worker (unix seqpacket, no name): its end tells each of the other's death.

Who keeps what in RUN/services/NAME/:
    master.sock                  control socket of the master
    predecessor-PID.sock         that of a master which the master PID replaces, until it has
    workers/PID.sock             control socket of one worker, until it ends
    workers/PID.json             its record, see WorkerRecord; written anew (by rename) at each change of state
    workers/PID.ended            what became of a drain that had sessions (Ended); swept after an hour

A record whose process is gone (pid reused, zombie or no such pid: `is_alive`) is garbage and swept by any master start.

`workers/` belongs to the user of the workers, all above it to that of the master, who may be root. So whatever is in
it is read with suspicion: a worker that serves a stranger must not be able to make root wait, read, or end a process
that is not the worker's own.
"""

import contextlib
import hashlib
import json
import math
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from maillib.errors import ConfigError, Transient

Message = dict[str, object]

MAX_LINE_OCTETS = 1 << 20
"""Longest line on a control socket: a listing of all sessions of one worker fits."""

ENDED_KEPT_S = 3600.0
"""How long the outcome of a drain can be read."""

SOCKET_PATH_OCTETS = 107
"""Longest unix socket path on Linux. sun_path of unix(7)."""

MAX_RECORD_OCTETS = 4096

_LONGEST_NAME = len("/services/") + 31 + len("/predecessor-4194304.sock")


class Verb(StrEnum):
    """What can be asked on a control socket."""

    STATUS = "status"  # master, worker, agent
    SESSIONS = "sessions"  # master, worker: every open session
    RELOAD = "reload"  # master {config}: new workers from that file, then the old ones drain
    RESTART = "restart"  # master {config}: the same, and the master executes itself anew
    RETUNE = "retune"  # master {config}: the workers that run take that file; refused when they cannot
    LET_GO = "let-go"  # master {addresses}: listen there no more, another service will
    DRAIN = "drain"  # worker {limit_s}: no more sessions, end within limit_s; a shorter limit replaces a longer
    LISTENERS = "listeners"  # worker whose master is dead: hand over copies of the listening sockets
    TAKEN = "taken"  # worker: a new master serves these listeners now: close your copies and drain
    DRAINERS = "drainers"  # agent {service, pids}: these workers finish without a master from now on


class WorkerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """`worker-PID.json`: enough to find, judge and end a worker without its master."""

    pid: int
    start_time: int
    """Field 22 of /proc/PID/stat: with the pid it names the process for good."""
    service: str
    generation: int
    state: WorkerState
    deadline: float | None
    """By `monotonic`: when its sessions are told goodbye; None while it is not draining."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """`ended-PID.json`: how the drain of a worker went."""

    pid: int
    finished: int
    """Sessions that ended by themselves."""
    cut: int
    """Sessions that were told goodbye, or were cut, because the limit had passed."""


def run_dir(state_dir: Path) -> Path:
    """Where the sockets of `state_dir` are: `run/` in it, or a short directory in /tmp when paths would be too long.

    The short one is named after the user and the digest of the path, and belongs to us alone (`make_run_dir`).
    """
    own = state_dir / "run"
    if len(os.fsencode(own)) + _LONGEST_NAME <= SOCKET_PATH_OCTETS:
        return own
    return Path("/tmp") / f"postroom-{os.getuid()}-{hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:10]}"  # noqa: S108 - checked


def make_run_dir(path: Path) -> None:
    """Make `path` if need be, for us alone, and refuse one that others could have prepared. Raises ConfigError."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ConfigError(f"{path} is no directory of our own that only we can write to")


def refuse_dir_of_others(path: Path) -> None:
    """Raises ConfigError when somebody else could have put something into `path`, a link for example."""
    found = path.stat()
    foreign_group = found.st_gid != os.getegid()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (0o022 if foreign_group else 0o002):
        raise ConfigError(f"{path} belongs to somebody else, or others may write to it: chown it, or chmod go-w")


def open_run_dir(path: Path, gid: int) -> None:
    """Let a group pass through, whose workers have their own folders in it; it cannot list what is there."""
    os.chown(path, -1, gid)
    path.chmod(0o710)


def service_dir(run: Path, service: str) -> Path:
    return run / "services" / service


def master_socket(run: Path, service: str) -> Path:
    return service_dir(run, service) / "master.sock"


def workers_dir(run: Path, service: str) -> Path:
    return service_dir(run, service) / "workers"


def worker_socket(run: Path, service: str, pid: int) -> Path:
    return workers_dir(run, service) / f"{pid}.sock"


def worker_record(run: Path, service: str, pid: int) -> Path:
    return workers_dir(run, service) / f"{pid}.json"


def ended_record(run: Path, service: str, pid: int) -> Path:
    return workers_dir(run, service) / f"{pid}.ended"


def agent_socket(run: Path) -> Path:
    return run / "agent.sock"


def write_record(run: Path, record: WorkerRecord) -> None:
    path = worker_record(run, record.service, record.pid)
    aside = path.with_suffix(".json.tmp")
    aside.write_text(json.dumps(asdict(record)) + "\n")
    aside.replace(path)


def read_records(run: Path, service: str) -> Iterator[WorkerRecord]:
    """The records of one service's workers that are alive, drainers of earlier masters included."""
    for path in sorted(workers_dir(run, service).glob("*.json")):
        try:
            data, owner = _read(path)
            record = WorkerRecord(
                pid=int(path.stem),
                start_time=_number(data["start_time"]),
                service=service,
                generation=_number(data["generation"]),
                state=WorkerState(str(data["state"])),
                deadline=_moment(data["deadline"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            continue  # just removed, or half of a crash: `sweep` takes it away
        if is_alive(record.pid, record.start_time) and _user_of(record.pid) == owner:
            yield record


def write_ended(run: Path, service: str, ended: Ended) -> None:
    ended_record(run, service, ended.pid).write_text(json.dumps(asdict(ended)) + "\n")


def read_ended(run: Path, service: str, pid: int) -> Ended | None:
    """None: that worker has not ended, or not by a drain."""
    try:
        data, _ = _read(ended_record(run, service, pid))
        return Ended(pid=pid, finished=_number(data["finished"]), cut=_number(data["cut"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def sessions_cut(run: Path, service: str) -> int:
    """How many sessions of one service had to be cut in drains that ended within ENDED_KEPT_S."""
    cut = 0
    for path in workers_dir(run, service).glob("*.ended"):
        with contextlib.suppress(OSError, ValueError):  # swept meanwhile; or none of ours
            ended = read_ended(run, service, int(path.stem))
            if ended is not None and path.lstat().st_mtime >= now() - ENDED_KEPT_S:
                cut += ended.cut
    return cut


def _read(path: Path) -> tuple[Message, int]:
    """The object in a file that a worker may have written, and who owns the file. Raises OSError, ValueError.

    No link is followed, no pipe waited for, and nothing read to an end that it may not have.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no file")
        return _object(file.read(MAX_RECORD_OCTETS)), found.st_uid


def _number(value: object) -> int:
    """Raises TypeError."""
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _moment(value: object) -> float | None:
    """Raises TypeError."""
    if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
        raise TypeError(f"{value!r} is no time")
    return value


def _user_of(pid: int) -> int | None:
    """Whose process it is; None: it has ended."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def sweep(run: Path, service: str) -> None:
    """Remove records and sockets of workers that are gone."""
    alive = {record.pid for record in read_records(run, service)}
    for path in workers_dir(run, service).glob("*"):
        number, _, kind = path.name.partition(".")
        with contextlib.suppress(OSError):  # somebody else was first; or it is no file, and nobody's who has to live
            if kind == "ended":
                if path.lstat().st_mtime < now() - ENDED_KEPT_S:
                    path.unlink()
            elif number.isdigit() and int(number) not in alive and not is_alive(int(number), None):
                path.unlink()


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, in clock ticks since boot; None when there is no such process or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, started: int | None) -> bool:
    """Whether that very process still runs; a zombie has ended. `started` None: any process of that pid."""
    found = start_time(pid)
    return found is not None and (started is None or found == started)


@contextlib.contextmanager
def connect(path: Path, *, timeout_s: float) -> Iterator[socket.socket]:
    """A stream to the control socket `path`. Raises Transient when nobody answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(timeout_s)
        try:
            stream.connect(os.fspath(path))
        except OSError as error:
            raise Transient(f"nobody answers at {path}: {error.strerror or error}") from None
        yield stream


def exchange(path: Path, request: Message, *, timeout_s: float) -> Iterator[Message]:
    """Ask, and give each line of the answer as it comes; the last one has `ok`.

    Blocks up to `timeout_s` for each line. Raises Transient when the other side is not there, falls silent or ends
    without an answer.
    """
    with connect(path, timeout_s=timeout_s) as stream:
        buffer = b""
        try:
            stream.sendall(encode(request))
            while chunk := stream.recv(65536):
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                if len(buffer) > MAX_LINE_OCTETS:
                    raise Transient(f"{path} answers without end")
                for line in lines:
                    message = decode(line)
                    yield message
                    if "ok" in message:
                        return
        except TimeoutError:
            raise Transient(f"{path} did not answer within {timeout_s:g} s") from None
        except OSError as error:
            raise Transient(f"{path}: {error.strerror or error}") from None
    raise Transient(f"{path} closed without an answer")


def ask(path: Path, request: Message, *, timeout_s: float) -> Message:
    """The last line of the answer; progress lines are dropped. Raises Transient."""
    answer: Message = {}
    for answer in exchange(path, request, timeout_s=timeout_s):  # noqa: B007 - the last one counts
        pass
    return answer


def encode(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Raises Transient for what is no JSON object."""
    try:
        return _object(line)
    except ValueError:
        raise Transient("a control message is no JSON object") from None


def _object(text: bytes) -> Message:
    """Raises ValueError for what is no JSON object."""
    try:
        message = json.loads(text)
    except RecursionError:
        message = None
    if not isinstance(message, dict):
        raise ValueError("no JSON object")
    return message


def peer_is_trusted(stream: socket.socket) -> bool:
    """Whether the other end of a unix socket is root or the user of this process. unix(7), SO_PEERCRED.

    The folder's mode keeps strangers out; this keeps out a worker that has dropped to another user.
    """
    _, uid, _ = struct.unpack("3i", stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid in (0, os.geteuid())


def now() -> float:
    """Unix time, for people to read."""
    return time.time()


def monotonic() -> float:
    """Seconds of the clock that all processes of a host share since its start: a step of the wall clock moves no
    deadline."""
    return time.monotonic()
