"""Settings of the Spool service."""

from dataclasses import dataclass
from typing import Annotated

from maillib.settings.base import Range, Seconds
from maillib.settings.change import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """`settings` of a service with `protocol: spool`."""

    retry: Annotated[tuple[Annotated[Seconds, Range(1, 604_800)], ...], Range(1, 100), Change.RELOAD] = (
        300.0,
        900.0,
        3600.0,
        14_400.0,
        28_800.0,
    )
    """Waits between the attempts for one recipient; the last one repeats. RFC 5321 §4.5.4.1."""
    give_up_after: Annotated[Seconds, Range(60, 2_592_000), Change.RELOAD] = 432_000.0
    """Age of a message at which what is still undelivered is returned to its sender."""
    parallel: Annotated[int, Range(1, 256), Change.RELOAD] = 64
    """Messages worked on at the same time by one process. They wait for the disk together and share its syncs; of each,
    the envelope is in memory."""
