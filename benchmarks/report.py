"""Tables, and figures with their spread."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime

KIB = 1024
MIB = 1024 * 1024


def spread(values: Sequence[float]) -> str:
    """Median, and in brackets the least and the greatest."""
    middle = f"{statistics.median(values):,.{_digits(values)}f}"
    return (
        middle
        if len(values) == 1
        else f"{middle} ({min(values):,.{_digits(values)}f}–{max(values):,.{_digits(values)}f})"
    )


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints it, as Markdown that reads well in a terminal too."""
    widths = [max(len(line[column]) for line in (heads, *rows)) for column in range(len(heads))]
    print(f"\n{title}\n")
    for line in (heads, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |", flush=True)


def machine() -> str:
    """One line: when and where the figures come from."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    load = os.getloadavg()[0]
    return f"{now}, Python {platform.python_version()}, {os.cpu_count()} cores, load average {load:.1f} at the start"


def _digits(values: Sequence[float]) -> int:
    return 0 if max(values) >= 100 else 1
