"""What is wrong in a spool, and what in it is provably nobody's. All of it blocks.

Guarantees: nothing is removed that could still become, or be, a queued message. Who writes a file holds a lock on it;
a body belongs to a message exactly when some folder has its ID.json; and a leftover is left alone for `GRACE_S`.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maillib.embedded.files import os_errors
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_ids import is_id
from maillib.errors import NotFound, StoreUnusable
from maillib.ports.queue import QueueId, QueueState

GRACE_S = 3600.0


@dataclass(frozen=True, slots=True)
class SpoolFindings:
    damaged: tuple[str, ...]
    """One sentence each; empty: every message is whole."""
    removed: tuple[str, ...]
    """Leftovers of crashes, by their path under the spool."""


def check(folders: SpoolFolders, now_s: float) -> SpoolFindings:
    """Read every envelope; remove leftovers. Messages that wait or are being delivered are not disturbed."""
    damaged = []
    for entry in folders.entries():
        aside = "set aside: " if entry.state is QueueState.CORRUPT else ""
        try:
            folders.read(entry.path, entry.id)
            if aside:
                damaged.append(f"{entry.id} was set aside and is whole now; `postroom queue retry {entry.id}` tries it")
        except StoreUnusable as error:
            damaged.append(f"{entry.id}: {aside}{error}")
        except NotFound:
            continue  # it has moved on
    return SpoolFindings(tuple(damaged), tuple(sweep(folders, now_s)))


def sweep(folders: SpoolFolders, now_s: float) -> list[str]:
    """Remove what crashes have left; the paths, under the spool, of what was removed."""
    queued = {entry.id for entry in folders.entries()}
    removed = []
    with os_errors():
        for path in _leftovers(folders, queued, now_s - GRACE_S):
            path.unlink(missing_ok=True)
            removed.append(str(path.relative_to(folders.root)))
        for state in QueueState:
            for path in (folders.root / state.value).glob("*.done"):  # of a `remove` that was broken off
                folders.remove_rest(path)
                removed.append(str(path.relative_to(folders.root)))
    return removed


def _leftovers(folders: SpoolFolders, queued: set[QueueId], before_s: float) -> Iterator[Path]:
    for path in folders.messages.iterdir():
        queue_id, _, suffix = path.name.partition(".")
        if not is_id(queue_id) or queue_id in queued or suffix not in ("eml", "eml.tmp"):
            continue
        if _is_abandoned(path, before_s) and (suffix == "eml.tmp" or folders.find(QueueId(queue_id)) is None):
            yield path
    for folder in (folders.incoming, folders.active):
        for path in folder.glob("*.tmp"):
            if _is_abandoned(path, before_s):
                yield path


def _is_abandoned(path: Path, before_s: float) -> bool:
    """Last written before that time, by nobody who still has it open."""
    with suppress(FileNotFoundError):
        if path.lstat().st_mtime > before_s:
            return False
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
    return False
