"""The end of a log, and what is added to it: also across its rotation."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

LINES = 50

_LOOK_S = 0.2


def lines(path: Path, *, follow: bool) -> Iterator[str]:
    """The last lines; then (`follow`), for ever, what is added to the file, or to the one that takes its place."""
    with contextlib.ExitStack() as open_files:
        file = open_files.enter_context(path.open(errors="replace"))
        yield from deque(file, LINES)
        while follow:
            yield from file
            with contextlib.suppress(FileNotFoundError):  # just rotated, the next one is not there yet
                if not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    yield from file
                    open_files.close()
                    file = open_files.enter_context(path.open(errors="replace"))
                    continue
            time.sleep(_LOOK_S)
