"""A process that waits for the disk, so that nobody else does: a function called there, batch after batch.

A thread would do for the waiting. But a thread gives the interpreter up for each system call and has to win it back
from the event loop, which has to win it back in turn: for a batch of syncs and renames that is a quarter of what a
message costs (docs/decisions/0018-a-process-for-the-syncs.md).

It is a fork, begun with the first batch: it knows the functions, folders and limits of its parent, needs no file of the
program, and shares the parent's memory. It keeps the descriptors that it is given and standard error, no others, and
ends with its parent, however that ends: the end of the link between them is all that it heeds. Signals are for the
parent, which may be using it until its last session has ended.

Guarantees: a batch that it was working on when it died has failed, and at that moment it does nothing any more; the
next batch has a new one. What had been done for that batch is for the caller to find out.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NoReturn

from maillib import maillog
from maillib.embedded.files import os_errors
from maillib.embedded.threads import Threads
from maillib.errors import Transient

_OCTETS = 64 * 1024
"""Of a batch or its answer: more than any of them has."""

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class DiskProcess:
    """For one event loop; one batch at a time."""

    def __init__(
        self, serve: Callable[[Sequence[str]], Sequence[int]], descriptors: Sequence[int], threads: Threads
    ) -> None:
        """`serve` is called in the process, with items that have no line end in them; it returns for each, in order,
        what went wrong as an `errno`, or 0. It uses these descriptors. `threads`: to wait for its end.
        """
        self._serve = serve
        self._descriptors = descriptors
        self._threads = threads
        self._link: socket.socket | None = None
        self._pid = 0
        self._answer: asyncio.Future[bytes] | None = None

    async def run(self, items: Sequence[str]) -> list[OSError | None]:
        """What went wrong with each. Raises Transient: nobody knows, the process died or could not be made."""
        if self._link is None:
            with os_errors():
                self._link = self._begin()
        self._answer = asyncio.get_running_loop().create_future()
        with os_errors():
            self._link.send("".join([f"{item}\n" for item in items]).encode())
        answer = await self._answer
        if not answer:
            raise Transient("the process that waits for the disk has died")
        return [OSError(int(number), os.strerror(int(number))) if number != b"0" else None for number in answer.split()]

    async def close(self) -> None:
        """Return when it has ended. Idempotent; after the last `run`."""
        if self._link is not None:
            self._leave()
            await self._threads.run(_wait_for, self._pid)

    def _begin(self) -> socket.socket:
        """Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._pid = os.fork()
            except OSError:
                ours.close()
                raise
            if self._pid == 0:
                _live(theirs.fileno(), self._descriptors, self._serve)
        ours.setblocking(False)
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)
        return ours

    def _hear(self) -> None:
        assert self._link is not None
        try:
            answer = self._link.recv(_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        if not answer:
            maillog.problem(
                what="the process that waits for the disk", error="it has died; the next message gets a new one"
            )
            self._leave()
            self._threads.begin(lambda: None, _wait_for, self._pid)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _leave(self) -> None:
        assert self._link is not None
        asyncio.get_running_loop().remove_reader(self._link.fileno())
        self._link.close()
        self._link = None


def _wait_for(pid: int) -> None:
    os.waitpid(pid, 0)


def _live(link: int, descriptors: Sequence[int], serve: Callable[[Sequence[str]], Sequence[int]]) -> NoReturn:
    """All of the process's life. Threads of the parent, and what they had locked, are of no account: nothing is used
    here but `serve` and system calls.
    """
    status = 1
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        _close_all_but((2, link, *descriptors))
        gc.disable()  # it would go through, and so copy, what is the parent's
        while items := os.read(link, _OCTETS):
            os.write(link, " ".join(map(str, serve(items.decode().split("\n")[:-1]))).encode())
        status = 0
    except ConnectionError:
        status = 0  # the parent has ended meanwhile, with an answer unread or unsaid
    except BaseException:  # noqa: BLE001 - it must not go on as a second parent
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)


def _close_all_but(kept: Sequence[int]) -> None:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for before, after in pairwise((-1, *sorted(kept), most)):
        os.closerange(before + 1, after)
