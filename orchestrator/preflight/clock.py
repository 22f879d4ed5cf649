"""The clock of this host: certificates, retries and holds go by it."""

import datetime
from collections.abc import Iterator

from orchestrator import generation
from orchestrator.generation import Generation
from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.preflight.host import Host
from orchestrator.spec import Spec

IMPLAUSIBLE = Kind(
    "clock-implausible",
    Severity.ERROR,
    "The clock shows a year before this program was written, or one after 2099.",
    "set the clock, and let it be kept (NTP)",
)
BEHIND = Kind(
    "clock-behind",
    Severity.WARNING,
    "The clock shows a time before the newest generation was made.",
    "set the clock, and let it be kept (NTP)",
)

_FIRST_YEAR, _LAST_YEAR = 2025, 2099
_SLACK_S = 60.0


def find(spec: Spec, host: Host) -> Iterator[Finding]:
    newest = max((_made(one) for one in generation.every(spec.state_dir)), default=None)
    yield from judge(host.now, newest)


def judge(now: float, newest: float | None) -> Iterator[Finding]:
    """`newest`: when the newest generation was made."""
    shown = datetime.datetime.fromtimestamp(now, datetime.UTC)
    if not _FIRST_YEAR <= shown.year <= _LAST_YEAR:
        yield IMPLAUSIBLE.at((), f"the clock shows {shown:%Y-%m-%d %H:%M} UTC")
    elif newest is not None and now < newest - _SLACK_S:
        made = datetime.datetime.fromtimestamp(newest, datetime.UTC)
        yield BEHIND.at((), f"the clock shows {shown:%Y-%m-%d %H:%M} UTC, a generation is of {made:%Y-%m-%d %H:%M}")


def _made(one: Generation) -> float:
    try:
        return one.path.stat().st_mtime
    except FileNotFoundError:  # it has just been thrown away
        return 0.0
