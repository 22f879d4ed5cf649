"""A disk between two syncs: what is on it for certain, and what a power cut may or may not leave of the rest.

By POSIX, with nothing added but what every journalling file system of Linux does:

- octets written to a file are on disk after an fsync or fdatasync of a descriptor of that file which began after the
  write had ended; before, any part of them may be;
- a change of a name (create, link, rename, unlink, mkdir, rmdir) is on disk after an fsync of the directory which began
  after the change had ended; before, it may be. Changes of different names may come to the disk in any order, changes
  of one name in theirs;
- a rename is one change: a power cut leaves the old name or the new one. It is on disk when the *new* name's directory
  has been synced; that of the old name may have to be synced for the removal alone to be certain (`unsettled`);
- a directory whose own name is not on disk takes everything in it with it.

Fed with the calls of a trace; knows nothing of mail.
"""

import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.support.disk.strace import Call, TraceError

MOST_AT_ONCE = 15
"""Pending changes of which all outcomes are tried: some seconds. Without one of the syncs there are up to 14."""


@dataclass(frozen=True, slots=True)
class Write:
    """Octets at an offset, none of them for a change of the file's time; None: it was cut or lengthened to `offset`."""

    ended: int
    offset: int
    data: bytes | None

    def apply(self, octets: bytearray) -> None:
        if self.data is None:
            del octets[self.offset :]
            octets.extend(bytes(self.offset - len(octets)))
        else:
            octets.extend(bytes(max(0, self.offset - len(octets))))
            octets[self.offset : self.offset + len(self.data)] = self.data


@dataclass(eq=False, slots=True)
class Inode:
    """A file, or a directory (whose names are the disk's to know)."""

    number: int
    is_directory: bool
    on_disk: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)
    size: int = 0
    mode: int = 0o750
    mtime_ns: int | None = None
    """As a program has set it last."""
    synced_count: int = 0
    """Writes that are on disk: with its number it tells two contents apart."""

    def write(self, write: Write) -> None:
        self.pending.append(write)
        self.size = write.offset if write.data is None else max(self.size, write.offset + len(write.data))

    def sync(self, began: int) -> None:
        """What had been written before then is on disk."""
        for write in self.pending:
            if write.ended < began:
                write.apply(self.on_disk)
                self.synced_count += 1
        self.pending = [write for write in self.pending if write.ended >= began]

    @property
    def octets(self) -> bytes:
        """As a reader sees it now."""
        return self.with_writes(self.pending)

    def with_writes(self, writes: Iterable[Write]) -> bytes:
        octets = bytearray(self.on_disk)
        for write in writes:
            write.apply(octets)
        return bytes(octets)


Entry = tuple[Inode, str]
"""A directory and a name in it."""


@dataclass(eq=False, slots=True)
class Change:
    """One change of names: what each of `names` means after it (None: nothing)."""

    ended: int
    names: tuple[tuple[Entry, Inode | None], ...]
    durable_by: Inode
    """The directory whose sync brings it to disk."""
    unsynced: set[Inode]
    """The directories that are still to be synced before nothing of it can be undone."""

    def touches(self, other: "Change") -> bool:
        return any(entry == one for entry, _ in self.names for one, _ in other.names)


@dataclass(slots=True)
class Descriptor:
    """An open file; several numbers may mean one."""

    inode: Inode
    offset: int
    appends: bool


