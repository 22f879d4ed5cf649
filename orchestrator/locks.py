"""One at a time: the lock under which a state directory is changed.

It is a `flock` on STATE_DIR/lock, so it ends with its holder, however that ends. The file stays; what is in it (who
holds the lock, since when) is for the message to whoever has to wait, and empty when nobody does.

`stop` does without: it has to work at once, also during an `apply`, which heeds it.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from maillib import control
from orchestrator import audit
from orchestrator.errors import Locked
from orchestrator.status import iso

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who changes a state directory."""

    who: str
    verb: str
    pid: int
    started: int
    """Of the process, as `control.start_time` has it: with the pid it names it for good."""
    since: float
    """Unix time."""

    def __str__(self) -> str:
        return f"{self.who} (postroom {self.verb}, pid {self.pid}) since {iso(self.since)}"


@contextlib.contextmanager
def exclusive(
    state_dir: Path, verb: str, *, wait_s: float, tell: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Hold the lock of `state_dir`. Raises Locked, naming the holder, when it is not free within `wait_s`.

    `tell` is told once whom this waits for.
    """
    fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        _take(fd, state_dir, wait_s, tell)
        me = Holder(
            who=audit.user(),
            verb=verb,
            pid=os.getpid(),
            started=control.start_time(os.getpid()) or 0,
            since=control.now(),
        )
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(asdict(me)).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def holder(state_dir: Path) -> Holder | None:
    """Who holds the lock now; None: nobody."""
    try:
        found = Holder(**json.loads((state_dir / "lock").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return found if control.is_alive(found.pid, found.started) else None


def _take(fd: int, state_dir: Path, wait_s: float, tell: Callable[[str], None]) -> None:
    deadline = time.monotonic() + wait_s
    told = False
    while not _taken(fd):
        by = holder(state_dir) or "somebody"
        if time.monotonic() >= deadline:
            raise Locked(f"{state_dir} is being changed by {by}; try again")
        if not told:
            tell(f"waiting for {by}")
            told = True
        time.sleep(_POLL_S)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
