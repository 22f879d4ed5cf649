"""What is wrong in a spool, and what in it is provably nobody's. All of it blocks.

Guarantees: nothing is removed that could still become, or be, a queued message. Who writes a body holds a lock on it
until its message is queued; a body belongs to a message exactly when some folder has its ID.json; and a leftover is
left alone for `GRACE_S`.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from maillib.embedded import queue_wake
from maillib.embedded.files import os_errors
from maillib.embedded.queue_files import Folder
from maillib.embedded.queue_folders import Entry, SpoolFolders, id_of
from maillib.errors import NotFound, StoreUnusable
from maillib.ports.queue import QueueId, QueueState, derived_from

GRACE_S = 3600.0

_BODY = re.compile(r"([0-9A-Za-z]{1,32})\.eml(\.tmp)?", re.ASCII)
_UNFINISHED = re.compile(r"[0-9A-Za-z]{1,32}\.json\.tmp", re.ASCII)
_OWNER = re.compile(r"[0-9]+-[0-9a-f]+(?:\.lock(?:\.tmp)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SpoolFindings:
    damaged: tuple[str, ...]
    """One sentence each; empty: every message is whole, and there is nothing else."""
    removed: tuple[str, ...]
    """Leftovers of crashes, by their path under the spool."""


def check(folders: SpoolFolders, now_s: float) -> SpoolFindings:
    """Read every envelope; remove leftovers. Messages that wait or are being delivered are not disturbed."""
    places: dict[QueueId, Entry] = {}
    damaged = [*_strangers(folders)]
    for state in QueueState:
        for entry in folders.entries_in(state):
            other = places.setdefault(entry.id, entry)
            if other is not entry and _is_there(other) and _is_there(entry):
                damaged.append(f"{entry.id} is in {_folder(other)} and in {_folder(entry)}: remove one of the two")
            damaged += _damage(folders, entry)
    return SpoolFindings(tuple(damaged), tuple(sweep(folders, now_s)))


def _damage(folders: SpoolFolders, entry: Entry) -> Iterator[str]:
    is_aside = entry.state is QueueState.CORRUPT
    try:
        folders.read(entry.folder, entry.name, entry.id)
        if is_aside:
            yield f"{entry.id} was set aside and is whole now; `postroom queue retry {entry.id}` tries it"
    except StoreUnusable as error:
        yield f"{entry.id}: {'set aside: ' if is_aside else ''}{error}"
    except NotFound:
        pass  # it has moved on


def _strangers(folders: SpoolFolders) -> Iterator[str]:
    """Files that no part of the spool has made or will ever look at, mail under a wrong name perhaps."""
    ours = {queue_wake.NAME, "messages", "spare", *QueueState}
    with os_errors():
        for name in folders.root.names():
            if name not in ours:
                yield f"{name} is no file of the spool"
        for name in folders.messages.names():
            if not _BODY.fullmatch(name):
                yield f"messages/{name} is no file of the spool"
        for state, folder in folders.states.items():
            for name in folder.names():
                is_ours = _OWNER.fullmatch(name) if state is QueueState.ACTIVE else id_of(name)
                if not is_ours and not (state is QueueState.INCOMING and _UNFINISHED.fullmatch(name)):
                    yield f"{state}/{name} is no file of the spool"


def _is_there(entry: Entry) -> bool:
    with os_errors():
        return entry.folder.has(entry.name)


def _folder(entry: Entry) -> str:
    return f"{entry.state}/{entry.name}".rpartition("/")[0]


def sweep(folders: SpoolFolders, now_s: float) -> list[str]:
    """Remove what crashes have left; the paths, under the spool, of what was removed."""
    queued = {entry.id for entry in folders.entries()}
    before_s = now_s - GRACE_S
    removed: list[str] = []
    with os_errors():
        for name in folders.messages.names():
            body = _BODY.fullmatch(name)
            if body and body[1] not in queued and _may_go(QueueId(body[1]), queued):
                removed += _remove(folders, folders.messages, name, before_s)
        for folder in (folders.incoming, folders.active):
            for name in folder.names():
                if name.endswith(".tmp"):
                    removed += _remove(folders, folder, name, before_s)
    return removed


def _may_go(queue_id: QueueId, queued: set[QueueId]) -> bool:
    """Not what whoever has the message it is made from may be making again just now."""
    return derived_from(queue_id) not in queued


def _remove(folders: SpoolFolders, folder: Folder, name: str, before_s: float) -> Iterator[str]:
    """Unless it was written after that time, or somebody has it open; its path."""
    with suppress(FileNotFoundError):
        status = folder.status(name)
        if status.st_mtime > before_s or not stat.S_ISREG(status.st_mode):
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who accepts a message has its body locked until its envelope is there: there is none now, or never.
            if name.endswith(".tmp") or folders.find(QueueId(name.removesuffix(".eml"))) is None:
                folder.remove(name)
                yield f"{folder.path.name}/{name}"
        except BlockingIOError:
            return
        finally:
            os.close(fd)
