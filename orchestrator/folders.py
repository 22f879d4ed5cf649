"""The folders of a state directory, made before anything that writes to them is started.

Where the services run as a user of their own (the spec has `user`, and root applies it), that user owns the data and
may pass through the rest; configuration, keys and generations stay root's.

Root gives away nothing but what lies in the data, though that user may exchange names there while root looks: no link
is followed, and a file with names elsewhere is not given.
"""

import errno
import os
import pwd
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from maillib import control
from orchestrator.place import Place
from orchestrator.spec import Spec

DATA = ("mail", "spool", "leases", "hints")
"""What the services write: all of one user, since delivery links files between them."""
DIRECTORY = "directory"
"""The same, but accounts are made in it before the services run."""

_NOT_OURS = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})
"""Gone meanwhile; a link; a socket that somebody has put there."""


def prepare(spec: Spec) -> None:
    """Make what is missing, and let the services' user pass through what is not its own."""
    place = Place(spec.state_dir)
    control.make_run_dir(place.run)
    passed = [place.state_dir, place.run / "services", place.logs]
    for folder in [*passed, *(place.state_dir / name for name in (*DATA, DIRECTORY))]:
        folder.mkdir(mode=0o750, exist_ok=True)
    if user := services_user(spec):
        control.open_run_dir(place.run, user.pw_gid)
        for folder in passed:
            os.chown(folder, -1, user.pw_gid)


def give(spec: Spec) -> None:
    """Make the services' user the owner of the data, also of what root has just made there.

    Where that user is root, the folders alone become root's: what root then writes in them is given away with them,
    once the services have a user of their own again.
    """
    user = services_user(spec)
    folders = [spec.state_dir / name for name in (*DATA, DIRECTORY)]
    if user is not None:
        # New, or of another user before. In the directory root has perhaps just made accounts.
        _give([one for one in folders if one.name == DIRECTORY or one.stat().st_uid != user.pw_uid], folders, user)
    elif os.geteuid() == 0:
        for folder in folders:
            os.chown(folder, 0, 0)


def _give(folders: Iterable[Path], data: Iterable[Path], user: pwd.struct_passwd) -> None:
    """Make `user` the owner of `folders`, which are some of `data`, and of what is in them. Each folder itself last:
    what is broken off is begun again by the next apply.

    No database is open in this process: closing its file here would drop the locks on it.
    """
    names = Counter(_inode(status) for folder in data for _, status in _files(folder) if status.st_nlink > 1)
    for folder in folders:
        for fd, status in _files(folder):
            if stat.S_ISDIR(status.st_mode) or status.st_nlink == max(1, names[_inode(status)]):
                os.fchown(fd, user.pw_uid, user.pw_gid)
        os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _files(folder: Path) -> Iterator[tuple[int, os.stat_result]]:
    """A descriptor, for as long as the caller does not ask for the next one, of all that is in `folder`, but links."""
    for _, directories, files, around in os.fwalk(folder, follow_symlinks=False):
        for name in (*directories, *files):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=around)
            except OSError as error:
                if error.errno in _NOT_OURS:
                    continue
                raise
            try:
                yield fd, os.fstat(fd)
            finally:
                os.close(fd)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def services_user(spec: Spec) -> pwd.struct_passwd | None:
    """The one user of all services; None: they run as whoever applies, and own what they make."""
    if os.geteuid() != 0:
        return None
    names = {service.config.user for service in spec.services.values() if service.enabled}
    name = next(iter(names - {None}), None)
    try:
        return None if name is None else pwd.getpwnam(name)
    except KeyError:  # pre-flight tells
        return None
