"""How many messages wait in the spool, by the names in its folders alone: cheap enough for every plan.

What else there is to know of them is `mailqueue`'s, which opens the queue.
"""

import os
from pathlib import Path

_WAITING = ("incoming", "active", "deferred", "hold")
"""Folders that hold envelopes of mail that is still to be delivered. docs/queue.md."""


def waiting(state_dir: Path) -> int | None:
    """None: we may not look. A message that moves on meanwhile may be counted twice or not at all."""
    try:
        return sum(_envelopes(state_dir / "spool" / name) for name in _WAITING)
    except PermissionError:
        return None


def _envelopes(folder: Path) -> int:
    """With those that a delivering process has in a folder of its own."""
    count = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    count += 1
                elif entry.is_dir(follow_symlinks=False):
                    count += _envelopes(Path(entry.path))
    except (FileNotFoundError, NotADirectoryError):
        pass  # no spool yet, or a process that has just ended
    return count
