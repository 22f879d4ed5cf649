"""The spool directory: its folders, and every rename that takes a message from one state to the next.

    STATE_DIR/spool/
      messages/ID.eml        Received field, then the octets as they came; written once, stays till the end
      incoming/ID.json       the envelope; the folder that holds it is the message's state
      active/OWNER/ID.json   being delivered by the process that holds OWNER.lock
      active/OWNER.lock      locked (flock) by that process for as long as it lives
      deferred/ID.json       its mtime is the next attempt
      hold/ID.json           waits until an administrator says `queue retry`
      corrupt/ID.json        damaged; set aside, and said so in the log
      wake                   a FIFO: whoever queues something writes an octet (`queue_wake`)

Unfinished files end in `.tmp`. `ID.done` in place of `ID.json` means: nothing is left to do, remove the rest. Every
combination of files, who moves it on and what a start does with it: `docs/queue.md`.

Guarantees: at any instant a message's envelope is in exactly one folder; a step is one rename, so a process may be
killed between any two system calls; what `accept` and `sync_accepted` have returned for survives a power cut.

Leaves to others: threads (all of it blocks), which message is next (`queue_schedule`), what ID.json says
(`queue_envelope`).
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from maillib import maillog
from maillib.embedded.files import FILE_MODE, make_directory, os_errors, refuse_network_file_system, sync_directory
from maillib.embedded.queue_envelope import StoredEnvelope, decode, encode
from maillib.embedded.queue_files import make_private, read_whole, set_time, write_new
from maillib.embedded.queue_ids import is_id
from maillib.errors import Conflict, NotFound, StoreFull, StoreUnusable, TemporaryError, Transient
from maillib.ports.queue import QueueId, QueueState

RESERVE_OCTETS = 2 * 1024 * 1024
RESERVE_INODES = 64
"""Left free by what comes in, so that what is already here can go on: envelopes, indexes and logs need room too."""

FREE_RECOVERIES = 3
"""How often in a row a process may die over a message before the message has to wait."""
LAST_RECOVERY = 10
"""After so many, a message is set aside. A message that kills its process would otherwise do so for ever; a machine
that is being restarted again and again must not lose sight of mail for that."""
RECOVERY_WAIT_S = 60.0
"""The first wait; doubles each time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a message's envelope is."""

    id: QueueId
    state: QueueState
    path: Path


