"""Messages about to be ours: writing them, and leaving nothing of those that are not accepted.

A small message is written into the kernel's memory by the event loop itself: handing some 15 short system calls to a
thread, which then has to wait for the interpreter after each of them, takes five times as long.

Leaves to others: getting what is written onto the disk, and the rename that makes it ours (`queue_publish`).
"""

import fcntl
import os
import sys
from dataclasses import dataclass

from maillib import maillog
from maillib.embedded.files import translated, write_all
from maillib.embedded.queue_envelope import MAX_OCTETS, StoredEnvelope, encode
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_publish import ONLY_FOLDERS
from maillib.embedded.queue_room import Room
from maillib.errors import StoreFull, StoreUnusable, TemporaryError, Transient
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


class Acceptance:
    """One message. What its steps raise leaves something behind until `undo`; `close` is the last call in any case."""

    def __init__(self, folders: SpoolFolders, room: Room, message: NewMessage) -> None:
        self.id = message.stored.id
        self._folders = folders
        self._room = room
        self._message = message
        self._body = message.fd
        self._envelope: int | None = None
        self._is_queued = False
        """By an earlier attempt. Both folders are synced for it too: that attempt may not have come so far."""

    @property
    def to_publish(self) -> str:
        """What `publish` is to be told of it, once it is written."""
        return ONLY_FOLDERS if self._is_queued else self.id

    def write(self) -> None:
        """Both files, under names that nobody takes for a message, and on their way to the disk. Raises StoreFull,
        StoreUnusable, Transient.
        """
        try:
            self._write()
        except OSError as error:
            raise self.translated(error) from error

    def translated(self, error: OSError) -> StoreFull | Transient:
        """What went wrong with it, with a name that tells which message it was."""
        if error.filename is None:
            error.filename = f"{self._folders.messages.path}/{self.id}.eml"
        return translated(error)

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
