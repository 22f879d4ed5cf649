"""A service of jobs: how many at a time, what a stop does, and what the drain limit does."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import pytest

from maillib.errors import Transient
from maillib.runtime import jobs
from maillib.runtime.jobs import Job, JobService
from maillib.runtime.service import Registry


class OneJob:
    """Runs until it is let go."""

    peer = "192.0.2.1"

    def __init__(self, name: str) -> None:
        self.id = name
        self.go = asyncio.Event()
        self.state = "waiting"

    async def run(self) -> None:
        self.state = "running"
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.state = "given back"
            raise
        self.state = "done"

    async def give_back(self) -> None:
        self.state = "given back"


class Jobs:
    """A source with jobs that wait."""

    def __init__(self, *waiting: OneJob) -> None:
        self.waiting = deque(waiting)
        self.come = asyncio.Event()
        self.fails = 0
        self.asked = asyncio.Event()

    def add(self, job: OneJob) -> None:
        self.waiting.append(job)
        self.come.set()

    async def take(self, limit: int) -> Sequence[Job]:
        self.asked.set()
        if self.fails:
            self.fails -= 1
            raise Transient("cannot look now")
        return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]

    async def wait(self, timeout_s: float) -> None:
        await self.come.wait()
        self.come.clear()


class Stage:
    """A running service; `until` waits for something to become true."""

    def __init__(self, source: Jobs, parallel: int) -> None:
        async def close() -> None:
            pass

        self.source = source
        self.registry = Registry()
        self.stopping = asyncio.Event()
        self.service = JobService(self.registry, source, verb="deliver", parallel=parallel, close=close)
        self.work = asyncio.create_task(self.service.run(self.stopping))

    async def until(self, look: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not look():
                await asyncio.sleep(0)

    async def stop(self) -> None:
        self.stopping.set()
        await self.work
        await self.registry.wait_idle()
        await self.service.close()


def test_no_more_than_parallel_at_a_time() -> None:
    """As many jobs run as are allowed, the next begins when one ends, and each is a session with its name."""

    async def main() -> None:
        all_jobs = [OneJob(str(number)) for number in range(5)]
        stage = Stage(Jobs(*all_jobs), parallel=2)
        await stage.until(lambda: all_jobs[1].state == "running")
        assert [job.state for job in all_jobs] == ["running", "running", "waiting", "waiting", "waiting"]
        assert sorted(session.describe().doing for session in stage.registry) == ["deliver 0", "deliver 1"]
        all_jobs[0].go.set()
        await stage.until(lambda: all_jobs[2].state == "running")
        assert len(stage.registry) == 2
        for job in all_jobs:
            job.go.set()
        await stage.until(lambda: all(job.state == "done" for job in all_jobs))
        await stage.stop()

    asyncio.run(main())


def test_a_job_that_comes_later_is_begun() -> None:
    """A service that waits takes what its source tells it of."""

    async def main() -> None:
        stage = Stage(Jobs(), parallel=2)
        await stage.source.asked.wait()
        late = OneJob("late")
        late.go.set()
        stage.source.add(late)
        await stage.until(lambda: late.state == "done")
        await stage.stop()

    asyncio.run(main())


def test_a_stop_finishes_what_was_begun_and_begins_nothing() -> None:
    """After a stop running jobs go on to their end, those that wait stay where they are."""

    async def main() -> None:
        first, second = OneJob("first"), OneJob("second")
        stage = Stage(Jobs(first, second), parallel=1)
        await stage.until(lambda: first.state == "running")
        stage.stopping.set()
        await stage.work
        assert (first.state, second.state) == ("running", "waiting")
        first.go.set()
        await stage.stop()
        assert (first.state, second.state) == ("done", "waiting")
        assert list(stage.source.waiting) == [second]

    asyncio.run(main())


def test_what_is_taken_while_stopping_is_given_back() -> None:
    """A job that the source hands out in the moment of the stop is not begun."""

    async def main() -> None:
        job = OneJob("x")

        class Slow(Jobs):
            async def take(self, limit: int) -> Sequence[Job]:
                self.asked.set()
                await self.come.wait()
                return [job]

        stage = Stage(Slow(), parallel=1)
        await stage.source.asked.wait()
        stage.stopping.set()
        await asyncio.sleep(0)
        stage.source.come.set()
        await stage.stop()
        assert job.state == "given back"

    asyncio.run(main())


def test_goodbye_gives_running_jobs_back() -> None:
    """At the drain limit a job is cut, gives back what it had, and its session ends."""

    async def main() -> None:
        job = OneJob("x")
        stage = Stage(Jobs(job), parallel=1)
        await stage.until(lambda: job.state == "running")
        stage.stopping.set()
        for session in stage.registry:
            session.goodbye()
            session.abort()
        await stage.stop()
        assert job.state == "given back"

    asyncio.run(main())


def test_a_source_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that cannot look now does not end the service."""
    monkeypatch.setattr(jobs, "PAUSE_S", 0.0)

    async def main() -> None:
        job = OneJob("x")
        job.go.set()
        source = Jobs(job)
        source.fails = 2
        stage = Stage(source, parallel=1)
        await stage.until(lambda: job.state == "done")
        await stage.stop()

    asyncio.run(main())


def test_a_failing_job_ends_alone() -> None:
    """A job that raises is logged as a bug; the service goes on."""

    async def main() -> None:
        class Failing(OneJob):
            async def run(self) -> None:
                raise ZeroDivisionError

        last = OneJob("last")
        last.go.set()
        stage = Stage(Jobs(Failing("bad"), last), parallel=1)
        await stage.until(lambda: last.state == "done")
        await stage.stop()

    asyncio.run(main())
