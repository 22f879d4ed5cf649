"""Cohorts: the workers that were started from one configuration, as their master sees them.

A service has one current cohort, at most one that is becoming ready, and the old ones that drain.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maillib.control import WorkerState
from maillib.errors import ConfigError
from maillib.runtime import channel
from maillib.runtime.occupancy import REGIONS
from maillib.runtime.program import CHANNEL
from maillib.settings.base import Json
from maillib.settings.service import Listener, ServiceFile, encode

PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Waits before a worker that died is started again, by how many have died in a row; the last one repeats."""

STEADY_S = 60.0
"""A worker that lived that long did not die at its start: the count begins anew."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072"}
"""Environment of a worker: what is larger comes from the system and goes back there, see `heap`."""

CHANNEL_FD = 3
"""The channel's descriptor in a worker."""


@dataclass(slots=True)
class Worker:
    """One worker process."""

    pid: int
    channel: socket.socket
    region: int
    """Its part of the shared occupancy."""
    started: float
    """Monotonic."""
    state: WorkerState = WorkerState.STARTING


@dataclass(slots=True)
class Cohort:
    """All workers of one configuration."""

    config: Path
    """The file itself, links resolved: `generations/000008/services/smtp.json`."""
    file: ServiceFile
    workers: dict[int, Worker] = field(default_factory=dict)
    deadline: float | None = None
    """Monotonic: when its sessions are told goodbye; None while it does not drain."""
    certificate: str | None = None
    """Digest of the certificate's file when its workers were started."""
    deaths: int = 0
    """In a row."""
    respawn_at: float | None = None
    """Monotonic time of the next start of missing workers; None: none is missing."""

    @property
    def is_ready(self) -> bool:
        return len(self.workers) >= self.file.service.processes and all(
            worker.state is WorkerState.READY for worker in self.workers.values()
        )

    def count_death(self, worker: Worker) -> float:
        """Note that `worker` died by itself; the pause before it is replaced."""
        self.deaths = 1 if time.monotonic() - worker.started > STEADY_S else self.deaths + 1
        pause = PAUSES_S[min(self.deaths, len(PAUSES_S)) - 1]
        self.respawn_at = time.monotonic() + pause
        return pause


@dataclass(frozen=True, slots=True)
class Handed:
    """What each worker gets from its master besides its configuration."""

    listeners: tuple[tuple[Listener, socket.socket], ...]
    occupancy: int
    occupancy_slots: int


def spawn(script: Path, cohort: Cohort, handed: Handed, log: Path, free_region: int) -> Worker:
    """Start one worker and hand it everything it needs; it answers `ready` on its channel when it serves.

    Raises ConfigError when certificate or key cannot be read.
    """
    ours, theirs = channel.pair()
    service = cohort.file.service
    descriptors = [handed.occupancy]
    made = [channel.memory_file("config", encode(cohort.file))]
    try:
        if service.tls is not None and any(listener.tls != "none" for listener in service.listen):
            for path in (service.tls.certificate, service.tls.private_key):
                try:
                    made.append(channel.memory_file("tls", Path(path).read_bytes()))
                except OSError as error:
                    raise ConfigError(f"{path}: {error.strerror}") from None
        descriptors += [*made, *(sock.fileno() for _, sock in handed.listeners)]
        pid = _start(script, cohort.config, theirs, log)
        setup: dict[str, object] = {
            "region": free_region,
            "occupancy_slots": handed.occupancy_slots,
            "tls": len(made) > 1,
            "listeners": [_listener_json(listener) for listener, _ in handed.listeners],
        }
        channel.send(ours, setup, descriptors)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        for fd in made:
            os.close(fd)
    ours.setblocking(False)
    return Worker(pid=pid, channel=ours, region=free_region, started=time.monotonic())


def retune(worker: Worker, cohort: Cohort, sockets: Sequence[tuple[Listener, socket.socket]]) -> bool:
    """Hand a worker what has become of its cohort's configuration; False: it is gone, or as good as."""
    config = channel.memory_file("config", encode(cohort.file))
    try:
        described = [_listener_json(listener) for listener, _ in sockets]
        descriptors = [config, *(sock.fileno() for _, sock in sockets)]
        return channel.send(worker.channel, {"do": "retune", "listeners": described}, descriptors)
    finally:
        os.close(config)


def free_region(workers: list[Worker]) -> int:
    """A part of the occupancy that none of the workers has. Raises ConfigError when all are taken."""
    free = set(range(REGIONS)) - {worker.region for worker in workers}
    if not free:
        raise ConfigError(f"more than {REGIONS} workers at the same time")
    return min(free)


def _listener_json(listener: Listener) -> dict[str, Json]:
    return {name: getattr(listener, name) for name in listener.__dataclass_fields__}


def _start(script: Path, config: Path, theirs: socket.socket, log: Path) -> int:
    """The worker's standard output and error go to the log: a drainer may hold no pipe of supervisord's.

    A process group of its own keeps a terminal's Ctrl-C away from it: its master says when to stop.
    """
    # Opened here and not by `posix_spawn`, whose error would name the program.
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, os.fspath(script), "--config", os.fspath(config)],
            {**os.environ, **MALLOC, CHANNEL: str(CHANNEL_FD)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), CHANNEL_FD),
            ],
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD],
        )
    finally:
        os.close(output)
