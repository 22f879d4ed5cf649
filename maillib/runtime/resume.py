"""What a master leaves to itself when it executes itself anew: same pid, same children, same descriptors.

The state is JSON in a memfd whose number is in the environment; the descriptors named in it are made inheritable right
before. All signals stay blocked from before the exec until the new image has its handlers: none is lost, none kills.
"""

import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maillib.control import Message, WorkerState
from maillib.runtime import channel
from maillib.runtime.cohort import Cohort, Worker
from maillib.runtime.program import RESUME
from maillib.settings import service
from maillib.settings.base import Json, load
from maillib.settings.service import Listener

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Estate:
    """Everything that outlives the old image."""

    started: float
    """Unix time of the master's first image."""
    listeners: list[tuple[Listener, socket.socket]]
    cohorts: list[Cohort]
    """The current one first, then the draining ones, oldest last."""
    occupancy: int
    occupancy_slots: int
    control: socket.socket
    client: socket.socket | None
    """Who asked for the restart and waits for the answer."""
    waiting: list[tuple[socket.socket | None, Message]]
    """Reloads and restarts that came meanwhile, and who asked for them."""


def execute_anew(script: Path, config_argument: Path, estate: Estate) -> None:
    """Replace this process's image. Does not return; raises OSError when it could not be done."""
    cohorts = [
        {
            "config": os.fspath(cohort.config),
            "content": service.encode(cohort.file).decode(),
            "certificate": cohort.certificate,
            "deadline": cohort.deadline,
            "workers": [_left(worker) for worker in cohort.workers.values()],
        }
        for cohort in estate.cohorts
    ]
    state = {
        "started": estate.started,
        "listeners": [{"listener": asdict(listener), "fd": sock.fileno()} for listener, sock in estate.listeners],
        "cohorts": cohorts,
        "occupancy": estate.occupancy,
        "occupancy_slots": estate.occupancy_slots,
        "control": estate.control.fileno(),
        "client": _number(estate.client),
        "waiting": [{"client": _number(stream), "request": request} for stream, request in estate.waiting],
    }
    memory = channel.memory_file("resume", json.dumps(state).encode())
    inherited = [
        memory,
        estate.occupancy,
        estate.control.fileno(),
        *(sock.fileno() for _, sock in estate.listeners),
        *(worker.channel.fileno() for cohort in estate.cohorts for worker in cohort.workers.values()),
        *(sock.fileno() for sock in [estate.client, *(stream for stream, _ in estate.waiting)] if sock),
    ]
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for fd in inherited:
        os.set_inheritable(fd, True)
    try:
        os.execve(  # noqa: S606 - the same program again, no shell wanted
            sys.executable,
            [sys.executable, os.fspath(script), "--config", os.fspath(config_argument)],
            {**os.environ, RESUME: str(memory)},
        )
    except OSError:
        for fd in inherited:
            os.set_inheritable(fd, False)
        os.close(memory)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        raise


def take_over(memory: int) -> Estate:
    """Read what the old image left. The descriptors are close-on-exec again."""
    state = json.loads(channel.read_memory_file(memory))
    return Estate(
        started=state["started"],
        listeners=[(load(Listener, item["listener"]), _socket(item["fd"])) for item in state["listeners"]],
        cohorts=[
            Cohort(
                config=Path(item["config"]),
                file=service.parse(item["content"]),
                deadline=item["deadline"],
                certificate=item["certificate"],
                workers={left["pid"]: _found(left) for left in item["workers"]},
            )
            for item in state["cohorts"]
        ],
        occupancy=_own(state["occupancy"]),
        occupancy_slots=state["occupancy_slots"],
        control=_socket(state["control"]),
        client=_optional_socket(state["client"]),
        waiting=[(_optional_socket(item["client"]), item["request"]) for item in state["waiting"]],
    )


def _left(worker: Worker) -> dict[str, Json]:
    return {
        "pid": worker.pid,
        "channel": worker.channel.fileno(),
        "region": worker.region,
        "started": worker.started,
        "state": worker.state,
    }


def _found(left: dict[str, Any]) -> Worker:
    return Worker(
        pid=left["pid"],
        channel=_socket(left["channel"]),
        region=left["region"],
        started=left["started"],
        state=WorkerState(left["state"]),
    )


def _number(sock: socket.socket | None) -> int | None:
    return None if sock is None else sock.fileno()


def _optional_socket(fd: int | None) -> socket.socket | None:
    return None if fd is None else _socket(fd)


def _own(fd: int) -> int:
    os.set_inheritable(fd, False)
    return fd


def _socket(fd: int) -> socket.socket:
    sock = socket.socket(fileno=_own(fd))
    sock.setblocking(False)
    return sock
