"""Numbers with a unit, as people write them: durations and sizes."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from maillib.settings.base import Range
from orchestrator.problems import shown
from orchestrator.validation import refuse

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?")
_OCTETS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def seconds(value: object) -> float:
    """`30s 5m 4h 5d` in seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(int(match[1]) * _SECONDS[match[2]])
    hint = f"write {value}s?" if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
    raise refuse("duration", f"{shown(value)} is no duration; allowed: a whole number and s, m, h or d", hint)


def octets(value: object) -> int:
    """A number of octets, or one in `KiB MiB GiB`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _OCTETS.get(match[2], 1)
    hint = None
    if isinstance(value, str) and (close := re.fullmatch(r"([0-9]+) ?([kmg])i?b?", value.lower())):
        hint = f"write {close[1]}{close[2].upper()}iB?"
    raise refuse("size", f"{shown(value)} is no size; allowed: octets, or a whole number and KiB, MiB or GiB", hint)


def duration_text(value: float) -> str:
    """`value` seconds as a person writes them; with a fraction, as plain seconds."""
    for unit, factor in reversed(_SECONDS.items()):
        if value and value % factor == 0:
            return f"{int(value) // factor}{unit}"
    return f"{value:g}s"


def size_text(value: float) -> str:
    for unit, factor in reversed(_OCTETS.items()):
        if value and value % factor == 0:
            return f"{int(value) // factor}{unit}"
    return str(value)


@dataclass(frozen=True, slots=True)
class Notation:
    """How people write numbers of one unit."""

    parse: Callable[[object], float]
    text: Callable[[int | float], str]
    schema: dict[str, object]
    """JSON Schema."""


_SIZES = [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]

UNITS = {
    "seconds": Notation(seconds, duration_text, {"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
    "octets": Notation(octets, size_text, {"anyOf": _SIZES}),
}
"""By the name of a `Unit` of the settings."""


def unit_text(unit: str, value: float) -> str:
    """A number of settings as a person writes it in that unit; empty `unit`: a plain number."""
    return UNITS[unit].text(value) if unit else f"{value:.15g}"


def range_text(limits: Range, unit: str) -> str:
    return f"{unit_text(unit, limits.least)} to {unit_text(unit, limits.most)}"
