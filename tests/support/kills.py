"""SIGKILL before any single system call or statement of some work."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

STEPS = frozenset(
    {
        "open",
        "mkdir",
        "rmdir",
        "link",
        "unlink",
        "rename",
        "write",
        "utime",
        "fsync",
        "flock",
        "close",
        "connect",
        "execute",
        "executemany",
    }
)


def dies_at(step: int, work: Callable[[], None]) -> bool:
    """Whether a child that does `work` was killed at that step; False: it got through."""
    child = os.fork()
    if child == 0:
        left = step

        def count(_: FrameType, event: str, function: object) -> None:
            nonlocal left
            if event == "c_call" and getattr(function, "__name__", "") in STEPS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.setprofile(count)
            work()
            status = 0
        finally:
            os._exit(status)
    _, result = os.waitpid(child, 0)
    assert result in (0, signal.SIGKILL), "the child's own assertions failed"
    return result != 0
