"""The spool directory: its folders, what lies in them, and what an administrator does there.

    STATE_DIR/spool/
      messages/ID.eml        Received field, then the octets as they came; written once, stays till the end
      incoming/ID.json       the envelope; the folder that holds it is the message's state
      active/OWNER/ID.json   being delivered by the process that holds OWNER.lock
      active/OWNER.lock      locked (flock) by that process for as long as it lives
      deferred/ID.json       its mtime is the next attempt
      hold/ID.json           waits until an administrator says `queue retry`
      corrupt/ID.json        damaged; set aside, and said so in the log
      spare/                 files of envelopes that are no more, to be used again (`queue_spares`)
      wake                   a FIFO: whoever queues something says so in it (`queue_wake`)

Unfinished files end in `.tmp`; `active/OWNER/ID.done` is no envelope any more. Every combination of files, who moves it
on and what a start does with it: `docs/queue.md`.

Guarantees: at any instant a message's envelope is in exactly one folder; a step is one rename or removal of it, so a
process may be killed between any two system calls. A body goes after its envelope has gone for good.

Leaves to others: threads (all of it blocks), accepting (`queue_accept`), claims (`queue_claims`, `queue_recovery`),
which message is next (`queue_schedule`), what ID.json says (`queue_envelope`).
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from maillib import maillog
from maillib.embedded.files import os_errors, refuse_network_file_system
from maillib.embedded.queue_envelope import StoredEnvelope, decode
from maillib.embedded.queue_files import Folder
from maillib.embedded.queue_ids import is_id
from maillib.embedded.queue_spares import Spares
from maillib.errors import Conflict, NotFound, StoreUnusable, Transient
from maillib.ports.queue import QueueId, QueueState


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a message's envelope is."""

    id: QueueId
    state: QueueState
    folder: Folder
    name: str
    """Within the folder: ID.json, or OWNER/ID.json."""


