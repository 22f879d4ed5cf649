"""The user that the services' workers run as."""

import grp
import os
from collections.abc import Iterator

from orchestrator.preflight import host as host_
from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.preflight.host import Host
from orchestrator.spec import Spec

MISSING = Kind(
    "user-missing",
    Severity.ERROR,
    "This host has no user of the name that a service's workers are to drop to.",
    "make it (`useradd --system NAME`), or name another one",
)
NO_GROUP = Kind(
    "group-missing",
    Severity.ERROR,
    "The first group of that user does not exist on this host.",
    "make the group (`groupadd`), or give the user one that exists (`usermod -g`)",
)
NOT_ROOT = Kind(
    "user-not-permitted",
    Severity.ERROR,
    "Only root can have workers run as another user.",
    "apply as root, or leave `user` out",
)
SEVERAL = Kind(
    "user-differs",
    Severity.ERROR,
    "Services that link and read one another's files (smtp, spool, and all that read the store) have different users.",
    "give all services the same `user`",
)
AS_ROOT = Kind(
    "user-root",
    Severity.WARNING,
    "Workers that talk to strangers would run as root.",
    "set `user` of every service to a system user made for mail",
)


def find(spec: Spec, host: Host) -> Iterator[Finding]:
    wanted = {name: service.config.user for name, service in spec.services.items() if service.enabled}
    uids: dict[int, str] = {}
    for name, user in wanted.items():
        where = ("services", name, "user")
        entry = host_.user(user) if user is not None else None
        if user is not None and entry is None:
            yield MISSING.at(where, f"there is no user {user} on this host")
            continue
        uid, gid = (entry.pw_uid, entry.pw_gid) if entry else (host.uid, host.gid)
        if entry and not host.is_root and uid != host.uid:
            yield NOT_ROOT.at(where, f"only root can have workers run as {user}; this is {host.me}")
        if entry and not _has_name(gid):
            yield NO_GROUP.at(where, f"the group of user {user} has number {gid} and no name")
        if uids and uid not in uids:
            other = next(iter(uids.values()))
            yield SEVERAL.at(where, f"{name} would run as {host_.user_name(uid)}, {other} does not")
        uids.setdefault(uid, name)
    if 0 in uids:
        yield AS_ROOT.at(("services", uids[0], "user"), "the workers of all services would run as root")


def _has_name(gid: int) -> bool:
    if gid == os.getegid():
        return True
    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True
