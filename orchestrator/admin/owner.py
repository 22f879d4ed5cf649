"""Root looks after data that another user owns, with no more rights than that user has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def acting_as_owner(folder: Path) -> Iterator[None]:
    """Let root do it with no more rights than the owner of `folder` has; anybody else does it as they are.

    Whatever that user plants in its folders, links to files of others say, leads nowhere then, and what is made there
    belongs to it. Raises FileNotFoundError.
    """
    owner = folder.lstat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    own_gid, own_groups = os.getegid(), os.getgroups()
    os.setgroups([owner.st_gid])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_gid)
        os.setgroups(own_groups)
