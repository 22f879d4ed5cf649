"""The claims of one process: every step of a message between its claim and its end.

Guarantees: a claim is one rename, so of two processes one gets the message; whoever has claims holds a lock that the
kernel releases with its last breath. What `update` and `defer` have returned for survives a power cut. `finish` never
leaves an envelope without its body, by strict POSIX: the body goes after the removal of the envelope is on disk. All of
it blocks; for any thread.
"""

import fcntl
import os
import secrets
from collections.abc import Sequence

from maillib import maillog
from maillib.embedded.files import os_errors, translated
from maillib.embedded.queue_envelope import MAX_OCTETS, StoredEnvelope, encode
from maillib.embedded.queue_files import Folder
from maillib.embedded.queue_folders import SpoolFolders, id_of
from maillib.errors import NotFound, StoreUnusable, TemporaryError, Transient
from maillib.ports.queue import QueueId, QueueState


class Claims:
    def __init__(self, folders: SpoolFolders) -> None:
        """Make a folder of our own under active/, and the lock that tells others that we live. Raises StoreFull,
        Transient.
        """
        self._folders = folders
        self._name = f"{os.getpid()}-{secrets.token_hex(6)}"
        active = folders.active
        with os_errors():
            self._lock = active.create(f"{self._name}.lock.tmp")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                active.rename(f"{self._name}.lock.tmp", active, f"{self._name}.lock")  # never seen unlocked under it
                self._own = Folder(active.path / self._name, within=active)
            except BaseException:
                os.close(self._lock)
                raise

    def leave(self) -> None:
        """Give up the folder; what is left in it can be claimed by others. The last call."""
        try:
            with os_errors():
                for name in self._own.names():
                    if id_of(name) is not None:
                        self._own.rename(name, self._folders.incoming, name)
                    else:
                        self._own.remove(name)
                self._folders.active.remove_folder(self._name)
                self._folders.active.remove(f"{self._name}.lock")
        finally:
            self._own.close()
            os.close(self._lock)

    def claim(self, queue_id: QueueId, state: QueueState) -> StoredEnvelope | None:
        """Take a message that waits, unless another process was faster (None) or it is damaged (set aside, None)."""
        name = f"{queue_id}.json"
        with os_errors():
            try:
                self._folders.states[state].rename(name, self._own, name)
            except FileNotFoundError:
                if not self._folders.active.has(self._name):
                    raise Transient(f"{self._own.path} has disappeared") from None
                return None
        try:
            return self._folders.read(self._own, name, queue_id)
        except StoreUnusable as error:
            self._folders.set_aside(self._own, name, queue_id, str(error))
            return None
        except NotFound:  # somebody has taken it out of our folder by hand
            return None
        except BaseException:
            with os_errors():
                self._own.rename(name, self._folders.incoming, name)
            raise

    def update(self, stored: StoredEnvelope) -> None:
        """Replace the envelope of a claimed message; durable. Raises StoreFull, Transient: nothing changed."""
        with os_errors():
            replace_envelope(self._own, f"{stored.id}.json", stored)
            self._own.sync()

    def defer(self, stored: StoredEnvelope, until_s: float) -> None:
        """Let a claimed message wait until then (Unix time), with this envelope if it can be written."""
        name = f"{stored.id}.json"
        with os_errors():
            try:
                replace_envelope(self._own, name, stored, until_s)
            except TemporaryError as error:
                maillog.problem(what=f"progress of {stored.id} was not written down", error=str(error))
                self._own.set_time(name, until_s)
            self._own.rename(name, self._folders.deferred, name)
            self._folders.deferred.sync()
            self._own.sync()

    def release(self, queue_id: QueueId) -> None:
        """Give a claimed message back as it is."""
        with os_errors():
            self._own.rename(f"{queue_id}.json", self._folders.incoming, f"{queue_id}.json")

    def finish(self, ids: Sequence[QueueId]) -> list[TemporaryError | None]:
        """Remove claimed messages; for each, in order, why it could not be. One sync for all of them.

        After a power cut a message may be there again, whole; it is delivered again, under the same keys.
        """
        results: list[TemporaryError | None] = [self._end_envelope(queue_id) for queue_id in ids]
        with os_errors():
            self._own.sync()
        for queue_id, error in zip(ids, results, strict=True):
            if error is None:
                self._remove_rest(queue_id)
        return results

    def _end_envelope(self, queue_id: QueueId) -> TemporaryError | None:
        """From here on it is none; its file is left alone until that is on disk."""
        try:
            self._own.rename(f"{queue_id}.json", self._own, f"{queue_id}.done")
        except FileNotFoundError:
            return Transient(f"{self._own.path}/{queue_id}.json has disappeared")
        except OSError as error:
            return translated(error)
        return None

    def _remove_rest(self, queue_id: QueueId) -> None:
        try:
            if not self._folders.spares.keep(self._own, f"{queue_id}.done", queue_id):
                self._own.remove(f"{queue_id}.done")
            self._folders.messages.remove(f"{queue_id}.eml")
        except OSError as error:  # the message has gone all the same; recovery and sweep come by
            maillog.problem(what=f"removal of what is left of {queue_id}", error=str(error))


def replace_envelope(folder: Folder, name: str, stored: StoredEnvelope, modified_s: float | None = None) -> None:
    """Durable once the folder is synced. Raises StoreFull, StoreUnusable, Transient: nothing changed."""
    text = encode(stored)
    if len(text) > MAX_OCTETS:
        raise StoreUnusable(f"{stored.id}: an envelope of {len(text)} octets; {MAX_OCTETS} are the most")
    unfinished = f"{name}.tmp"
    with os_errors():
        folder.remove(unfinished)
        try:
            folder.write_new(unfinished, text, modified_s)
            folder.rename(unfinished, folder, name)
        except BaseException:
            folder.remove(unfinished)
            raise