class SpoolFolders:
    """The folders, seen by one process. Its methods block; any thread may call them."""

    def __init__(self, state_dir: Path) -> None:
        """Make what is missing. Raises ConfigError for folders that are not ours alone, or on a network file system."""
        self.root = state_dir / "spool"
        self.messages = self.root / "messages"
        self.incoming = self.root / "incoming"
        self.active = self.root / "active"
        self.deferred = self.root / "deferred"
        self.hold = self.root / "hold"
        self.corrupt = self.root / "corrupt"
        for folder in (self.root, self.messages, self.incoming, self.active, self.deferred, self.hold, self.corrupt):
            make_private(folder)
        refuse_network_file_system(self.root)
        self._own: Path | None = None
        self._own_lock = -1

    # Accepting

    def create(self, queue_id: QueueId, *, again: bool) -> int:
        """Begin ID.eml; the descriptor, which is locked so that nobody takes the file for a leftover.

        `again`: an earlier attempt under this ID may have left one. Raises StoreFull, Transient.
        """
        unfinished = self._unfinished_body(queue_id)
        with os_errors():
            if again:
                unfinished.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(unfinished, flags, FILE_MODE)
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if not again and self.body(queue_id).exists():  # nobody else can make it while we have the name before it
            os.close(fd)
            self.discard(queue_id)
            raise Transient(f"queue ID {queue_id} is taken")
        return fd

    def accept(self, stored: StoredEnvelope, fd: int, *, again: bool) -> None:
        """Make body and envelope whole and visible; durable after `sync_accepted`. Leaves nothing when it raises.

        `again`: do nothing when the ID is queued already. Raises StoreFull, Transient.
        """
        name = f"{stored.id}.json"
        unfinished = self.incoming / f"{name}.tmp"
        try:
            with os_errors():
                if again:
                    if self.body(stored.id).exists() and self.find(stored.id) is not None:
                        self.discard(stored.id)
                        return
                    unfinished.unlink(missing_ok=True)
                os.fsync(fd)
                write_new(unfinished, encode(stored))
                self._unfinished_body(stored.id).rename(self.body(stored.id))
                unfinished.rename(self.incoming / name)  # the rename that makes the message ours
        except BaseException:
            self.take_back(stored.id)
            raise

    def sync_accepted(self) -> None:
        """What was accepted before this call is durable when it returns. Raises StoreFull, Transient."""
        with os_errors():
            sync_directory(self.messages)
            sync_directory(self.incoming)

    def discard(self, queue_id: QueueId) -> None:
        """Remove a body that was not accepted. Idempotent."""
        with os_errors():
            self._unfinished_body(queue_id).unlink(missing_ok=True)

    def take_back(self, queue_id: QueueId) -> None:
        """Undo an `accept` that did not become durable, unless the message is being delivered by now."""
        with os_errors():
            for suffix in (".json", ".json.tmp"):
                with suppress(FileNotFoundError):
                    (self.incoming / f"{queue_id}{suffix}").unlink()
            self._unfinished_body(queue_id).unlink(missing_ok=True)
            if self.find(queue_id) is None:
                self.body(queue_id).unlink(missing_ok=True)

    def check_space(self) -> None:
        """Before octets are added to a body. Raises StoreFull, Transient."""
        with os_errors():
            free = os.statvfs(self.messages)
        if free.f_bavail * free.f_frsize < RESERVE_OCTETS or (free.f_files and free.f_favail < RESERVE_INODES):
            raise StoreFull(f"{self.messages}: the last {RESERVE_OCTETS} octets are kept for mail that is here already")

    # Claiming

    def become_owner(self) -> None:
        """Make a folder of our own under active/, and the lock that tells others that we live. Idempotent."""
        if self._own is not None:
            return
        name = f"{os.getpid()}-{secrets.token_hex(6)}"
        lock = self.active / f"{name}.lock"
        unfinished = self.active / f"{name}.lock.tmp"
        with os_errors():
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unfinished.rename(lock)  # under this name it is never seen unlocked while we live
                make_directory(self.active / name)
            except BaseException:
                os.close(fd)
                raise
        self._own, self._own_lock = self.active / name, fd

    def leave(self) -> None:
        """Give up the folder of our own; what is left in it can be claimed by others. Idempotent."""
        if self._own is None:
            return
        own, self._own = self._own, None
        try:
            with os_errors():
                for path in own.glob("*.json"):
                    path.rename(self.incoming / path.name)
                own.rmdir()
                own.with_suffix(".lock").unlink()
        finally:
            os.close(self._own_lock)

    def claim(self, queue_id: QueueId, state: QueueState) -> StoredEnvelope | None:
        """Take a message that waits, unless another process was faster (None) or it is damaged (set aside, None)."""
        mine = self._mine(queue_id)
        try:
            (self._folder(state) / mine.name).rename(mine)
        except FileNotFoundError:
            if not mine.parent.is_dir():
                raise Transient(f"{mine.parent} has disappeared") from None
            return None
        except OSError as error:
            raise Transient(str(error)) from error
        try:
            return self.read(mine, queue_id)
        except StoreUnusable as error:
            self.set_aside(mine, str(error))
            return None
        except BaseException:
            mine.rename(self.incoming / mine.name)
            raise

    def update(self, stored: StoredEnvelope) -> None:
        """Replace the envelope of a claimed message; durable. Raises StoreFull, Transient: nothing changed."""
        mine = self._mine(stored.id)
        with os_errors():
            self._replace(mine, stored)
            sync_directory(mine.parent)

    def defer(self, stored: StoredEnvelope, until_s: float) -> None:
        """Let a claimed message wait until then (Unix time), with this envelope if it can be written."""
        mine = self._mine(stored.id)
        with os_errors():
            try:
                self._replace(mine, stored, modified_s=until_s)
            except TemporaryError as error:
                maillog.problem(what=f"progress of {stored.id} was not written down", error=str(error))
                set_time(mine, until_s)
            mine.rename(self.deferred / mine.name)
            sync_directory(self.deferred)
            sync_directory(mine.parent)

    def release(self, queue_id: QueueId) -> None:
        """Give a claimed message back as it is."""
        mine = self._mine(queue_id)
        with os_errors():
            mine.rename(self.incoming / mine.name)

    def done(self, queue_id: QueueId) -> None:
        """Remove a claimed message. Not synced: after a power cut it is delivered again, under the same key."""
        self._finish(self._mine(queue_id))

    def set_aside(self, path: Path, reason: str) -> None:
        """Move a damaged envelope where nobody trips over it, and say so."""
        with os_errors():
            path.rename(self.corrupt / path.name)
        maillog.set_aside(queue_id=path.stem, reason=reason)

    def _mine(self, queue_id: QueueId) -> Path:
        assert self._own is not None, "become_owner comes first"
        return self._own / f"{queue_id}.json"

    def _finish(self, envelope: Path) -> None:
        done = envelope.with_suffix(".done")
        with os_errors():
            envelope.rename(done)  # whoever finds this goes on with it
            self.remove_rest(done)

    def remove_rest(self, done: Path) -> None:
        """Go on from `ID.done`. Raises OSError."""
        self.body(QueueId(done.stem)).unlink(missing_ok=True)
        done.unlink(missing_ok=True)

    def _replace(self, path: Path, stored: StoredEnvelope, modified_s: float | None = None) -> None:
        unfinished = path.with_name(f"{path.name}.tmp")
        unfinished.unlink(missing_ok=True)
        try:
            with os_errors():
                write_new(unfinished, encode(stored), modified_s)
                unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise

    # Processes that have died

    def recover(self, now_s: float) -> list[Entry]:
        """Let what dead processes had be claimed again; where it is now."""
        recovered: list[Entry] = []
        for lock in sorted({*self.active.glob("*.lock"), *(owner.with_suffix(".lock") for owner in self._owners())}):
            try:
                with os_errors(), suppress(FileNotFoundError):  # another process has done it
                    recovered += self._recover_of(lock, now_s)
            except TemporaryError as error:  # the claims of other processes are not held up by these
                maillog.problem(what=f"recovery of {lock.with_suffix('')}", error=str(error))
        return recovered

    def _recover_of(self, lock: Path, now_s: float) -> list[Entry]:
        # It is made where somebody has removed it by hand.
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = lock.with_suffix("")
            recovered = self._empty(folder, now_s) if folder.is_dir() else []
            lock.unlink()
            return recovered
        except BlockingIOError:
            return []  # it lives, or somebody else is at it
        finally:
            os.close(fd)

    def _empty(self, folder: Path, now_s: float) -> list[Entry]:
        recovered: list[Entry] = []
        for path in sorted(folder.iterdir()):
            if path.suffix == ".json":
                recovered += self._recover(path, now_s)
            elif path.suffix == ".done":
                self.remove_rest(path)
            else:
                path.unlink(missing_ok=True)  # a rewritten envelope has taken its `.tmp` with it
        folder.rmdir()
        return recovered

    def _recover(self, path: Path, now_s: float) -> list[Entry]:
        queue_id = QueueId(path.stem)
        try:
            stored = self.read(path, queue_id)
        except StoreUnusable as error:
            self.set_aside(path, str(error))
            return []
        count = stored.recoveries + 1
        if count > LAST_RECOVERY:
            self.set_aside(path, f"{count} processes in a row died while they had it")
            return []
        waits = count > FREE_RECOVERIES
        until_s = now_s + RECOVERY_WAIT_S * 2 ** (count - FREE_RECOVERIES - 1) if waits else None
        with suppress(StoreFull):  # then it is not counted
            self._replace(path, replace(stored, recoveries=count), until_s)
        entry = Entry(queue_id, QueueState.DEFERRED, self.deferred / path.name)
        if until_s is None:
            entry = Entry(queue_id, QueueState.INCOMING, self.incoming / path.name)
        path.rename(entry.path)
        return [entry]

    # What waits

    def incoming_ids(self) -> list[QueueId]:
        """In order of arrival; reads no file."""
        with os_errors(), os.scandir(self.incoming) as found:
            return sorted(queue_id for entry in found if (queue_id := _id_of(entry.name)) is not None)

    def deferred_ids(self) -> list[tuple[float, QueueId]]:
        """When each is due (Unix time) and its ID; reads no file."""
        times: list[tuple[float, QueueId]] = []
        with os_errors(), os.scandir(self.deferred) as found:
            for entry in found:
                queue_id = _id_of(entry.name)
                with suppress(FileNotFoundError):  # claimed meanwhile
                    if queue_id is not None:
                        times.append((entry.stat(follow_symlinks=False).st_mtime, queue_id))
        return times

    def deferred_until(self, queue_id: QueueId) -> float | None:
        """When it is due; None: it is not deferred."""
        with os_errors(), suppress(FileNotFoundError):
            return (self.deferred / f"{queue_id}.json").lstat().st_mtime
        return None

    # For administrators

    def entries(self) -> Iterator[Entry]:
        """Every message, once; one that moves meanwhile is met in one of its states."""
        seen: set[QueueId] = set()
        # In the order in which messages move, and active once more: what was deferred then may be there now.
        for state in (*QueueState, QueueState.ACTIVE):
            for folder in self._owners() if state is QueueState.ACTIVE else [self._folder(state)]:
                for queue_id in _ids_in(folder):
                    if queue_id not in seen:
                        seen.add(queue_id)
                        yield Entry(queue_id, state, folder / f"{queue_id}.json")

    def find(self, queue_id: QueueId) -> Entry | None:
        """Looks twice, because a message may move from where is looked next to where was looked before."""
        name = f"{queue_id}.json"
        for state in (*QueueState, *QueueState):
            for folder in self._owners() if state is QueueState.ACTIVE else [self._folder(state)]:
                if os.path.lexists(folder / name):
                    return Entry(queue_id, state, folder / name)
        return None

    def retry_now(self, queue_id: QueueId) -> None:
        """Raises NotFound, Conflict, StoreUnusable."""
        entry = self._waiting(queue_id)
        if entry.state is QueueState.CORRUPT:
            self.read(entry.path, queue_id)
        self._step(entry, self.incoming / entry.path.name)

    def remove(self, queue_id: QueueId) -> None:
        """Raises NotFound, Conflict."""
        entry = self._waiting(queue_id)
        done = entry.path.with_suffix(".done")
        self._step(entry, done)
        with os_errors():
            self.remove_rest(done)

    def _waiting(self, queue_id: QueueId) -> Entry:
        entry = self.find(queue_id) if is_id(queue_id) else None
        if entry is None:
            raise NotFound(f"no message {queue_id} is queued")
        if entry.state is QueueState.ACTIVE:
            raise Conflict(f"{queue_id} is being delivered now")
        return entry

    def _step(self, entry: Entry, target: Path) -> None:
        try:
            with os_errors():
                entry.path.rename(target)
        except Transient as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise Conflict(f"{entry.id} is being delivered now") from None
            raise

    # Files

    def body(self, queue_id: QueueId) -> Path:
        return self.messages / f"{queue_id}.eml"

    def read(self, path: Path, queue_id: QueueId) -> StoredEnvelope:
        """The envelope, when it and the body are whole. Raises StoreUnusable, NotFound (no such file), Transient."""
        stored = self.envelope(path, queue_id)
        try:
            status = self.body(queue_id).lstat()
        except FileNotFoundError:
            if not os.path.lexists(path):  # done meanwhile
                raise NotFound(f"{path} is not there") from None
            raise StoreUnusable(f"{self.body(queue_id)} is missing") from None
        if not stat.S_ISREG(status.st_mode) or status.st_size != stored.size_octets:
            raise StoreUnusable(f"{self.body(queue_id)} is not the {stored.size_octets} octets that were accepted")
        return stored

    def envelope(self, path: Path, queue_id: QueueId) -> StoredEnvelope:
        """Whatever the body is like. Raises StoreUnusable, NotFound, Transient."""
        return decode(read_whole(path), queue_id)

    def _unfinished_body(self, queue_id: QueueId) -> Path:
        return self.messages / f"{queue_id}.eml.tmp"

    def _folder(self, state: QueueState) -> Path:
        return self.root / state.value

    def _owners(self) -> list[Path]:
        return [path for path in self.active.iterdir() if path.suffix == "" and path.is_dir()]


def _id_of(name: str) -> QueueId | None:
    """Of `ID.json`; None for any other file."""
    stem, dot, suffix = name.rpartition(".")
    return QueueId(stem) if dot and suffix == "json" and is_id(stem) else None


def _ids_in(folder: Path) -> list[QueueId]:
    with os_errors(), suppress(FileNotFoundError):  # of a process that has ended meanwhile
        return [queue_id for name in os.listdir(folder) if (queue_id := _id_of(name)) is not None]  # noqa: PTH208
    return []
