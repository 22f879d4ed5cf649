"""A service without connections: it takes jobs from a source, so many at a time, each a session of the registry.

Guarantees: a job that was begun ends by itself unless the drain limit passes, then it is cancelled and gives back what
it had; after a stop no job is begun, and one that was taken in the same moment is given back.

Leaves to others: what a job is, and what becomes of one that fails (it is the job's own matter).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from maillib import maillog
from maillib.errors import LocalError, TemporaryError
from maillib.runtime.service import ConnectionInfo, Registry, SessionInfo

WAIT_S = 3600.0
"""One wait for jobs; the source says itself when it has to be asked earlier."""

PAUSE_S = 2.0
"""After a source that could not say what there is."""

GATHER_S = 0.002
"""After a job that has ended, where all places were taken, for others that end too: the source is asked for several at
once, which costs it little more than for one. With every other place at work nothing stands still meanwhile."""


class Job(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def peer(self) -> str:
        """Who handed it in."""

    async def run(self) -> None:
        """Do it. Cancelled, it leaves what it was about for a later process."""

    async def give_back(self) -> None:
        """It is not begun."""


class Source(Protocol):
    async def take(self, limit: int) -> Sequence[Job]:
        """At most `limit` jobs; empty: none now. Raises TemporaryError."""

    async def wait(self, timeout_s: float) -> None:
        """Return when `take` is worth a call."""


class JobService:
    """The `Service` that does jobs."""

    refusal = b""

    def __init__(
        self, registry: Registry, source: Source, *, verb: str, parallel: int, close: Callable[[], Awaitable[None]]
    ) -> None:
        """`verb` says in listings what is being done with a job's ID. `close` closes what the jobs use."""
        self._registry = registry
        self._source = source
        self._verb = verb
        self._parallel = parallel
        self._close = close
        self._running: set[asyncio.Task[None]] = set()

    def protocol(self, info: ConnectionInfo) -> asyncio.Protocol:
        raise LocalError(f"this service takes no connections, but has a listener {info.listener.address}")

    async def run(self, stopping: asyncio.Event) -> None:
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                await self._begin_jobs(stop)
        finally:
            stop.cancel()

    async def close(self) -> None:
        await self._close()

    async def _begin_jobs(self, stop: asyncio.Task[bool]) -> None:
        """Begin what can be begun now, or else wait until that may have changed."""
        free = self._parallel - len(self._running)
        if free == 0:
            await asyncio.wait({stop, *self._running}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({stop}, timeout=GATHER_S)
            return
        try:
            jobs = await self._source.take(free)
        except TemporaryError as error:
            maillog.problem(what="looking for work", error=str(error))
            await asyncio.wait({stop}, timeout=PAUSE_S)
            return
        for job in jobs:
            if stop.done():
                await job.give_back()
            else:
                self._begin(job)
        if not jobs:
            waiting = asyncio.create_task(self._source.wait(WAIT_S))
            await asyncio.wait({stop, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
            waiting.cancel()
            await asyncio.wait({waiting})

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(job.run())
        session = _JobSession(job, self._verb, task)
        self._registry.opened(session)
        self._running.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            self._registry.closed(session)
            if not task.cancelled() and (error := task.exception()) is not None:
                maillog.bug(what=f"{self._verb} {job.id}", error=error)

        task.add_done_callback(ended)


class _JobSession:
    """A job as the registry sees it."""

    def __init__(self, job: Job, verb: str, task: asyncio.Task[None]) -> None:
        self._job = job
        self._verb = verb
        self._task = task
        self._since = time.time()

    def describe(self) -> SessionInfo:
        return SessionInfo(
            id=self._job.id,
            user=None,
            peer=self._job.peer,
            listener="-",
            tls=False,
            since=self._since,
            doing=f"{self._verb} {self._job.id}",
        )

    def goodbye(self) -> None:
        self._task.cancel()

    def abort(self) -> None:
        self._task.cancel()

    @property
    def silent_since(self) -> None:
        return None

    def dismiss(self, words: bytes) -> None:
        raise LocalError("a job makes room for nobody")
