"""Something that has to be done once this process has ended, however it ends: by itself, by Ctrl-C, by kill -9.

A child process waits for the end of a pipe that only this process holds, and then does it; so there is one way of
cleaning up, whatever happens. The child is in a session of its own: what ends its parent's terminal or process group
leaves it alone.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from types import TracebackType

from maillib.errors import MailError

_LONGEST = 65_536


class CleanUpFailed(MailError):
    """Something is left; the text says what and why."""


class Afterwards:
    """Calls `clean(word)` at the end of the block, or when this process dies in it.

    To be entered while the process has one thread and nothing open that must not be held by another one. What `clean`
    raises becomes CleanUpFailed here.
    """

    def __init__(self, clean: Callable[[str], None]) -> None:
        self._clean = clean
        self.word = ""
        """What `clean` is told when the block is left; in vain when this process dies in it."""

    def __enter__(self) -> "Afterwards":
        told, self._tell = os.pipe()
        self._heard, hear = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                _live_alone(told, hear)
                _child(self._clean, told, hear)
            finally:
                os._exit(1)  # whatever happens: this is no second copy of the program
        os.close(told)
        os.close(hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._tell, self.word.encode())
        os.close(self._tell)
        with open(self._heard, encoding="utf-8", errors="replace") as file:
            trouble = file.read(_LONGEST).strip()
        _, status = os.waitpid(self._child, 0)
        if status and not trouble:
            trouble = "the process that does it was killed"
        if trouble and kind is None:
            raise CleanUpFailed(f"not everything could be cleaned up: {trouble}")


def _live_alone(*kept: int) -> None:
    """Without the terminal, deaf to polite signals, and without descriptors that somebody waits for the end of."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to all that a pipeline has started, say
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the one of this listing is closed already
                os.close(int(name))


def _child(clean: Callable[[str], None], told: int, hear: int) -> None:
    word = b""
    while chunk := os.read(told, _LONGEST):
        word += chunk
    try:
        clean(word.decode())
    except Exception as error:  # noqa: BLE001 - a process's top: it is told to the parent, if there is one
        os.write(hear, f"{type(error).__name__}: {error}".encode()[:_LONGEST])
    os._exit(0)
