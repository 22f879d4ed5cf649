"""The folders of a state directory, made before anything that writes to them is started.

Where the services run as a user of their own (the spec has `user`, and root applies it), that user owns the data and
may pass through the rest; configuration, keys and generations stay root's.
"""

import os
import pwd

from maillib import control
from orchestrator.place import Place
from orchestrator.spec import Spec

DATA = ("mail", "spool", "leases")
"""What the services write: all of one user, since delivery links files between them."""
DIRECTORY = "directory"
"""The same, but accounts are made in it before the services run."""


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
    for folder in (spec.state_dir / name for name in (*DATA, DIRECTORY)):
        if user is None:
            if os.geteuid() == 0:
                os.chown(folder, 0, 0)
        elif folder.name == DIRECTORY or folder.stat().st_uid != user.pw_uid:  # new, or of another user before
            for path in [*folder.rglob("*"), folder]:
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


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
