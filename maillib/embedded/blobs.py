"""Bodies as files: what a BlobRef of this engine means, and the Blobs port over it.

Three kinds of reference, each with one place under the state directory:

    spool:QUEUEID               spool/messages/QUEUEID.eml         made, and removed, by the spool
    mail:ACCOUNT/MAILBOX/UID    mail/ACCOUNT/MAILBOX/UID.eml       made, and removed, by the Index; a link to a body
    loose:HEX                   mail/loose/HEX.eml                 made by `put`, for bodies that came another way

Guarantees: a reference never leads outside of these folders, whatever its text; a body's octets never change once it
has a reference; `put` is durable on return, what `put_all` stores with the append that takes it. Nobody knows the
reference of a `put` that was broken off, so its file is found by `list` like any other that nobody came back for.

Leaves to others: when a body may go. `delete` takes a loose body only; the others belong to the spool and the Index.
"""

import os
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from maillib.embedded.bodies import body_status
from maillib.embedded.files import (
    make_directory,
    os_errors,
    refuse_network_file_system,
    sync_directory,
    translated,
    write_all,
)
from maillib.embedded.threads import Threads
from maillib.errors import MailError, NotFound
from maillib.ports.blobs import BlobRef, WholeBody
from maillib.ports.directory import AccountId
from maillib.ports.index import MailboxId, Uid
from maillib.ports.queue import QueueId

_SPOOL = re.compile(r"spool:([0-9A-Za-z]{1,32})", re.ASCII)
_MAIL = re.compile(r"mail:([1-9][0-9]{0,18})/([1-9][0-9]{0,18})/([1-9][0-9]{0,9})", re.ASCII)
_LOOSE = re.compile(r"loose:([0-9a-f]{32})", re.ASCII)

LOOSE_MODE = 0o440
"""Of a body that was put. Who reads bodies without their index (`rebuild`) tells by it that the message is these octets
alone; a body of the spool, which can be written, has a prefix before it. It travels with every link and copy."""

_READS_FROM_MEMORY = hasattr(os, "RWF_NOWAIT")
"""Linux can tell whether a read would wait."""

_SMALL_OCTETS = 64 * 1024
"""So much is copied in a few microseconds; a call of a thread costs more than fifty."""

_READ_THREADS = 4
"""Reads of a warm file take microseconds; a few slow disks' worth of waiting must not stop all sessions."""


def spool_ref(queue_id: QueueId) -> BlobRef:
    """The body of a queued message."""
    return BlobRef(f"spool:{queue_id}")


def is_spooled(ref: BlobRef) -> bool:
    """Whether the spool has the body still, if its delivery dies."""
    return _SPOOL.fullmatch(ref) is not None


def mail_ref(account: AccountId, mailbox: MailboxId, uid: Uid) -> BlobRef:
    """The body of a stored message."""
    return BlobRef(f"mail:{account}/{mailbox}/{uid}")


def account_path(state_dir: Path, account: AccountId) -> Path:
    """Where all mail of an account is."""
    return state_dir / "mail" / str(account)


def body_name(uid: Uid | str) -> str:
    """The file of a message within its mailbox, of its UID or the digits of it; padded: a listing is in UID order."""
    return f"{uid:0>10}.eml"


def path_of(state_dir: Path, ref: BlobRef) -> Path:
    """The file that `ref` means, whether or not it is there. Raises NotFound for a text that is no reference."""
    return state_dir / name_of(ref)


def name_of(ref: BlobRef) -> str:
    """Relative to the state directory; text, because a Path costs as much as reading a small body."""
    if match := _MAIL.fullmatch(ref):
        account, mailbox, uid = match.groups()
        return f"mail/{account}/{mailbox}/{body_name(uid)}"
    if match := _SPOOL.fullmatch(ref):
        return f"spool/messages/{match[1]}.eml"
    if match := _LOOSE.fullmatch(ref):
        return f"mail/loose/{match[1]}.eml"
    raise NotFound(f"{ref!r} is no reference to a body")


