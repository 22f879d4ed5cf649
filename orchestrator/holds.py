"""Holds: services that a person has stopped, and that stay stopped until a person says otherwise.

The ledger is STATE_DIR/holds.json, replaced by rename under a lock (STATE_DIR/holds.lock), so that the command line can
write it while the agent is dead. Beside the holds it has the stops that we have announced ourselves (`down`, `apply`,
a removal): of those the agent makes no hold. Any start, by whatever way, ends both.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

SCHEMA_VERSION = 1

LEDGER = "holds.json"


@dataclass(frozen=True, slots=True)
class Hold:
    """Who keeps a service stopped, since when, and why."""

    who: str
    when: float
    """Unix time."""
    why: str


@dataclass(slots=True)
class _Ledger:
    holds: dict[str, Hold] = field(default_factory=dict)
    announced: dict[str, str] = field(default_factory=dict)
    """Service to the verb that stops it."""


def read(state_dir: Path) -> dict[str, Hold]:
    """The holds by service name."""
    return _load(state_dir).holds


def announced(state_dir: Path) -> dict[str, str]:
    """Services that one of our own verbs stops, or has stopped; service name to verb."""
    return _load(state_dir).announced


def hold(state_dir: Path, name: str, *, who: str, why: str) -> None:
    """Keep `name` stopped. An older hold of it stays as it is."""
    with _changing(state_dir) as ledger:
        ledger.holds.setdefault(name, Hold(who=who, when=time.time(), why=why))


def release(state_dir: Path, names: Iterable[str]) -> set[str]:
    """End the holds and announced stops of `names`; whose holds were ended."""
    names = list(names)
    known = _load(state_dir)
    if not any(name in known.holds or name in known.announced for name in names):
        return set()
    with _changing(state_dir) as ledger:
        ended = {name for name in names if ledger.holds.pop(name, None) is not None}
        for name in names:
            ledger.announced.pop(name, None)
    return ended


def announce_stop(state_dir: Path, names: Iterable[str], *, by: str) -> None:
    """Say before a stop of ours that it is ours."""
    with _changing(state_dir) as ledger:
        ledger.announced.update(dict.fromkeys(names, by))


def _load(state_dir: Path) -> _Ledger:
    try:
        data = json.loads((state_dir / LEDGER).read_text())
    except FileNotFoundError:
        return _Ledger()
    return _Ledger({name: Hold(**entry) for name, entry in data["holds"].items()}, dict(data["announced"]))


@contextlib.contextmanager
def _changing(state_dir: Path) -> Iterator[_Ledger]:
    fd = os.open(state_dir / "holds.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        ledger = _load(state_dir)
        yield ledger
        aside = state_dir / f"{LEDGER}.tmp"
        with aside.open("w") as file:
            json.dump({"schema_version": SCHEMA_VERSION, **asdict(ledger)}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(state_dir / LEDGER)
    finally:
        os.close(fd)