class Disk:
    """Some folders of `root`, and all below; everything else is none of its business."""

    def __init__(
        self,
        root: Path,
        before: Path,
        folders: Collection[str],
        parents: Mapping[int, tuple[int, bool]],
        *,
        ignored: Collection[str] = (),
    ) -> None:
        """`root` was like `before`, and that is on disk. `parents`: see `strace.parents`. `ignored`: names of files."""
        self._root = PurePosixPath(root)
        self._folders = folders
        self._ignored = ignored
        self._parents = parents
        self._numbers = itertools.count(1)
        self.top = Inode(0, is_directory=True)
        self.names: dict[Entry, Inode] = {}
        """As a process sees them now."""
        self.on_disk: dict[Entry, Inode] = {}
        self.pending: list[Change] = []
        """Changes that a power cut may undo, oldest first."""
        self.version = 0
        """Grows with every change and every sync."""
        self.unsettled: list[Change] = []
        """Renames that no power cut undoes, but whose old name's directory has not been synced."""
        self._tables: dict[int, dict[int, Descriptor]] = {}
        self._targets: dict[Call, Descriptor | None] = {}
        """Of calls that have begun: what their descriptor meant then."""
        self._read(before, self.top)

    def _read(self, folder: Path, inode: Inode) -> None:
        for path in sorted(folder.iterdir()):
            if inode is self.top and path.name not in self._folders:
                continue
            if path.is_symlink() or path.name in self._ignored or not (path.is_dir() or path.is_file()):
                continue  # FIFOs, sockets: nothing is kept in them
            child = Inode(next(self._numbers), is_directory=path.is_dir())
            if child.is_directory:
                self._read(path, child)
            else:
                child.on_disk.extend(path.read_bytes())
                child.size = len(child.on_disk)
                child.mode = path.stat().st_mode & 0o777
            self.names[inode, path.name] = self.on_disk[inode, path.name] = child

    # Looking

    def find(self, path: str, names: Mapping[Entry, Inode] | None = None) -> Inode | None:
        """What a path below the root means, by default to a process that looks now."""
        names = self.names if names is None else names
        inode: Inode | None = self.top
        for part in PurePosixPath(path).parts:
            inode = names.get((inode, part)) if inode is not None else None
        return inode

    def listing(self, folder: Inode, names: Mapping[Entry, Inode] | None = None) -> dict[str, Inode]:
        names = self.names if names is None else names
        return {name: inode for (parent, name), inode in names.items() if parent is folder}

    def paths_of(self, inode: Inode, names: Mapping[Entry, Inode] | None = None) -> list[str]:
        """Every path that means it."""
        if inode is self.top:
            return [""]
        return [
            f"{above}/{name}".lstrip("/")
            for (parent, name), child in (self.names if names is None else names).items()
            if child is inode
            for above in self.paths_of(parent, names)
        ]

    def process(self, pid: int) -> int:
        """The process that a thread belongs to."""
        while (parent := self._parents.get(pid)) is not None and parent[1]:
            pid = parent[0]
        return pid

    def target(self, call: Call) -> Inode | None:
        """What the first argument, a descriptor, of a call that has begun means; None: nothing below the root."""
        descriptor = self._targets.get(call)
        return None if descriptor is None else descriptor.inode

    def entry(self, call: Call, place: int) -> Entry | None:
        """The directory and name that the path at that place among the arguments means now; None: it is elsewhere."""
        if call.name.endswith(("at", "at2")):
            return self._entry_at(call, place - 1)
        return self._entry(call.path(place))

    def after(self, changes: Collection[Change]) -> dict[Entry, Inode]:
        """The names on disk if of the pending changes exactly these came there."""
        names = dict(self.on_disk)
        for change in self.pending:
            if change in changes:
                _carry_out(change, names)
        return names

    def closed(self, changes: Iterable[Change]) -> frozenset[Change]:
        """With the earlier changes of the same names, without which they cannot be on disk."""
        wanted = set(changes)
        later: list[Change] = []
        for change in reversed(self.pending):
            if change in wanted or any(one.touches(change) for one in later):
                later.append(change)
        return frozenset(later)

    def outcomes(self, relevant: Iterable[Change]) -> Iterator[dict[Entry, Inode]]:
        """The names on disk after a power cut now, for every way in which `relevant` pending changes may end.

        The others are all undone: they must not matter.
        """
        chosen = [change for change in self.pending if change in set(relevant)]
        if len(chosen) > MOST_AT_ONCE:
            raise TraceError(f"{len(chosen)} changes of a few names at one moment: too many to try all outcomes")
        seen: set[frozenset[Change]] = set()
        for count in range(len(chosen) + 1):
            for some in itertools.combinations(chosen, count):
                changes = self.closed(some)
                if changes not in seen:
                    seen.add(changes)
                    yield self.after(changes)

    # Calls

    def begin(self, call: Call) -> None:
        table = self._table(call.pid)
        number = call.number(0)
        self._targets[call] = table.get(number)
        if call.name == "close":  # at its end the number may be somebody else's already
            table.pop(number, None)

    def end(self, call: Call) -> None:
        descriptor = self._targets.pop(call)
        if call.result < 0:
            return
        match call.name:
            case "open" | "openat" | "creat":
                self._open(call)
            case "dup" | "dup2" | "dup3" | "fcntl":
                self._duplicate(call, descriptor)
            case "rename" | "link":
                self._move(call, self._entry(call.path(0)), self._entry(call.path(1)), keeps=call.name == "link")
            case "renameat" | "renameat2" | "linkat":
                source, target = self._entry_at(call, 0), self._entry_at(call, 2)
                self._move(call, source, target, keeps=call.name == "linkat")
            case "unlink" | "rmdir":
                self._change(call, (self._entry(call.path(0)), None))
            case "unlinkat":
                self._change(call, (self._entry_at(call, 0), None))
            case "mkdir":
                self._change(call, (self._entry(call.path(0)), self._new(is_directory=True)))
            case "mkdirat":
                self._change(call, (self._entry_at(call, 0), self._new(is_directory=True)))
            case "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "ftruncate" | "fsync" | "fdatasync":
                if descriptor is not None:
                    self.version += 1
                    self._use(call, descriptor)
            case "utimensat":
                self._date(call, descriptor)
            case "clone" | "clone3" | "fork" | "vfork":
                self._table(call.result)  # as the parent's is now
            case "sendfile" | "copy_file_range" | "splice" | "fallocate" | "sync_file_range" | "truncate":
                if descriptor is not None:
                    raise TraceError(f"line {call.began + 1}: {call.name} to a file is not understood here")

    def _use(self, call: Call, descriptor: Descriptor) -> None:
        inode = descriptor.inode
        match call.name:
            case "write" | "writev":
                data = (call.octets(1) if call.name == "write" else call.buffers())[: call.result]
                offset = inode.size if descriptor.appends else descriptor.offset
                inode.write(Write(call.ended, offset, data))
                descriptor.offset = offset + len(data)
            case "pwrite64" | "pwritev" | "pwritev2":
                data = (call.octets(1) if call.name == "pwrite64" else call.buffers())[: call.result]
                inode.write(Write(call.ended, call.number(3), data))
            case "ftruncate":
                inode.write(Write(call.ended, call.number(1), None))
            case "fsync" | "fdatasync":
                if inode.is_directory:
                    self._sync_directory(inode, call.began)
                else:
                    inode.sync(call.began)

    def _date(self, call: Call, descriptor: Descriptor | None) -> None:
        by_path = call.arguments[1] != "NULL"
        entry = self._entry_at(call, 0) if by_path else None
        inode = self.names.get(entry) if entry is not None else None
        if not by_path and descriptor is not None:
            inode = descriptor.inode
        times = _TIME.findall(call.text)
        if inode is not None and times:
            self.version += 1
            inode.mtime_ns = int(times[-1][0]) * 1_000_000_000 + int(times[-1][1])
            inode.write(Write(call.ended, 0, b""))

    def _open(self, call: Call) -> None:
        at = call.name == "openat"
        entry = self._entry_at(call, 0) if at else self._entry(call.path(0))
        table = self._table(call.pid)
        flags = "O_CREAT|O_WRONLY|O_TRUNC" if call.name == "creat" else call.arguments[2 if at else 1]
        inode = None
        if entry is not None:
            inode = self.top if entry[1] == "" else self.names.get(entry)
            if inode is None and "O_CREAT" in flags:
                inode = self._new(is_directory=False)
                inode.mode = int(call.arguments[-1], 8) & 0o750 if call.name != "creat" else 0o640
                self._change(call, (entry, inode))
        if inode is None:  # not below the root; or a FIFO, a socket
            table.pop(call.result, None)
            return
        if "O_TRUNC" in flags and inode.size:
            inode.write(Write(call.ended, 0, None))
        table[call.result] = Descriptor(inode, 0, "O_APPEND" in flags)

    def _duplicate(self, call: Call, descriptor: Descriptor | None) -> None:
        if call.name == "fcntl" and "F_DUPFD" not in call.arguments[1]:
            return
        table = self._table(call.pid)
        if descriptor is None:
            table.pop(call.result, None)
        else:
            table[call.result] = descriptor

    def _move(self, call: Call, source: Entry | None, target: Entry | None, *, keeps: bool) -> None:
        inode = None if source is None else self.names.get(source)
        if inode is None or source is None:
            if target is not None:
                raise TraceError(f"line {call.ended + 1}: {call.name} of what is not known to be there")
            return
        if target is None:
            raise TraceError(f"line {call.ended + 1}: {call.name} to the outside")
        if self.names.get(target) is inode:
            return  # two names of one file: rename(2) does nothing
        self._change(call, *([] if keeps else [(source, None)]), (target, inode))

    def _change(self, call: Call, *names: tuple[Entry | None, Inode | None]) -> None:
        known = tuple((entry, inode) for entry, inode in names if entry is not None)
        if not known:
            return
        self.version += 1
        change = Change(call.ended, known, known[-1][0][0], {entry[0] for entry, _ in known})
        _carry_out(change, self.names)
        self.pending.append(change)

    def _sync_directory(self, folder: Inode, began: int) -> None:
        earlier = [change for change in self.pending if change.ended < began]
        durable = self.closed(change for change in earlier if change.durable_by is folder)
        for change in (*earlier, *self.unsettled):
            if change.ended < began:
                change.unsynced.discard(folder)
        for change in self.pending:
            if change in durable:
                _carry_out(change, self.on_disk)
        self.unsettled = [change for change in (*self.unsettled, *durable) if change.unsynced]
        self.pending = [change for change in self.pending if change not in durable]

    def _new(self, *, is_directory: bool) -> Inode:
        return Inode(next(self._numbers), is_directory)

    # Names and descriptors

    def _table(self, pid: int) -> dict[int, Descriptor]:
        if pid not in self._tables:
            parent, shares = self._parents.get(pid, (None, False))
            table = {} if parent is None else self._table(parent)
            self._tables[pid] = table if shares else dict(table)
        return self._tables[pid]

    def _entry(self, path: str, folder: Inode | None = None) -> Entry | None:
        """The directory and last name of a path; None: not below the root, or its directory is not there."""
        if folder is None:
            absolute = PurePosixPath(os.path.normpath(path))
            if not absolute.is_relative_to(self._root):
                return None
            parts = absolute.relative_to(self._root).parts
            folder = self.top
        else:
            parts = PurePosixPath(path).parts
        if not parts:
            return folder, ""
        if parts[-1] in self._ignored or (folder is self.top and parts[0] not in self._folders):
            return None
        inode: Inode | None = folder
        for part in parts[:-1]:
            inode = None if inode is None else self.names.get((inode, part))
        return None if inode is None else (inode, parts[-1])

    def _entry_at(self, call: Call, place: int) -> Entry | None:
        path = call.path(place + 1)
        if path.startswith("/") or call.number(place) < 0:
            return self._entry(path)
        descriptor = self._table(call.pid).get(call.number(place))
        return None if descriptor is None else self._entry(path, descriptor.inode)


_TIME = re.compile(r"tv_sec=(-?\d+), tv_nsec=(\d+)")


def _carry_out(change: Change, names: dict[Entry, Inode]) -> None:
    for entry, inode in change.names:
        if inode is None:
            names.pop(entry, None)
        else:
            names[entry] = inode
