"""Facts of this host and of who asks, looked up once: the checks that need no more are pure functions of them."""

import os
import pwd
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_STATUS = Path("/proc/self/status")
_FILES_OF_ALL = Path("/proc/sys/fs/file-max")
_UNPRIVILEGED_DEFAULT = 1024
_CAP_NET_BIND_SERVICE = 10
"""Bit of the capability to bind low ports. capabilities(7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the checks are told."""

    uid: int
    gid: int
    """Effective ones, of who applies."""
    first_free_port: int
    """Ports from here on are anybody's. ip(7), ip_unprivileged_port_start."""
    binds_low_ports: bool
    """This process has the right to bind the others; what it starts inherits it."""
    open_files: int | None
    """Hard limit for one process; None: there is none."""
    open_files_of_all: int | None
    """For all processes of the host together; None: not known."""
    now: float
    """Unix time."""

    @property
    def is_root(self) -> bool:
        return self.uid == 0

    @property
    def me(self) -> str:
        return user_name(self.uid)


def look() -> Host:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Host(
        uid=os.geteuid(),
        gid=os.getegid(),
        first_free_port=_number(_UNPRIVILEGED) or _UNPRIVILEGED_DEFAULT,
        binds_low_ports=_has_capability(_CAP_NET_BIND_SERVICE),
        open_files=None if hard == resource.RLIM_INFINITY else hard,
        open_files_of_all=_number(_FILES_OF_ALL),
        now=time.time(),
    )


def user_name(uid: int) -> str:
    """For messages."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _has_capability(bit: int) -> bool:
    """Where the kernel does not tell, root has every right and nobody else has any."""
    try:
        lines = _STATUS.read_text().splitlines()
        effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    except (OSError, ValueError, StopIteration):
        return os.geteuid() == 0
    return bool(effective >> bit & 1)
