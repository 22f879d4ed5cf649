"""The state directory and what is below it: there or to be made, ours, closed to others, on a disk of this machine."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from maillib import mounts
from orchestrator import folders, generation
from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.preflight.host import Host, user_name
from orchestrator.spec import Spec

UNUSABLE = Kind(
    "state-dir-unusable",
    Severity.ERROR,
    "The state directory, a folder in it, or the folder it is to be made in, is no directory, or cannot be written by "
    "who applies.",
    "name another `state_dir`, or give it to who applies",
)
READ_ONLY = Kind(
    "state-dir-read-only",
    Severity.ERROR,
    "The state directory is on a file system that is mounted read-only.",
    "mount it for writing, or name another `state_dir`",
)
STRANGER = Kind(
    "owner-stranger",
    Severity.ERROR,
    "Something in the state directory belongs to a user who is neither root nor who applies: that user could replace "
    "what is started.",
    "give it back (`chown`), or name another `state_dir`",
)
OPEN = Kind(
    "mode-open",
    Severity.ERROR,
    "Something in the state directory can be written by everybody, or by a group that is not of who applies.",
    "close it: `chmod go-w`",
)
PARENT_OPEN = Kind(
    "parent-open",
    Severity.WARNING,
    "A folder above the state directory can be written by everybody and is not sticky: anybody could put another "
    "state directory in its place.",
    "`chmod o-w`, or `chmod +t`",
)
OTHERS_DATA = Kind(
    "data-of-others",
    Severity.ERROR,
    "There are data before the first apply that do not belong to the services' user; root would give them away.",
    "name another `state_dir`; where it is mail of this suite, `chown -R` it to that user",
)
APART = Kind(
    "file-systems-differ",
    Severity.ERROR,
    "Spool and store are on different file systems, so that deliveries could not link the spool's file.",
    "put both on one file system",
)
OWNERS = Kind(
    "data-owners-differ",
    Severity.ERROR,
    "Spool and store belong to different users, and who applies cannot give them to one.",
    "`chown -R` both to the user of the services",
)
NETWORK = Kind(
    "network-file-system",
    Severity.ERROR,
    "Data are on a file system that other machines can see: locks and shared memory cannot be relied on there.",
    "use a disk of this machine",
)
HOLDS = Kind(
    "holds-damaged",
    Severity.ERROR,
    "The list of services that are held (`holds.json`) cannot be read.",
    "mend it, or remove it, which ends all holds",
)
SOCKETS = Kind(
    "sockets-elsewhere",
    Severity.NOTE,
    "The path of the state directory is too long for unix sockets (107 octets), which are in a short folder instead.",
    "nothing; or move the state directory up",
)
SOCKETS_STRANGER = Kind(
    "sockets-stranger",
    Severity.ERROR,
    "The folder for sockets is there and is no directory of who applies alone.",
    "remove it, or give `state_dir` a shorter path",
)

_WHERE = ("state_dir",)
_WRITTEN = (*folders.DATA, folders.DIRECTORY, "generations", "log", "run", "tls")
_MOST_ENTRIES = 1000
"""Of one folder that are looked at."""
_LOOKED_INTO = (
    ".",
    "spool",
    "directory",
    "tls",
    "run",
    "generations",
    "generations/current",
    "generations/current/services",
)
"""Where whoever can write decides what is started, who may log in and what is delivered. `mail` has a folder for each
account, closed by its own."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something below the state directory."""

    path: Path
    uid: int
    gid: int
    mode: int
    given_away: bool
    """Of the data: an apply by root gives it to the services' user."""


def unusable(path: Path, host: Host) -> Finding | None:
    """Why nothing could be written at `path`, nor looked at below it."""
    try:
        existing = _existing(path)
    except PermissionError as error:
        return UNUSABLE.at(_WHERE, f"{host.me} may not pass to {error.filename}")
    if not existing.is_dir():
        return UNUSABLE.at(_WHERE, f"{existing} is no directory")
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        return READ_ONLY.at(_WHERE, f"{existing} is on a file system that is mounted read-only")
    if not _may_write(existing):
        return UNUSABLE.at(_WHERE, f"{existing} is not writable for {host.me}")
    return None


def find(spec: Spec, host: Host) -> Iterator[Finding]:
    """Of one that is usable."""
    yield from _parents(spec.state_dir)
    yield from _unwritable(spec.state_dir, host)
    for entry in _entries(spec.state_dir):
        yield from judge(entry, host)
    yield from _data(spec, host)
    yield from _networks(spec.state_dir)
    yield from _sockets(spec)


