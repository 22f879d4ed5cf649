"""A function called in a process of its own: answers, deaths, and that nothing outlives anything."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from maillib.embedded.disk_process import DiskProcess
from maillib.embedded.threads import Threads
from maillib.errors import Transient

PATIENCE_S = 20


def with_process(
    serve: Callable[[Sequence[str]], Sequence[int]], promise: Callable[[DiskProcess], Awaitable[None]]
) -> None:
    async def main() -> None:
        threads = Threads("test", 1)
        disk = DiskProcess(serve, (), threads)
        await promise(disk)
        await disk.close()
        await disk.close()
        await threads.close()

    made: list[int] = []
    fork = os.fork

    def noted() -> int:
        pid = fork()
        made.append(pid)
        return pid

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fork", noted)
        asyncio.run(main())
    assert made
    for pid in made:
        with pytest.raises(ChildProcessError):  # nothing is left of any
            os.waitpid(pid, os.WNOHANG)


def pids(items: Sequence[str]) -> Sequence[int]:
    return [os.getpid()] * len(items)


async def pid_of(disk: DiskProcess) -> int:
    (answer,) = await disk.run(["x"])
    assert answer is not None
    assert answer.errno is not None
    return answer.errno


def test_answers() -> None:
    """Each item gets its own answer, in order, batch after batch from the same process."""

    async def promise(disk: DiskProcess) -> None:
        for items in (["0", "28"], ["5"]):
            answers = await disk.run(items)
            assert [answer and answer.errno for answer in answers] == [int(item) or None for item in items]
            assert [answer and answer.strerror for answer in answers] == [
                os.strerror(int(item)) if item != "0" else None for item in items
            ]

    with_process(lambda items: [int(item) for item in items], promise)

    async def one_process(disk: DiskProcess) -> None:
        assert await pid_of(disk) == await pid_of(disk) != os.getpid()

    with_process(pids, one_process)


def test_death_at_work(tmp_path: Path) -> None:
    """A batch whose process is killed in its midst has failed; the next one has a new process."""
    working = tmp_path / "working"

    def serve(items: Sequence[str]) -> Sequence[int]:
        if items == ["wait"]:
            working.write_text(str(os.getpid()))
            select.select([], [], [], PATIENCE_S)
        return pids(items)

    async def promise(disk: DiskProcess) -> None:
        first = await pid_of(disk)
        task = asyncio.create_task(disk.run(["wait"]))
        while not working.exists() or working.read_text() != str(first):
            await asyncio.sleep(0.001)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(Transient):
            await task
        assert await pid_of(disk) != first

    with_process(serve, promise)


def test_death_in_idleness() -> None:
    """A process that has died while nobody needed it is replaced without anybody's batch failing."""

    async def promise(disk: DiskProcess) -> None:
        first = await pid_of(disk)
        watch = os.pidfd_open(first)
        os.kill(first, signal.SIGKILL)
        select.select([watch], [], [], PATIENCE_S)
        os.close(watch)
        await asyncio.sleep(0)  # the event loop hears of it
        await asyncio.sleep(0)
        assert await pid_of(disk) != first

    with_process(pids, promise)


def test_a_bug_is_a_death(capfd: pytest.CaptureFixture[str]) -> None:
    """What is raised there ends the process with a trace, fails the batch, and goes no further."""

    def serve(items: Sequence[str]) -> Sequence[int]:
        raise ZeroDivisionError

    async def promise(disk: DiskProcess) -> None:
        with pytest.raises(Transient):
            await disk.run(["x"])

    with_process(serve, promise)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_it_keeps_no_descriptor_and_heeds_no_signal() -> None:
    """Sockets and locks of its parent end when the parent's do; who signals a whole group does not end it."""
    opened = os.open("/dev/null", os.O_RDONLY)

    def serve(items: Sequence[str]) -> Sequence[int]:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        return [len(os.listdir("/proc/self/fd"))]  # noqa: PTH208

    async def promise(disk: DiskProcess) -> None:
        (answer,) = await disk.run(["x"])
        assert answer is not None
        assert answer.errno == 3  # standard error, the link, and the listing's own

    with_process(serve, promise)
    os.close(opened)


def test_it_ends_with_its_parent() -> None:
    """Whoever kills the parent without a word is rid of the process too."""
    program = textwrap.dedent("""
        import asyncio, os
        from maillib.embedded.disk_process import DiskProcess
        from maillib.embedded.threads import Threads

        async def main():
            disk = DiskProcess(lambda items: [os.getpid()], (), Threads("test", 1))
            print((await disk.run(["x"]))[0].errno, flush=True)
            await asyncio.sleep(3600)

        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        watch = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        assert select.select([watch], [], [], PATIENCE_S)[0]
        os.close(watch)
