"""One reload or restart: from the request to the moment when the new workers serve, or to leaving all as it was.

Steps: wait until at most one old cohort still drains → open listeners that are new → start the new workers → all
ready → (restart: dry start of the new program) → cut over → (restart: the master executes itself anew).
Until the cut-over nothing has changed for any client; whatever fails before it is undone.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Protocol

from maillib import control
from maillib.command_socket import Client
from maillib.errors import MailError
from maillib.runtime import listeners
from maillib.runtime.cohort import Cohort, Worker
from maillib.runtime.takeover import Sockets

MAX_OLD_COHORTS = 2
"""Generations of workers that may drain beside the current one."""

READY_S = 30.0
"""How long new workers may take to become ready; the dry start as well."""

CHECK_S = 0.1
"""How often the wait for the oldest cohort looks again."""


class Host(Protocol):
    """What a changeover needs of its master."""

    @property
    def script(self) -> Path: ...

    @property
    def config_argument(self) -> Path: ...

    def draining_cohorts(self) -> int: ...

    def listening_on(self) -> set[tuple[str, int]]: ...

    def fill(self, one: Cohort) -> None: ...

    def cut_over(self, coming: Cohort, opened: Sockets) -> None: ...

    def forget(self, worker: Worker) -> None: ...

    def execute_when_quiet(self, client: Client | None) -> None: ...

    def changeover_done(self, failure: str | None) -> None: ...


class Changeover:
    def __init__(self, *, coming: Cohort, client: Client | None, anew: bool, master: Host) -> None:
        self.coming = coming
        self.opened: Sockets = {}
        """Listeners that the old configuration did not have."""
        self.give_up_at = time.monotonic()
        """Monotonic time of the next look: at the old cohorts, or at what did not become ready in time."""
        self._client = client
        self._anew = anew
        self._master = master
        self._started = False
        self._announced = False
        self._dry_start: int | None = None
        """Its pid."""
        self._ended = False

    def tick(self, now: float) -> None:
        if self._ended or now < self.give_up_at:
            return
        if self._started:
            self.fail(f"the new workers were not ready within {READY_S:g} s")
        elif self._master.draining_cohorts() >= MAX_OLD_COHORTS:
            if not self._announced:
                self._announced = True
                self._tell("two old generations still finish; waiting for the oldest")
            self.give_up_at = now + CHECK_S
        else:
            self._start(now)

    def _start(self, now: float) -> None:
        self._started = True
        self.give_up_at = now + READY_S
        try:
            for listener in self.coming.file.service.listen:
                address = (listener.host, listener.port)
                if address not in self._master.listening_on():
                    self.opened[address] = listeners.open_listener(listener)
        except MailError as error:
            self.fail(str(error))
            return
        self._master.fill(self.coming)

    def all_ready(self) -> None:
        if self._dry_start is not None or self._ended:
            return
        if not self._anew:
            self._cut_over()
            return
        self._dry_start = os.posix_spawn(
            sys.executable,
            [sys.executable, os.fspath(self._master.script), "--config", os.fspath(self.coming.config), "--dry-start"],
            dict(os.environ),
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD],
        )

    def reaped(self) -> None:
        """Some child has ended: if it was the dry start, go on."""
        if self._dry_start is None or self._ended:
            return
        pid, status = os.waitpid(self._dry_start, os.WNOHANG)
        if not pid:
            return
        self._dry_start = None
        if status:
            self.fail("the new program does not start: " + os.fspath(self._master.script))
            return
        self._cut_over()

    def _cut_over(self) -> None:
        self._ended = True
        self._master.cut_over(self.coming, self.opened)
        if self._anew:
            self._master.execute_when_quiet(self._client)
            return
        self._master.changeover_done(None)
        self._finish({"ok": True})

    def fail(self, error: str) -> None:
        """Undo: the old workers have served all the time."""
        if self._ended:
            return
        self.abandon(error)
        self._master.changeover_done(error)

    def abandon(self, error: str = "the service is stopping") -> None:
        """End the new workers, close what was opened for them, and say why."""
        self._ended = True
        for pid in [*self.coming.workers, *([self._dry_start] if self._dry_start else [])]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for worker in self.coming.workers.values():
            self._master.forget(worker)
        self.coming.workers.clear()
        for sock in self.opened.values():
            listeners.refuse_from_now_on(sock)
        self._finish({"ok": False, "error": error})

    def _tell(self, event: str) -> None:
        if self._client is not None:
            self._client.tell(event)

    def _finish(self, answer: control.Message) -> None:
        if self._client is not None:
            self._client.answer(answer)
