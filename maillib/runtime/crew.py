"""The workers of one master: started, heard, missed when they die.

Guarantees: a worker that dies by itself is replaced after a growing pause, one that drains is not, and the death of one
that is becoming ready ends the changeover; one that has not ended at its deadline is killed; of a worker that has ended
nothing is left, however it ended.

Leaves to others: making a process (`cohort.spawn`), which cohort serves (`changeover`), when to stop (`master`).
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TextIO

from maillib import control, maillog
from maillib.control import Message, WorkerState
from maillib.errors import MailError, Transient
from maillib.runtime import channel, cohort, folders
from maillib.runtime.cohort import Cohort, Handed, Worker
from maillib.runtime.occupancy import Occupancy
from maillib.settings.service import Listener, ServiceConfig

CUT_GRACE_S = 15.0
"""After its deadline a drainer says goodbye and ends; one that has not by then is killed."""

LEAVING = 128
"""Slots beyond the limit of connections: who makes room for others is there for a moment more."""


class Boss(Protocol):
    """What a crew needs of its master."""

    def sockets_for(self, one: Cohort) -> list[tuple[Listener, socket.socket]]: ...

    def became_ready(self) -> None:
        """A worker is; perhaps all of its cohort are."""

    def coming_failed(self, error: str) -> None:
        """A worker of the cohort that is becoming ready will not."""

    def has_retuned(self, pid: int) -> None:
        """That worker has taken the new configuration, or has ended."""

    def say(self, words: str, to: TextIO) -> None: ...


class Crew:
    """All cohorts of one service."""

    def __init__(
        self, script: Path, config: ServiceConfig, selector: selectors.BaseSelector, current: Cohort, boss: Boss
    ) -> None:
        self._script = script
        self._name = config.name
        self._run = Path(config.run_dir)
        self._log = folders.log_file(config)
        self._selector = selector
        self._boss = boss
        self.current = current
        self.coming: Cohort | None = None
        """Becoming ready; with a restart also what has just become `current`."""
        self.old: list[Cohort] = []
        """They drain; the youngest first."""
        self.occupancy: Occupancy | None = None
        self.last_error: str | None = None
        """For `status`: what went wrong, since all were ready last."""

    def cohorts(self) -> list[Cohort]:
        return [self.current, *self.old, *([self.coming] if self.coming else [])]

    def workers(self) -> list[Worker]:
        return [worker for one in self.cohorts() for worker in one.workers.values()]

    def adopt(self, cohorts: list[Cohort], occupancy: Occupancy) -> None:
        """What the image before had: the current cohort first."""
        self.current, *self.old = cohorts
        self.occupancy = occupancy
        for worker in self.workers():
            self._watch(worker)

    def fill(self, one: Cohort) -> None:
        """Start the workers that the cohort lacks; where that fails it is tried again by itself (`respawn_at`)."""
        one.respawn_at = None
        tls = one.file.service.tls
        one.certificate = tls.certificate_digest() if tls is not None else None
        slots = max(1024, one.file.service.limits.connections + LEAVING)
        if self.occupancy is None or self.occupancy.slots < slots:
            self.occupancy = Occupancy.create(slots)  # sessions that are open are counted no more: they drain
        while len(one.workers) < one.file.service.processes:
            handed = Handed(tuple(self._boss.sockets_for(one)), self.occupancy.descriptor, self.occupancy.slots)
            try:
                region = cohort.free_region(self.workers())
                worker = cohort.spawn(self._script, one, handed, self._log, region)
            except (MailError, OSError) as error:
                self.last_error = str(error)
                maillog.problem(what="start of a worker", error=str(error))
                self._boss.say(f"a worker cannot be started: {error}", sys.stderr)
                one.deaths += 1
                one.respawn_at = time.monotonic() + cohort.PAUSES_S[-1]
                return
            one.workers[worker.pid] = worker
            self._watch(worker)

    def drain(self, one: Cohort, *, reason: str) -> None:
        limit_s = one.file.service.stop.drain
        one.deadline = control.monotonic() + limit_s
        for worker in one.workers.values():
            if not channel.send(worker.channel, {"do": "drain", "limit_s": limit_s, "reason": reason}):
                os.kill(worker.pid, signal.SIGTERM)

    def retune(self) -> set[int]:
        """Hand the serving workers what has become of their configuration; the pids of those that will answer."""
        sockets = self._boss.sockets_for(self.current)
        workers = self.current.workers.values()
        return {worker.pid for worker in workers if cohort.retune(worker, self.current, sockets)}

    @property
    def room(self) -> int:
        """Connections that can be counted."""
        return self.occupancy.slots - LEAVING if self.occupancy is not None else 0

    def hurry(self) -> None:
        """Those that drain say goodbye now."""
        for one in self.old:
            one.deadline = control.monotonic()
            for worker in one.workers.values():
                channel.send(worker.channel, {"do": "drain", "limit_s": 0, "reason": "stop"})

    def tell_all(self, message: Message) -> None:
        for worker in self.workers():
            channel.send(worker.channel, message)

    def dates(self) -> Iterator[float]:
        """Monotonic times at which `keep_dates` has something to do."""
        if self.current.respawn_at is not None:
            yield self.current.respawn_at
        yield from (one.deadline + CUT_GRACE_S for one in self.old if one.deadline is not None)

    def keep_dates(self, now: float, *, stopping: bool) -> None:
        if not stopping and self.current.respawn_at is not None and now >= self.current.respawn_at:
            self.fill(self.current)
        for one in self.old:
            if one.deadline is not None and now > one.deadline + CUT_GRACE_S:
                for worker in one.workers.values():
                    os.kill(worker.pid, signal.SIGKILL)

    def status(self) -> list[Message]:
        """The youngest cohort that serves first."""
        cohorts = [self.current, *([self.coming] if self.coming else []), *self.old]
        return [self._status_of(one, worker) for one in cohorts for worker in one.workers.values()]

    def _status_of(self, one: Cohort, worker: Worker) -> Message:
        return {
            "pid": worker.pid,
            "generation": one.file.generation,
            "state": worker.state,
            "sessions": self.occupancy.taken_in(worker.region) if self.occupancy else 0,
            "deadline": one.deadline,
        }

    # What is heard

    def _watch(self, worker: Worker) -> None:
        self._selector.register(worker.channel, selectors.EVENT_READ, lambda: self._hear(worker))

    def _hear(self, worker: Worker) -> None:
        if worker.channel.fileno() < 0:
            return  # forgotten by what was handled a moment before
        try:
            heard = channel.receive(worker.channel)
        except BlockingIOError:
            return
        except Transient as error:
            self._distrust(worker, str(error))
            return
        if heard is None:
            self._selector.unregister(worker.channel)  # it has ended, or is about to: the reaper sees to it
            worker.channel.close()
            return
        message, descriptors = heard
        for fd in descriptors:  # ours send none
            os.close(fd)
        if "error" in message:
            self.last_error = str(message["error"])
            if self.coming is not None and worker.pid in self.coming.workers:
                self._boss.coming_failed(self.last_error)
        elif "took" in message:
            self._boss.has_retuned(worker.pid)
        elif message.get("state") in tuple(WorkerState):
            worker.state = WorkerState(str(message["state"]))
            if worker.state is WorkerState.READY:
                self._boss.became_ready()

    def _distrust(self, worker: Worker, error: str) -> None:
        """It says what our code does not say: whoever speaks in its place has to end."""
        self.last_error = error
        maillog.problem(what=f"worker {worker.pid}", error=error)
        if worker in self.workers():  # else it has ended, and its pid may be somebody else's
            os.kill(worker.pid, signal.SIGKILL)

    # Ends

    def reap(self) -> None:
        """See who has ended."""
        for one in self.cohorts():
            for pid in list(one.workers):
                if pid not in one.workers:
                    continue  # a new worker, ended because another one had failed
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._ended(one, one.workers.pop(pid), status)
        self.old = [one for one in self.old if one.workers]

    def _ended(self, one: Cohort, worker: Worker, status: int) -> None:
        while worker.channel.fileno() >= 0 and _has_message(worker):
            self._hear(worker)  # its last words may tell why
        self.forget(worker)
        self._boss.has_retuned(worker.pid)
        if one.deadline is not None:
            return
        code = os.waitstatus_to_exitcode(status)
        text = f"signal {-code}" if code < 0 else f"status {code}"
        if one is self.coming:
            self._boss.coming_failed(self.last_error or f"a new worker ended with {text} before it was ready")
            return
        pause = one.count_death(worker)
        self.last_error = self.last_error or f"worker ended with {text}"
        maillog.worker_died(pid=worker.pid, status=text, pause_s=pause)
        self._boss.say(f"a worker ended ({text}): {self.last_error}", sys.stderr)

    def forget(self, worker: Worker) -> None:
        """Leave no trace of a worker that has ended, however it ended."""
        if worker.channel.fileno() >= 0:
            self._selector.unregister(worker.channel)
            worker.channel.close()
        if self.occupancy is not None:
            self.occupancy.clear(worker.region)
        try:
            control.worker_socket(self._run, self._name, worker.pid).unlink(missing_ok=True)
            control.worker_record(self._run, self._name, worker.pid).unlink(missing_ok=True)
        except OSError as error:  # a disk that can only be read now is no reason to end: `sweep` removes them later
            maillog.problem(what=f"records of worker {worker.pid}", error=str(error))


def _has_message(worker: Worker) -> bool:
    with selectors.DefaultSelector() as one:
        one.register(worker.channel, selectors.EVENT_READ)
        return bool(one.select(0))
