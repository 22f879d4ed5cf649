"""Which file systems belong to this machine alone: told by the kernel's list of mounts.

A system without one (macOS) is trusted, and so is a device not in it (btrfs subvolumes have numbers of their own).
"""

import os
from pathlib import Path

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2"}
)
"""File systems seen by more than one machine. Locks of one host do not hold on the other, and SQLite's WAL needs
memory shared by all its processes. FUSE's remote ones are found by `_NETWORK_FUSE`."""
_NETWORK_FUSE = frozenset({"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.ceph-fuse", "fuse.rclone"})

_MOUNTS = Path("/proc/self/mountinfo")


def network_kind(path: Path) -> str | None:
    """The kind of network file system that `path` lies on; None: it lies on a disk of this machine."""
    if not _MOUNTS.exists():
        return None
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines():
        mount, _, source = line.partition(" - ")
        kind = source.split(" ")[0]
        if mount.split(" ")[2] == number and kind in _NETWORK | _NETWORK_FUSE:
            return kind
    return None
