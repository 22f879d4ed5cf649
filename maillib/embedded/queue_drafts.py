"""Messages on their way into the spool: the Draft of the port, and the batches in which drafts are accepted.

Guarantees: a small message stays in memory until its commit, which hands it to the kernel, and then waits for
another process, which waits for the disk for all that came together; of a large one at most a piece is in memory. The
event loop never waits for the disk.
"""

import functools
import os
from collections.abc import Sequence

from maillib.embedded import queue_accept, queue_publish
from maillib.embedded.batches import Batches
from maillib.embedded.disk_process import DiskProcess
from maillib.embedded.files import os_errors, write_all
from maillib.embedded.queue_accept import Acceptance, NewMessage
from maillib.embedded.queue_envelope import StoredEnvelope
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_room import Room
from maillib.embedded.queue_wake import Bell
from maillib.embedded.threads import Threads
from maillib.errors import TemporaryError, Transient
from maillib.ports.queue import Envelope, QueueId

MEMORY_OCTETS = 64 * 1024
"""What a draft keeps in memory: most messages are smaller, and 500 sessions' worth of it is 32 MiB."""

_MOST = 32
"""Messages in a batch. More would save nothing, and each has two files open."""

_FEW_RECIPIENTS = 100
"""Longer envelopes are written by a thread: those of thousands have hundreds of KiB."""


class Intake:
    """Where the drafts of a process come together."""

    def __init__(self, folders: SpoolFolders, bell: Bell, threads: Threads) -> None:
        self.folders = folders
        self.threads = threads
        self.room = Room(folders.messages)
        self._bell = bell
        publishing = functools.partial(queue_publish.publish, folders)
        self._disk = DiskProcess(publishing, (folders.messages.fd, folders.incoming.fd), threads)
        self._batches = Batches[Acceptance, None](self._publish, most=_MOST)

    async def accept(self, message: NewMessage) -> None:
        """Raises StoreFull, StoreUnusable, Transient: nothing of it is left."""
        one = Acceptance(self.folders, self.room, message)
        try:
            if message.again or len(message.stored.envelope.recipients) > _FEW_RECIPIENTS:
                await self.threads.run(one.write)
            else:
                one.write()
        except BaseException:
            one.undo()
            one.close()
            raise
        await self._batches.call(one)

    async def close(self) -> None:
        """Return when what was begun has ended. Idempotent."""
        await self._batches.close()
        await self._disk.close()

    async def _publish(self, batch: Sequence[Acceptance]) -> list[TemporaryError | None]:
        """For each, in order, why it was not accepted, and nothing of it is left then; None: it is ours."""
        results: list[TemporaryError | None]
        try:
            errors = await self._disk.run([one.to_publish for one in batch])
            results = [one.translated(error) if error else None for one, error in zip(batch, errors, strict=True)]
        except Transient as error:
            results = [error] * len(batch)
        try:
            accepted = [one for one, error in zip(batch, results, strict=True) if error is None]
            self._bell.ring([one.id for one in accepted])
            if len(accepted) < len(batch):
                await self.threads.run(_undo, [one for one in batch if one not in accepted])
        finally:
            for one in batch:
                one.close()
        return results


def _undo(batch: Sequence[Acceptance]) -> None:
    for one in batch:
        one.undo()


class FileDraft:
    """The Draft port."""

    def __init__(self, intake: Intake, queue_id: QueueId, *, again: bool) -> None:
        self._intake = intake
        self._id = queue_id
        self._again = again
        self._pieces: list[bytes] = []
        self._held_octets = self._size_octets = 0
        """In memory; in all."""
        self._fd: int | None = None
        """Of ID.eml.tmp, once there is one."""

    @property
    def id(self) -> QueueId:
        return self._id

    async def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held_octets += len(data)
        self._size_octets += len(data)
        if self._held_octets > MEMORY_OCTETS:
            await self._intake.threads.run(self._flush)

    async def commit(self, envelope: Envelope) -> None:
        if self._fd is not None:  # it is long: the others of its batch need not wait for so much of it
            await self._intake.threads.run(self._finish)
        stored = StoredEnvelope(id=self._id, envelope=envelope, size_octets=self._size_octets)
        message = NewMessage(stored=stored, octets=b"".join(self._pieces), fd=self._fd, again=self._again)
        self._fd = None
        await self._intake.accept(message)

    async def abort(self) -> None:
        self._pieces.clear()
        if self._fd is not None:
            await self._intake.threads.run(self._discard)

    def _flush(self) -> None:
        folders, room = self._intake.folders, self._intake.room
        try:
            room.look()
            room.ask(self._held_octets)
            with os_errors():
                if self._fd is None:
                    self._fd = queue_accept.begin_body(folders, self._id, again=self._again)
                write_all(self._fd, b"".join(self._pieces))
        except BaseException:
            self._discard()
            raise
        self._pieces.clear()
        self._held_octets = 0

    def _finish(self) -> None:
        self._flush()
        assert self._fd is not None
        try:
            with os_errors():
                os.fsync(self._fd)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        self._pieces.clear()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            with os_errors():
                self._intake.folders.messages.remove(f"{self._id}.eml.tmp")