class SpoolFolders:
    """The folders, held open by one process. Its methods block; any thread may call them."""

    def __init__(self, state_dir: Path) -> None:
        """Make what is missing. Raises ConfigError for folders that are not ours alone, or on a network file system."""
        with ExitStack() as opened:

            def folder(name: str) -> Folder:
                one = Folder(self.root.path / name, within=self.root)
                opened.callback(one.close)
                return one

            self.root = Folder(state_dir / "spool")
            opened.callback(self.root.close)
            refuse_network_file_system(self.root.path)
            self.messages = folder("messages")
            self.states = {state: folder(state.value) for state in QueueState}
            self.spares = Spares(folder("spare"))
            self._opened = opened.pop_all()
        self.incoming = self.states[QueueState.INCOMING]
        self.active = self.states[QueueState.ACTIVE]
        self.deferred = self.states[QueueState.DEFERRED]
        self.corrupt = self.states[QueueState.CORRUPT]

    def close(self) -> None:
        """Idempotent."""
        self._opened.close()

    # What waits

    def incoming_ids(self) -> list[QueueId]:
        """In order of arrival; reads no file."""
        with os_errors():
            return sorted(ids_among(self.incoming.names()))

    def deferred_ids(self) -> list[QueueId]:
        """Reads no file."""
        with os_errors():
            return ids_among(self.deferred.names())

    def deferred_until(self, queue_id: QueueId) -> float | None:
        """When it is due (Unix time); None: it is not deferred."""
        with os_errors(), suppress(FileNotFoundError):
            return self.deferred.status(f"{queue_id}.json").st_mtime
        return None

    # Envelopes

    def read(self, folder: Folder, name: str, queue_id: QueueId) -> StoredEnvelope:
        """The envelope, when it and the body are whole. Raises StoreUnusable, NotFound (no such file), Transient."""
        stored = self.envelope(folder, name, queue_id)
        body = f"{queue_id}.eml"
        with os_errors():
            try:
                status = self.messages.status(body)
            except FileNotFoundError:
                if not folder.has(name):  # done meanwhile
                    raise NotFound(f"{folder.path}/{name} is not there") from None
                raise StoreUnusable(f"{self.messages.path}/{body} is missing") from None
        if not stat.S_ISREG(status.st_mode) or status.st_size != stored.size_octets:
            raise StoreUnusable(
                f"{self.messages.path}/{body} is not the {stored.size_octets} octets that were accepted"
            )
        return stored

    def envelope(self, folder: Folder, name: str, queue_id: QueueId) -> StoredEnvelope:
        """Whatever the body is like. Raises StoreUnusable, NotFound, Transient."""
        return decode(folder.read(name), queue_id)

    def set_aside(self, folder: Folder, name: str, queue_id: QueueId, reason: str) -> None:
        """Move a damaged envelope where nobody trips over it, and say so. Raises Transient."""
        with os_errors():
            folder.rename(name, self.corrupt, f"{queue_id}.json")
        maillog.set_aside(queue_id=queue_id, reason=reason)

    # For administrators

    def entries(self) -> Iterator[Entry]:
        """Every message, once; one that moves meanwhile is met in one of its states."""
        seen: set[QueueId] = set()
        # In the order in which messages move, and active once more: what was deferred then may be there now.
        for state in (*QueueState, QueueState.ACTIVE):
            for entry in self.entries_in(state):
                if entry.id not in seen:
                    seen.add(entry.id)
                    yield entry

    def entries_in(self, state: QueueState) -> Iterator[Entry]:
        folder = self.states[state]
        if state is not QueueState.ACTIVE:
            with os_errors():
                names = folder.names()
            for queue_id in ids_among(names):
                yield Entry(queue_id, state, folder, f"{queue_id}.json")
            return
        for owner in self.owners():
            for queue_id in ids_among(self.names_of(owner)):
                yield Entry(queue_id, state, folder, f"{owner}/{queue_id}.json")

    def find(self, queue_id: QueueId) -> Entry | None:
        """Looks twice, because a message may move from where is looked next to where was looked before."""
        name = f"{queue_id}.json"
        with os_errors():
            for state in (*QueueState, *QueueState):
                folder = self.states[state]
                names = [f"{owner}/{name}" for owner in self.owners()] if state is QueueState.ACTIVE else [name]
                for one in names:
                    if folder.has(one):
                        return Entry(queue_id, state, folder, one)
        return None

    def retry_now(self, queue_id: QueueId) -> None:
        """Raises NotFound, Conflict, StoreUnusable."""
        entry = self._waiting(queue_id)
        if entry.state is QueueState.CORRUPT:
            self.read(entry.folder, entry.name, queue_id)
        try:
            with os_errors():
                entry.folder.rename(entry.name, self.incoming, entry.name)
        except Transient as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise _busy(queue_id) from None
            raise

    def remove(self, queue_id: QueueId) -> None:
        """Raises NotFound, Conflict."""
        entry = self._waiting(queue_id)
        with os_errors():
            if not entry.folder.remove(entry.name):
                raise _busy(queue_id)
            entry.folder.sync()
            self.messages.remove(f"{queue_id}.eml")

    def _waiting(self, queue_id: QueueId) -> Entry:
        entry = self.find(queue_id) if is_id(queue_id) else None
        if entry is None:
            raise NotFound(f"no message {queue_id} is queued")
        if entry.state is QueueState.ACTIVE:
            raise _busy(queue_id)
        return entry

    # Who claims

    def owners(self) -> list[str]:
        """Folders of those who have, or had, claims."""
        with os_errors():
            return [name for name in self.active.names() if "." not in name and self._is_folder(name)]

    def names_of(self, owner: str) -> list[str]:
        """What lies in such a folder; nothing where it has gone meanwhile."""
        with os_errors(), suppress(FileNotFoundError):
            fd = os.open(owner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.active.fd)
            try:
                return os.listdir(fd)  # noqa: PTH208 - there is no path to what is held open
            finally:
                os.close(fd)
        return []

    def _is_folder(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            return stat.S_ISDIR(self.active.status(name).st_mode)
        return False


def id_of(name: str) -> QueueId | None:
    """Of `ID.json`; None for any other file."""
    return QueueId(name[:-5]) if name.endswith(".json") and is_id(name[:-5]) else None


def ids_among(names: list[str]) -> list[QueueId]:
    return [queue_id for name in names if (queue_id := id_of(name)) is not None]


def _busy(queue_id: QueueId) -> Conflict:
    return Conflict(f"{queue_id} is being delivered now")
