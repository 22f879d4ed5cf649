"""Who changed what, when, from where, why, and with which result: STATE_DIR/log/audit.log, a JSON object a line.

Whoever changes what runs, or the accounts, records it here when it is done, also when it failed. Lines are appended
under a lock, each with one write: a process that dies half-way through leaves at most a line that is cut short, which
readers pass over and the next writer ends. A file that has reached `KEEP_OCTETS` becomes audit.log.1, and so on.

Keys of a line: `when` (RFC 3339, with fractions of a second), `who`, `from`, `verb`, `names`, `reason`, `result`
(`done`, or what went wrong), `before`, `after`.
"""

import contextlib
import fcntl
import json
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from maillib.settings.base import Json

LOG = "audit.log"

KEEP_OCTETS = 4 * 1024 * 1024
"""Some ten thousand acts."""
_BACKUPS = 4

DONE = "done"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One act."""

    verb: str
    """As a person would type it: `apply`, `stop`, `account set`."""
    names: tuple[str, ...] = ()
    """What it was done to: services, addresses."""
    who: str = ""
    """Empty: whoever runs this process."""
    origin: str = ""
    """From where: an address, a terminal, `local`. Empty: that of this process."""
    reason: str = ""
    result: str = DONE
    before: Json = None
    after: Json = None
    when: float = 0.0
    """Unix time; 0: now."""


def record(state_dir: Path, entry: Entry) -> None:
    """Append it. Raises OSError (a full disk, say): the act has happened, and whoever asked for it should be told."""
    moment = datetime.fromtimestamp(entry.when, UTC) if entry.when else datetime.now(UTC)
    line = {
        "when": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "who": entry.who or user(),
        "from": entry.origin or origin(),
        "verb": entry.verb,
        "names": [*entry.names],
        "reason": entry.reason,
        "result": entry.result,
        "before": entry.before,
        "after": entry.after,
    }
    _append(state_dir / "log" / LOG, json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def since(state_dir: Path, when: float, *, names: Sequence[str] = ()) -> list[Entry]:
    """What was done after the Unix time `when`, oldest first; with `names`, only what was done to one of them."""
    path = state_dir / "log" / LOG
    found: list[Entry] = []
    for file in (path, *(_backup(path, number) for number in range(1, _BACKUPS + 1))):
        older = _entries(file)
        found = [entry for entry in older if entry.when > when] + found
        if not older or older[0].when <= when:
            break
    return [entry for entry in found if not names or set(names) & set(entry.names)]


def user() -> str:
    """Who runs this process; behind sudo, who asked for it."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    asked = os.environ.get("SUDO_USER")
    return f"{asked} as {name}" if asked and os.getuid() == 0 and asked != name else name


def origin() -> str:
    """From where this process was started, as far as it can tell."""
    if client := os.environ.get("SSH_CONNECTION"):
        return client.split()[0]
    for stream in (sys.stdin, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # none, closed, or no terminal
            return os.ttyname(stream.fileno()).removeprefix("/dev/")
    return "local"


def _append(path: Path, line: bytes) -> None:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with _locked(path) as fd:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":  # its writer was killed
            line = b"\n" + line
        written = os.write(fd, line)
        if written < len(line):
            os.ftruncate(fd, size)
            os.write(fd, line)  # a full disk says so now


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file at `path`, opened to append and locked; a full one has been moved away."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _is_at(path, fd):
                continue  # moved away while we waited
            if os.fstat(fd).st_size < KEEP_OCTETS:
                yield fd
                return
            for number in range(_BACKUPS, 1, -1):
                with contextlib.suppress(FileNotFoundError):
                    _backup(path, number - 1).replace(_backup(path, number))
            path.replace(_backup(path, 1))
        finally:
            os.close(fd)


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _entries(path: Path) -> list[Entry]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [entry for line in lines if (entry := _entry(line)) is not None]


def _entry(line: bytes) -> Entry | None:
    """None: the line was cut short."""
    try:
        row = json.loads(line)
        return Entry(
            when=datetime.fromisoformat(row["when"]).timestamp(),
            who=str(row["who"]),
            origin=str(row["from"]),
            verb=str(row["verb"]),
            names=tuple(map(str, row["names"])),
            reason=str(row["reason"]),
            result=str(row["result"]),
            before=row["before"],
            after=row["after"],
        )
    except (ValueError, KeyError, TypeError):
        return None
