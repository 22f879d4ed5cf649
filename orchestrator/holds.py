"""Holds: services that a person has stopped, and that stay stopped until a person says otherwise.

The ledger is STATE_DIR/holds.json, replaced by rename under a lock (STATE_DIR/holds.lock), so that the command line can
write it while the agent is dead. Beside the holds it has the stops that we have announced ourselves (`down`, `apply`,
a removal) and the holds that were released: of these nobody makes a hold. Any start, by whatever way, ends both.

A stop by `supervisorctl` is a hold from its first moment (`in_force`), also while nobody has written it down: the agent
does so after a moment, once it is no restart, or when it lives again.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from maillib.errors import ConfigError
from orchestrator import generation
from orchestrator.place import AGENT
from orchestrator.supervisor import ALIVE, Program, ProgramState

SCHEMA_VERSION = 1

LEDGER = "holds.json"

BY_HAND = "supervisorctl"
"""Who stopped what no verb of ours did: supervisord does not tell more."""


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
    """Service to the verb that stops it, or has released it."""


def read(state_dir: Path) -> dict[str, Hold]:
    """The holds that are written down, by service name. Raises ConfigError for a damaged ledger."""
    return _load(state_dir).holds


def announced(state_dir: Path) -> dict[str, str]:
    """Services that one of our own verbs stops, has stopped or has released; service name to verb."""
    return _load(state_dir).announced


def in_force(state_dir: Path, programs: Mapping[str, Program]) -> dict[str, Hold]:
    """The holds as they are, by what supervisord says now. Raises ConfigError for a damaged ledger.

    One whose program runs is over, though nobody has crossed it out yet; a service that was stopped by hand is held.
    The agent never is.
    """
    ledger = _load(state_dir)
    found = {
        name: hold for name, hold in ledger.holds.items() if name not in programs or programs[name].state not in ALIVE
    }
    for name, program in programs.items():
        if was_stopped(program) and name not in found and name not in ledger.announced and name != AGENT:
            found[name] = by_hand(program.ended)
    return found


def write_down(state_dir: Path, programs: Mapping[str, Program]) -> None:
    """Keep the holds in force through the end of the supervisord that tells of them."""
    for name, held in in_force(state_dir, programs).items():
        hold(state_dir, name, held)


def by_hand(when: float) -> Hold:
    """The hold that a stop by supervisorctl is."""
    return Hold(who=BY_HAND, when=when, why="stopped by hand")


def was_stopped(program: Program) -> bool:
    """It has run, and was stopped since: a new supervisord, or a program that is loaded anew, does not know of that."""
    return program.state is ProgramState.STOPPED and program.since > 0


def hold(state_dir: Path, name: str, held: Hold) -> None:
    """Keep `name` stopped. An older hold of it stays as it is."""
    with _changing(state_dir) as ledger:
        ledger.holds.setdefault(name, held)
        ledger.announced.pop(name, None)


def release(state_dir: Path, names: Iterable[str], *, by: str) -> set[str]:
    """End holds of services that stay stopped until somebody starts them; whose holds were written and have ended.

    That they are stopped makes no new hold.
    """
    names = set(names)
    with _changing(state_dir) as ledger:
        ledger.announced.update(dict.fromkeys(names, by))
        return {name for name in names if ledger.holds.pop(name, None) is not None}


def forget(state_dir: Path, names: Iterable[str]) -> set[str]:
    """End everything that is written of `names`: they are started, or gone. Whose holds have ended."""
    names = set(names)
    known = _load(state_dir)
    if names.isdisjoint(known.holds.keys() | known.announced.keys()):
        return set()
    with _changing(state_dir) as ledger:
        for name in names:
            ledger.announced.pop(name, None)
        return {name for name in names if ledger.holds.pop(name, None) is not None}


def announce_stop(state_dir: Path, names: Iterable[str], *, by: str) -> None:
    """Say before a stop of ours that it is ours."""
    with _changing(state_dir) as ledger:
        ledger.announced.update(dict.fromkeys(names, by))


def _load(state_dir: Path) -> _Ledger:
    path = state_dir / LEDGER
    try:
        data = json.loads(path.read_text())
        holds = {str(name): Hold(**entry) for name, entry in data["holds"].items()}
        return _Ledger(holds, dict(data["announced"]))
    except FileNotFoundError:
        return _Ledger()
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(f"{path} is damaged: mend it, or remove it, which ends all holds") from None


@contextlib.contextmanager
def _changing(state_dir: Path) -> Iterator[_Ledger]:
    fd = os.open(state_dir / "holds.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        ledger = _load(state_dir)
        yield ledger
        aside = state_dir / f"{LEDGER}.tmp"
        generation.write_file(aside, generation.encode({"schema_version": SCHEMA_VERSION, **asdict(ledger)}))
        aside.replace(state_dir / LEDGER)
    finally:
        os.close(fd)
