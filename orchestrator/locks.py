"""One at a time: the lock under which a state directory is changed.

It is a `flock` on STATE_DIR/lock, so it ends with its holder, however that ends. The file stays; what is in it (pid and
verb of the holder) is for the message to whoever has to wait.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import Locked

_POLL_S = 0.1


@contextlib.contextmanager
def exclusive(state_dir: Path, verb: str, *, wait_s: float) -> Iterator[None]:
    """Hold the lock of `state_dir`. Raises Locked, naming the holder, when it is not free within `wait_s`."""
    fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        deadline = time.monotonic() + wait_s
        while not _taken(fd):
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "somebody"
                raise Locked(f"{state_dir} is being changed by {holder}; try again")
            time.sleep(_POLL_S)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"postroom {verb} (pid {os.getpid()})\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
