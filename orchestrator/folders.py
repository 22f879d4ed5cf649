"""The folders of a state directory, made before anything that writes to them is started.

Where the services run as a user of their own (the spec has `user`, and root applies it), that user owns the data and
may pass through the rest; configuration, keys and generations stay root's.
"""

import os
import pwd

from maillib import control
from orchestrator.place import Place
from orchestrator.spec import Spec

DATA = ("directory", "mail", "spool", "leases")
"""What the services write: all of one user, since delivery links files between them."""


def prepare(spec: Spec) -> None:
    """Make what is missing; give it to whom it belongs."""
    place = Place(spec.state_dir)
    control.make_run_dir(place.run)
    passed = [place.state_dir, place.run, place.run / "services", place.logs]
    data = [place.state_dir / name for name in DATA]
    for folder in [*passed, *data]:
        folder.mkdir(mode=0o750, exist_ok=True)
    user = _user(spec)
    if user is None or os.geteuid() != 0:
        return
    for folder in passed:
        os.chown(folder, -1, user.pw_gid)
    for folder in data:
        if folder.stat().st_uid != user.pw_uid:  # new, or of another user before: then all that is in it, too
            for path in [*folder.rglob("*"), folder]:
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _user(spec: Spec) -> pwd.struct_passwd | None:
    """The one user of all services; None: they run as whoever applies."""
    names = {service.config.user for service in spec.services.values() if service.enabled}
    name = next(iter(names - {None}), None)
    return None if name is None else pwd.getpwnam(name)
