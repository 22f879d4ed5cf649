"""What the kernel says of a program and its children: CPU time and memory. Linux only."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in octets."""

    pss: int
    """Its own, and its share of what it has in common with others: adds up over processes."""
    private: int
    """What would be free if it ended."""


def tree(pid: int) -> tuple[int, ...]:
    """`pid` and its descendants, those that have ended left out."""
    children: dict[int, list[int]] = {}
    for process, stat in _stats():
        children.setdefault(int(stat[1]), []).append(process)
    found = [pid]
    for parent in found:  # grows while it is read
        found += children.get(parent, [])
    return tuple(found)


def parent(pid: int) -> int:
    return next(int(stat[1]) for process, stat in _stats() if process == pid)


def cpu_s(*pids: int) -> float:
    """CPU time that programs have used until now, with their children, those that have ended included."""
    wanted = {process for pid in pids for process in tree(pid)}
    ticks = sum(sum(map(int, stat[11:15])) for process, stat in _stats() if process in wanted)
    return ticks / TICKS_PER_S


def peak_octets(*pids: int) -> int:
    """The largest memory that one process of these programs has had in RAM."""
    return max(_field(Path(f"/proc/{process}/status"), "VmHWM") for pid in pids for process in tree(pid))


def memory(pid: int) -> Memory:
    """Of one process alone."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    return Memory(_field(rollup, "Pss"), _field(rollup, "Private_Clean") + _field(rollup, "Private_Dirty"))


def command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Each process with its fields of proc(5) stat, from `state` on."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            yield int(entry.name), text.rpartition(")")[2].split()


def _field(file: Path, name: str) -> int:
    """A line `Name:   123 kB`, in octets."""
    for line in file.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{file} has no {name}")
