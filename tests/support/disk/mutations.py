"""Whether the check of the order of system calls would notice that a sync is missing: take away one after the other.

    python -m tests.support.disk.mutations

Prints each place of the code that syncs, and what the check says of a run in which that place does nothing. Exit
status 1 when there is a place that the check does not miss and that is not among the few of `SPARE`.
"""

import sys
import tempfile
from pathlib import Path

from tests.support.disk.engine_work import ENGINES
from tests.support.disk.promises import Watch
from tests.support.disk.recording import Recording, record, record_engine, seen_sites
from tests.support.disk.strace import events

RUNS = (*ENGINES, "workers")
"""What is recorded: each engine alone, which is quick, and the real workers."""

SPARE = {
    "EmbeddedPenalties.__init__: make_directory": "for a file of which nothing has to survive a power cut",
    "SpoolFolders.__init__.<locals>.folder": "the next one syncs the same directory; the last, spare/, may be lost",
    "FileDraft._finish: os.fsync": "an early one: what is long is synced again, quickly, with its batch",
}
"""Syncs that no promise needs, and why they are there."""


def run(name: str, folder: Path, *, skipped_site: str = "") -> Recording:
    if name == "workers":
        return record(folder, skipped_site=skipped_site)
    return record_engine(folder, name, skipped_site=skipped_site)


def violations(made: Recording) -> list[str]:
    lines = made.lines()
    watch = Watch(made.disk(lines))
    watch.follow(events(lines))
    return watch.violations


def places(name: str) -> list[str]:
    """Where that run syncs. Raises AssertionError when the check finds something wrong as it is."""
    with tempfile.TemporaryDirectory(prefix="postroom-syncs-") as folder:
        made = run(name, Path(folder))
        assert not (found := violations(made)), f"{name}, with all syncs: {found}"
        return seen_sites(made)


def without(name: str, place: str) -> list[str]:
    """What the check says of that run when the place does not sync."""
    with tempfile.TemporaryDirectory(prefix="postroom-syncs-") as folder:
        return violations(run(name, Path(folder), skipped_site=place))


def main() -> int:
    found: dict[str, tuple[str, str]] = {}
    """Of each place that is missed: by which run, and how it is said."""
    unmissed: set[str] = set()
    for name in RUNS:
        for place in places(name):
            if place in found:
                continue
            if complaints := without(name, place):
                found[place] = name, complaints[0].partition(": ")[2]
            else:
                unmissed.add(place)
    print("| sync taken away | run | the check says |\n| --- | --- | --- |")
    for place, (name, says) in sorted(found.items()):
        print(f"| `{place}` | {name} | {says} |")
    missing = 0
    for place in sorted(unmissed - found.keys()):
        reasons = [reason for words, reason in SPARE.items() if words in place]
        missing += not reasons
        print(f"| `{place}` | | {reasons[0] if reasons else '**nothing**'} |")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