def _existing(path: Path) -> Path:
    """It, or the nearest above it that is there. A link that leads nowhere is there. Raises PermissionError."""
    return next(one for one in (path, *path.parents) if one.is_symlink() or one.exists())


def judge(entry: Entry, host: Host) -> Iterator[Finding]:
    """Whose it is, and who else may write it."""
    owners = {host.uid, 0}
    if entry.uid not in owners and not (entry.given_away and host.is_root):
        yield STRANGER.at(_WHERE, f"{entry.path} belongs to {user_name(entry.uid)}, not to {host.me}")
    elif entry.mode & stat.S_IWOTH:
        yield OPEN.at(_WHERE, f"everybody may write to {entry.path} (mode {entry.mode:04o})", f"chmod o-w {entry.path}")
    elif entry.mode & stat.S_IWGRP and entry.gid != host.gid and not entry.given_away:
        said = f"others may write to {entry.path}: group {entry.gid} may (mode {entry.mode:04o})"
        yield OPEN.at(_WHERE, said, f"chmod g-w {entry.path}")


def _entries(state_dir: Path) -> Iterator[Entry]:
    if not state_dir.is_dir():
        return
    yield _entry(state_dir, state_dir.stat(), given_away=False)
    data = (*folders.DATA, folders.DIRECTORY)
    for name in _LOOKED_INTO:
        folder = state_dir / name
        try:
            found = [*islice(folder.iterdir(), _MOST_ENTRIES)]
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # not made yet; or closed to us, and then its own entry tells
        for path in found:
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISLNK(status.st_mode) or stat.S_ISSOCK(status.st_mode):
                continue  # a link has no mode of its own; sockets are closed by their folder
            yield _entry(path, status, given_away=path.relative_to(state_dir).parts[0] in (*data, "run", "log"))


def _unwritable(state_dir: Path, host: Host) -> Iterator[Finding]:
    """Folders that somebody else, root say, has made there before."""
    for name in _WRITTEN:
        folder = state_dir / name
        if folder.is_dir() and not _may_write(folder):
            yield UNUSABLE.at(_WHERE, f"{folder} is not writable for {host.me}", f"chown -R {host.me} {folder}")


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _entry(path: Path, status: os.stat_result, *, given_away: bool) -> Entry:
    return Entry(path, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), given_away)


def _parents(state_dir: Path) -> Iterator[Finding]:
    for path in state_dir.parents:
        mode = path.stat().st_mode if path.exists() else 0
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield PARENT_OPEN.at(_WHERE, f"everybody may write to {path}, above the state directory")


def _data(spec: Spec, host: Host) -> Iterator[Finding]:
    """One file system and one owner; and nothing that was there before the suite, /var/spool say."""
    user = folders.services_user(spec)
    status = {name: path.stat() for name in folders.DATA if (path := spec.state_dir / name).is_dir()}
    if user is not None and not generation.folder(spec.state_dir).exists():
        for name, found in status.items():
            path = spec.state_dir / name
            if found.st_uid != user.pw_uid and any(path.iterdir()):
                said = f"{path} is there already and does not belong to {user.pw_name}"
                yield OTHERS_DATA.at(_WHERE, said)
    if "spool" in status and "mail" in status:
        spool, mail = status["spool"], status["mail"]
        if spool.st_dev != mail.st_dev:
            yield APART.at(_WHERE, f"{spec.state_dir}/spool and {spec.state_dir}/mail are on different file systems")
        if spool.st_uid != mail.st_uid and not host.is_root:
            said = f"the spool belongs to {user_name(spool.st_uid)}, the store to {user_name(mail.st_uid)}"
            yield OWNERS.at(_WHERE, said)


def _networks(state_dir: Path) -> Iterator[Finding]:
    for path in dict.fromkeys((_existing(state_dir), *(state_dir / name for name in folders.DATA))):
        kind = mounts.network_kind(path) if path.exists() else None
        if kind is not None:
            yield NETWORK.at(_WHERE, f"{path} is on a network file system ({kind})")


def _sockets(spec: Spec) -> Iterator[Finding]:
    if spec.run_dir == spec.state_dir / "run":
        return
    yield SOCKETS.at(_WHERE, f"the path {spec.state_dir} is too long for sockets; they are in {spec.run_dir}")
    if os.path.lexists(spec.run_dir):
        found = spec.run_dir.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            said = f"{spec.run_dir} is no directory of our own that only we can write to"
            yield SOCKETS_STRANGER.at(_WHERE, said)
