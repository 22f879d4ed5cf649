"""Making messages ours, many at a time: what stands between the last octet and the 250.

A small message is written into the kernel's memory by the event loop itself (`write`): handing some 15 short system
calls to a thread, which then has to wait for the interpreter after each of them, takes five times as long. Whatever
waits for the disk is done in a thread (`accept`).

Guarantees: when `accept` has returned, each message that it did not fail is on disk, by strict POSIX: its body synced,
then the folder that names it; its envelope synced, then the rename into incoming/, then that folder. A folder is synced
once for all. What fails one message fails no other, and nothing is left of what has failed.

Why in this order, and what it costs: docs/decisions/0005-batches-in-the-spool.md.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maillib import maillog
from maillib.embedded.files import translated, write_all
from maillib.embedded.queue_envelope import MAX_OCTETS, StoredEnvelope, encode
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_room import Room
from maillib.errors import StoreUnusable, TemporaryError, Transient
from maillib.ports.queue import QueueId


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is to be accepted."""

    stored: StoredEnvelope
    octets: bytes
    """The body, or what of it is not in `fd` yet."""
    fd: int | None
    """What `begin_body` gave; it is closed here. None: nothing has been written yet."""
    again: bool
    """An earlier attempt under this ID may have left something; where it was accepted, nothing is to be done."""


def begin_body(folders: SpoolFolders, queue_id: QueueId, *, again: bool) -> int:
    """Make ID.eml.tmp; its descriptor, which is locked so that nobody takes the file for a leftover. Raises OSError,
    Transient (the ID is taken).
    """
    unfinished, body = f"{queue_id}.eml.tmp", f"{queue_id}.eml"
    if again:
        folders.messages.remove(unfinished)
    fd = folders.messages.create(unfinished)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if not again and folders.messages.has(body):  # nobody else can make it while we have the name before it
            raise Transient(f"queue ID {queue_id} is taken")
    except BaseException:
        folders.messages.remove(unfinished)
        os.close(fd)
        raise
    return fd


def accept(folders: SpoolFolders, batch: "Sequence[Acceptance]") -> list[TemporaryError | None]:
    """For each message, in order, why it was not accepted; None: it is ours. Blocks; several batches may be accepted
    at the same time.
    """
    try:
        _each(batch, Acceptance.write)
        _each(batch, Acceptance.sync_body)
        _all(batch, folders.messages.sync)
        _each(batch, Acceptance.sync_envelope)
        _each(batch, Acceptance.publish)
        _all(batch, folders.incoming.sync)
    except BaseException:
        for one in batch:
            one.undo()
        raise
    finally:
        for one in batch:
            one.close()
    return [one.error for one in batch]


def _each(batch: "Sequence[Acceptance]", step: "Callable[[Acceptance], None]") -> None:
    for one in batch:
        if one.goes_on:
            try:
                step(one)
            except OSError as error:
                one.fail(error)


def _all(batch: "Sequence[Acceptance]", sync: Callable[[], None]) -> None:
    try:
        sync()
    except OSError as error:
        for one in batch:
            one.fail(error)


class Acceptance:
    """The steps of one message. Those after `write` raise OSError."""

    def __init__(self, folders: SpoolFolders, room: Room, message: NewMessage) -> None:
        self.id = message.stored.id
        self._folders = folders
        self._room = room
        self._message = message
        self._body = message.fd
        self._envelope: int | None = None
        self._is_written = False
        self._is_queued = False
        """By an earlier attempt. Both folders are synced for it too: that attempt may not have come so far."""
        self.error: TemporaryError | None = None
        """Why it is not accepted; nothing of it is left then."""

    @property
    def goes_on(self) -> bool:
        return self.error is None and not self._is_queued

    def write(self) -> None:
        """Both files, under names that nobody takes for a message, and on their way to the disk. Idempotent. What
        is wrong is in `error`; after an exception that nobody foresaw, `undo` and `close` have to follow.
        """
        if not self._is_written:
            self._is_written = True
            try:
                self._write()
            except OSError as error:
                self.fail(error)
            except TemporaryError as error:
                self.error = error
                self.undo()

    def _write(self) -> None:
        folders, message, queue_id = self._folders, self._message, self.id
        if message.again and folders.messages.has(f"{queue_id}.eml") and folders.find(queue_id) is not None:
            folders.messages.remove(f"{queue_id}.eml.tmp")
            self._is_queued = True
            return
        text = encode(message.stored)
        if len(text) > MAX_OCTETS:
            raise StoreUnusable(f"{queue_id}: an envelope of {len(text)} octets; {MAX_OCTETS} are the most")
        self._room.look()
        self._room.ask(len(message.octets))
        if self._body is None:
            self._body = begin_body(folders, queue_id, again=message.again)
        write_all(self._body, message.octets)
        queued_s = int(message.stored.envelope.queued.timestamp())
        os.utime(self._body, (queued_s, queued_s))  # the store keeps the file, and finds this where its index is lost
        _start_writing(self._body)
        folders.messages.rename(f"{queue_id}.eml.tmp", folders.messages, f"{queue_id}.eml")
        if message.again:
            folders.incoming.remove(f"{queue_id}.json.tmp")
        self._envelope = self._envelope_file(f"{queue_id}.json.tmp")
        write_all(self._envelope, text)
        os.ftruncate(self._envelope, len(text))
        _start_writing(self._envelope)

    def _envelope_file(self, name: str) -> int:
        """Locked: no leftover, though a clock be set meanwhile."""
        incoming = self._folders.incoming
        fd = self._folders.spares.take(incoming, name)
        if fd is None:
            fd = incoming.create(name)
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return fd

    def sync_body(self) -> None:
        assert self._body is not None
        os.fsync(self._body)

    def sync_envelope(self) -> None:
        assert self._envelope is not None
        os.fsync(self._envelope)

    def publish(self) -> None:
        """The rename that makes it ours."""
        incoming = self._folders.incoming
        incoming.rename(f"{self.id}.json.tmp", incoming, f"{self.id}.json")

    def fail(self, error: OSError) -> None:
        if self.error is None:
            if error.filename is None:
                error.filename = f"{self._folders.messages.path}/{self.id}.eml"
            self.error = translated(error)
            self.error.__cause__ = error
            self.undo()

    def undo(self) -> None:
        """Leave nothing, unless the message is being delivered by now. What cannot be removed is left to the sweep."""
        if self._body is None or self._is_queued:
            return
        messages, incoming, queue_id = self._folders.messages, self._folders.incoming, self.id
        try:
            incoming.remove(f"{queue_id}.json")
            incoming.remove(f"{queue_id}.json.tmp")
            messages.remove(f"{queue_id}.eml.tmp")
            if self._folders.find(queue_id) is None:
                messages.remove(f"{queue_id}.eml")
        except (OSError, TemporaryError) as error:
            maillog.problem(what=f"removal of {queue_id}, which was not accepted", error=str(error))

    def close(self) -> None:
        for fd in (self._body, self._envelope):
            if fd is not None:
                os.close(fd)


def _start_writing(fd: int) -> None:
    """Have the kernel write the file out now, without waiting for it: the files of a batch then share one commit of
    the file system's journal, and the syncs that follow find little left to do.
    """
    if sys.platform == "linux":
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
