"""What dead processes had claimed, given back. All of it blocks.

Guarantees: what a living process has is left alone, whatever its age; a message over which process after process dies
waits longer each time and is set aside in the end, so that it cannot keep the spool from its work. A recovery that is
itself broken off is finished by the next one.
"""

import fcntl
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePath

from maillib import maillog
from maillib.embedded.files import FILE_MODE, os_errors
from maillib.embedded.queue_claims import replace_envelope
from maillib.embedded.queue_files import Folder
from maillib.embedded.queue_folders import SpoolFolders, id_of
from maillib.errors import StoreFull, StoreUnusable, TemporaryError
from maillib.ports.queue import QueueId

FREE_RECOVERIES = 3
"""How often in a row a process may die over a message before the message has to wait."""
LAST_RECOVERY = 10
"""After so many, a message is set aside. A message that kills its process would otherwise do so for ever; a machine
that is being restarted again and again must not lose sight of mail for that."""
_WAIT_S = 60.0
"""The first wait; doubles each time."""
LONGEST_WAIT_S = _WAIT_S * 2 ** (LAST_RECOVERY - FREE_RECOVERIES - 1)


def recover(folders: SpoolFolders, now_s: float) -> int:
    """Let what dead processes had be claimed again; how many messages."""
    count = 0
    with os_errors():
        owners = {PurePath(name).stem for name in folders.active.names() if name.endswith(".lock")}
    for owner in sorted({*owners, *folders.owners()}):
        try:
            with os_errors(), suppress(FileNotFoundError):  # another process has done it
                count += _recover_of(folders, owner, now_s)
        except TemporaryError as error:  # the claims of other processes are not held up by these
            maillog.problem(what=f"recovery of {folders.active.path}/{owner}", error=str(error))
    return count


def _recover_of(folders: SpoolFolders, owner: str, now_s: float) -> int:
    active, lock = folders.active, f"{owner}.lock"
    # It is made where somebody has removed it by hand.
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE, dir_fd=active.fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        count = 0
        if active.has(owner):
            folder = Folder(active.path / owner, within=active)
            try:
                count = _empty(folders, folder, now_s)
            finally:
                folder.close()
            active.remove_folder(owner)
        active.remove(lock)
        return count
    except BlockingIOError:
        return 0  # it lives, or somebody else is at it
    finally:
        os.close(fd)


def _empty(folders: SpoolFolders, folder: Folder, now_s: float) -> int:
    count = 0
    for name in sorted(folder.names()):
        queue_id = id_of(name)
        if queue_id is None:
            folder.remove(name)  # `.tmp` of a rewrite, which `ID.json` has not become; `.done`
        else:
            count += _give_back(folders, folder, name, queue_id, now_s)
    return count


def _give_back(folders: SpoolFolders, folder: Folder, name: str, queue_id: QueueId, now_s: float) -> bool:
    """Whether it can be claimed again."""
    try:
        stored = folders.read(folder, name, queue_id)
    except StoreUnusable as error:
        folders.set_aside(folder, name, queue_id, str(error))
        return False
    count = stored.recoveries + 1
    if count > LAST_RECOVERY:
        folders.set_aside(folder, name, queue_id, f"{count} processes in a row died while they had it")
        return False
    waits = count > FREE_RECOVERIES
    until_s = now_s + _WAIT_S * 2 ** (count - FREE_RECOVERIES - 1) if waits else None
    with suppress(StoreFull):  # then it is not counted
        replace_envelope(folder, name, replace(stored, recoveries=count), until_s)
    folder.rename(name, folders.incoming if until_s is None else folders.deferred, name)
    return True
