"""Room on the file systems of the state directory."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.spec import Spec

FULL = Kind(
    "space-none",
    Severity.ERROR,
    "Less than 4 MiB are free: new mail is refused (452), and a generation may not fit.",
    "make room, or use a larger disk",
)
LOW = Kind(
    "space-low",
    Severity.WARNING,
    "Less than 1 GiB is free, and less than a twentieth of the file system.",
    "make room before mail is refused",
)
NO_INODES = Kind(
    "inodes-none",
    Severity.ERROR,
    "Less than 256 inodes are free: new mail is refused (452), and a generation may not fit.",
    "remove files, or use a file system with more inodes",
)
FEW_INODES = Kind(
    "inodes-low",
    Severity.WARNING,
    "Less than a twentieth of the inodes is free, and less than 100,000: a message takes one or two.",
    "remove files, or use a file system with more inodes",
)

_LEAST_OCTETS, _FEW_OCTETS = 4 << 20, 1 << 30
_LEAST_INODES, _FEW_INODES = 256, 100_000
_SHARE = 20
_WHERE = ("state_dir",)


@dataclass(frozen=True, slots=True)
class Room:
    """Of one file system."""

    path: Path
    octets: int
    octets_free: int
    inodes: int
    """0: it has no fixed number."""
    inodes_free: int


def find(spec: Spec) -> Iterator[Finding]:
    existing = next(path for path in (spec.state_dir, *spec.state_dir.parents) if path.is_dir())
    devices = set()
    for path in (existing, *(spec.state_dir / name for name in ("spool", "mail", "log"))):
        if path.is_dir() and (device := path.stat().st_dev) not in devices:
            devices.add(device)
            found = os.statvfs(path)
            size = found.f_frsize
            yield from judge(Room(path, found.f_blocks * size, found.f_bavail * size, found.f_files, found.f_favail))


def judge(room: Room) -> Iterator[Finding]:
    if room.octets_free < _LEAST_OCTETS:
        yield FULL.at(_WHERE, f"{_megabytes(room.octets_free)} are free at {room.path}")
    elif room.octets_free < min(_FEW_OCTETS, room.octets // _SHARE):
        yield LOW.at(_WHERE, f"{_megabytes(room.octets_free)} are free at {room.path}")
    if room.inodes and room.inodes_free < _LEAST_INODES:
        yield NO_INODES.at(_WHERE, f"{room.inodes_free} inodes are free at {room.path}")
    elif room.inodes and room.inodes_free < min(_FEW_INODES, room.inodes // _SHARE):
        yield FEW_INODES.at(_WHERE, f"{room.inodes_free} inodes are free at {room.path}")


def _megabytes(octets: int) -> str:
    return f"{octets >> 20} MiB" if octets >> 20 else f"{octets} octets"