class EmbeddedBlobs:
    """The Blobs port over files."""

    def __init__(self, state_dir: Path) -> None:
        """Raises ConfigError when `state_dir` is on a network file system."""
        self._state_dir = state_dir
        self._loose = state_dir / "mail" / "loose"
        make_directory(self._loose.parent)
        make_directory(self._loose)
        refuse_network_file_system(self._loose)
        self._threads = Threads("blobs", _READ_THREADS)

    async def put(self, chunks: AsyncIterator[bytes]) -> BlobRef:
        name = secrets.token_hex(16)
        body = _NewBody(self._loose / f"{name}.eml")
        try:
            await self._threads.run(body.create)
            async for chunk in chunks:
                await self._threads.run(body.write, chunk)
            await self._threads.run(body.finish)
        except BaseException:
            await self._threads.run(body.discard)
            raise
        return BlobRef(f"loose:{name}")

    async def put_all(self, bodies: Sequence[WholeBody]) -> Sequence[BlobRef]:
        return await self._threads.run(self._put_all, bodies)

    def _put_all(self, bodies: Sequence[WholeBody]) -> list[BlobRef]:
        """The folder is not synced: the append gives each body the name that counts, and syncs that one's folder."""
        made = [_NewBody(self._loose / f"{secrets.token_hex(16)}.eml") for _ in bodies]
        try:
            for new, body in zip(made, bodies, strict=True):
                new.make(body)
        except BaseException:
            for new in made:
                new.discard()
            raise
        return [BlobRef(f"loose:{new.path.stem}") for new in made]

    async def size(self, ref: BlobRef) -> int:
        return await self._threads.run(_size, path_of(self._state_dir, ref))

    async def get(self, ref: BlobRef, offset: int, length: int) -> bytes:
        return await self._threads.run(_read, self._file(ref), offset, length)

    async def bodies(self, refs: Sequence[BlobRef]) -> Sequence[bytes | MailError]:
        if len(refs) == 1:
            body = _read_from_memory(self._file(refs[0]))
            if body is not None:
                return [body]
        return await self._threads.run(self._read_all, refs)

    def _read_all(self, refs: Sequence[BlobRef]) -> list[bytes | MailError]:
        found: list[bytes | MailError] = []
        for ref in refs:
            try:
                found.append(_read(self._file(ref), 0, None))
            except MailError as error:
                found.append(error)
        return found

    def _file(self, ref: BlobRef) -> str:
        return f"{self._state_dir}/{name_of(ref)}"

    async def delete(self, *refs: BlobRef) -> None:
        paths = [path_of(self._state_dir, ref) for ref in refs]
        for path in paths:
            if path.parent != self._loose:
                raise ValueError(f"{path} belongs to the spool or to a mailbox")
        await self._threads.run(_delete, paths)

    async def list(self, *, older_than: datetime) -> AsyncIterator[BlobRef]:
        for name in await self._threads.run(_names, self._loose, older_than.astimezone(UTC).timestamp()):
            yield BlobRef(f"loose:{name}")

    async def close(self) -> None:
        """Return when what was begun has ended. Idempotent."""
        await self._threads.close()


def _size(path: Path) -> int:
    return body_status(path).st_size


class _NewBody:
    """A file that is being written. Its methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def make(self, body: WholeBody) -> None:
        """All of it, but for the name."""
        self.create()
        seconds = body.date.timestamp() // 1
        with os_errors():
            write_all(self._fd, body.octets)
            os.utime(self._fd, (seconds, seconds))  # what an append would have to do, with a sync of its own
            os.fsync(self._fd)
        self._close()

    def create(self) -> None:
        with os_errors():
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, LOOSE_MODE)

    def write(self, data: bytes) -> None:
        with os_errors():
            write_all(self._fd, data)

    def finish(self) -> None:
        with os_errors():
            os.fsync(self._fd)
            sync_directory(self.path.parent)
        self._close()

    def discard(self) -> None:
        self._close()
        _delete([self.path])

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _read(path: str, offset: int, length: int | None) -> bytes:
    """At most `length` octets from `offset`; None: all there are."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            left = max(0, os.fstat(fd).st_size - offset)  # the buffer is never larger than the body
            if length is not None:
                left = min(length, left)
            octets = os.pread(fd, left, offset)
            while len(octets) < left and (part := os.pread(fd, left - len(octets), offset + len(octets))):
                octets += part
            return octets
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise NotFound(f"{path} is not there") from None
    except OSError as error:
        raise translated(error) from error


def _read_from_memory(path: str) -> bytes | None:
    """All of a body that costs no wait for the disk and is small; None: a thread has to read it, or say why not."""
    if not _READS_FROM_MEMORY:
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            octets = os.fstat(fd).st_size
            if octets > _SMALL_OCTETS:
                return None
            body = bytearray(octets)
            return bytes(body) if os.preadv(fd, [body], 0, os.RWF_NOWAIT) == octets else None
        finally:
            os.close(fd)
    except OSError:  # EAGAIN above all: it is not in memory
        return None


def _delete(paths: Iterable[Path]) -> None:
    with os_errors():
        for path in paths:
            path.unlink(missing_ok=True)


def _names(directory: Path, older_than: float) -> list[str]:
    """Names, without suffix, of the bodies in `directory` last written or linked before that time; their mtime is an
    internal date."""
    found = []
    with os_errors(), os.scandir(directory) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted meanwhile
            if status.st_ctime < older_than and entry.name.endswith(".eml"):
                found.append(entry.name.removesuffix(".eml"))
    return found
