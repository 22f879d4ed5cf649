"""Penalties in one file of fixed size, STATE_DIR/directory/penalties.

Guarantees: what the port says, for any number of processes; 1 MiB on disk, whoever fails however often: a record goes
when there is a failure to count, its part of the table is full, and no other there has fewer failures. Questions read
512 octets that the kernel has in memory; changes are made in a thread, under a lock on the whole file that nobody holds
for longer than a few microseconds. Nothing is synced: a power cut may forget the last failures, the end of a process
forgets none.

Layout: a header of 64 octets (the word `_MAGIC`, a random key, zeros), zeros up to octet 512; then `_BUCKETS` times
eight records of 64 octets, little-endian: key 16, at (double), free_at (double), name 8, failures (float), of_name
(float), zeros. The key is a keyed hash of the address or name: the file names nobody, and nobody can aim at a bucket.
A file of another size or header is begun anew.
"""

import fcntl
import hashlib
import math
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from maillib import maillog
from maillib.embedded.files import FILE_MODE, make_directory, os_errors, write_all
from maillib.embedded.threads import Threads
from maillib.errors import Transient
from maillib.ports import penalties
from maillib.ports.penalties import Record

T = TypeVar("T")

_MAGIC = b"postroom penalties 1\n"
_KEY_OCTETS = 32
_HEADER_OCTETS = 64
_RECORD = struct.Struct("<16s d d 8s f f 16x")
_BUCKET_OCTETS = 8 * _RECORD.size
_BUCKETS = 2048
"""Times eight: more addresses than guess at one server in ten minutes."""
_FILE_OCTETS = _BUCKET_OCTETS * (1 + _BUCKETS)

_PATIENCE_S = 1.0
"""For the lock: only a process that was stopped in the middle of a change holds it for so long."""
_POLL_S = 0.002

_UNKNOWN = Record()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one address or name is kept."""

    key: bytes
    bucket: int
    """Its offset in the file."""


class EmbeddedPenalties:
    """The Penalties port over one file; one object per process."""

    def __init__(self, state_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Opens or makes the file; blocks. Raises StoreFull, Transient."""
        path = state_dir / "directory" / "penalties"
        make_directory(path.parent)
        self._clock = clock
        with os_errors():
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            with self._locked():
                self._key = _read_key(self._fd) or _begin(self._fd, path)
        except BaseException:
            os.close(self._fd)
            raise
        self._threads = Threads("penalties", 1)

    def failures(self, name: str) -> int:
        return math.ceil(penalties.failures(self._read(self._place("name", name)), self._clock()))

    def wait_s(self, address: str) -> float:
        return penalties.wait_s(self._read(self._place("address", address)), self._clock())

    async def take_turn(self, address: str) -> bool:
        place = self._place("address", address)
        if not penalties.has_turns(self._read(place), self._clock()):
            return True
        return await self._change(lambda: self._take_turn(place))

    def _take_turn(self, place: _Place) -> bool:
        record, now = self._read(place), self._clock()
        if penalties.wait_s(record, now):
            return False
        self._write(place, penalties.with_turn_taken(record, now))
        return True

    async def failed(self, address: str, name: str) -> None:
        at_address, at_name = self._place("address", address), self._place("name", name)
        await self._change(lambda: self._count(at_address, at_name))

    def _count(self, at_address: _Place, at_name: _Place) -> None:
        for place in (at_address, at_name):
            self._write(place, penalties.with_failure(self._read(place), at_name.key[:8], self._clock()))

    async def succeeded(self, address: str, name: str) -> None:
        at_address, at_name = self._place("address", address), self._place("name", name)
        if self._read(at_address) is not _UNKNOWN:
            await self._change(lambda: self._take_back(at_address, at_name))

    def _take_back(self, at_address: _Place, at_name: _Place) -> None:
        now = self._clock()
        record = self._read(at_address)
        taken_back = penalties.forgiven(record, at_name.key[:8], now)
        self._write(at_address, penalties.with_success(record, taken_back, now))
        if taken_back:
            self._write(at_name, penalties.with_success(self._read(at_name), taken_back, now))

    async def close(self) -> None:
        """Idempotent."""
        await self._threads.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _change(self, call: Callable[[], T]) -> T:
        def change() -> T:
            with self._locked():
                return call()

        return await self._threads.run(change)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Raises Transient when somebody keeps the lock, and for what the system refuses within the block."""
        deadline = time.monotonic() + _PATIENCE_S
        with os_errors():
            while True:
                try:
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Transient("the file of penalties is locked by somebody who does not move") from None
                time.sleep(_POLL_S)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _place(self, kind: str, text: str) -> _Place:
        key = hashlib.blake2b(f"{kind} {text}".encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()
        return _Place(key, _BUCKET_OCTETS * (1 + int.from_bytes(key[:4]) % _BUCKETS))

    def _read(self, place: _Place) -> Record:
        bucket = self._bucket(place)
        at = _find(bucket, place.key)
        return _UNKNOWN if at is None else _unpack(bucket, at)

    def _bucket(self, place: _Place) -> bytes:
        with os_errors():
            return os.pread(self._fd, _BUCKET_OCTETS, place.bucket).ljust(_BUCKET_OCTETS, b"\0")

    def _write(self, place: _Place, record: Record) -> None:
        """Where its record is, or in place of the one in the bucket that has the fewest failures."""
        bucket = self._bucket(place)
        at = _find(bucket, place.key)
        if at is None:
            now = self._clock()
            at = min(
                range(0, _BUCKET_OCTETS, _RECORD.size),
                key=lambda offset: penalties.failures(_unpack(bucket, offset), now),
            )
        octets = _RECORD.pack(place.key, record.at, record.free_at, record.name, record.failures, record.of_name)
        os.pwrite(self._fd, octets, place.bucket + at)


def _find(bucket: bytes, key: bytes) -> int | None:
    """The offset of the record with this key."""
    for at in range(0, _BUCKET_OCTETS, _RECORD.size):
        if bucket[at : at + len(key)] == key:
            return at
    return None


def _unpack(bucket: bytes, at: int) -> Record:
    """What no change of ours can have written is as good as nothing."""
    _, when, free_at, name, failures, of_name = _RECORD.unpack_from(bucket, at)
    if not all(map(math.isfinite, (when, free_at, failures, of_name))):
        return _UNKNOWN
    return Record(failures, when, free_at, name, of_name)


def _read_key(fd: int) -> bytes | None:
    """None: the file is new, or none of ours."""
    header = os.pread(fd, _HEADER_OCTETS, 0)
    if os.fstat(fd).st_size != _FILE_OCTETS or not header.startswith(_MAGIC):
        return None
    return header[len(_MAGIC) : len(_MAGIC) + _KEY_OCTETS]


def _begin(fd: int, path: Path) -> bytes:
    """Write the whole file, so that no later change needs space on the disk."""
    if os.fstat(fd).st_size:
        maillog.problem(what="log-in penalties are forgotten", error=f"{path} is damaged, and begun anew")
    key = secrets.token_bytes(_KEY_OCTETS)
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    write_all(fd, (_MAGIC + key).ljust(_FILE_OCTETS, b"\0"))
    return key
