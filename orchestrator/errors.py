"""Exit codes of `postroom`, and the errors of the control plane that have one of their own."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from maillib.errors import Conflict, MailError, TemporaryError
from maillib.settings.base import Json


class Exit(IntEnum):
    """Above 63: the meanings of sysexits.h."""

    DONE = 0
    FAILED = 1
    DIFFERENCES = 2
    NOT_AS_WANTED = 3
    """Not in the desired run state, or not in time."""
    ROLLED_BACK = 4
    """apply failed after the switch began."""
    USAGE = 64
    BAD_SPEC = 65
    UNAVAILABLE = 69
    """supervisord or the agent does not answer though it should."""
    PREFLIGHT = 73
    """Nothing changed."""
    TRY_AGAIN = 75
    NOT_PERMITTED = 77


class SupervisorDown(TemporaryError):
    """Nobody answers on supervisord's socket."""


class SupervisorEnding(SupervisorDown):
    """supervisord is on its way down, and waits for what still finishes."""


class SupervisorFault(MailError):
    """supervisord refused a call."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"supervisord refuses: {text}")
        self.code = code


class Locked(TemporaryError):
    """Somebody else changes this state directory."""


class BadPlan(MailError):
    """The file is no sealed plan, not whole, or not for this suite or version."""


class PlanStale(TemporaryError):
    """What a sealed plan was made from has moved since. Nothing has been changed."""

    def __init__(self, moved: Sequence["Moved"]) -> None:
        lines = "\n".join(map(str, moved))
        super().__init__(f"the plan is stale and nothing was changed: plan again. Since it was made:\n{lines}")
        self.moved = moved


class Moved(Protocol):
    """One thing that did; `str` is a line for people."""

    def as_json(self) -> dict[str, Json]: ...


class PreflightFailed(MailError):
    """This host is not as the spec needs it; each line of the text is one finding."""


class NotReady(MailError):
    """A service did not become what was asked for, or not in time; the text says which and why."""


class ChangeRefused(Conflict):
    """A master did not take a new configuration: its old workers go on serving."""


class GenerationDamaged(MailError):
    """A generation on disk is not as it was written; the text says what to do about it."""


class ApplyFailed(MailError):
    """The switch had begun; the text says what failed and what was done about it."""

    def __init__(self, text: str, *, outcome: str, generation: int | None) -> None:
        super().__init__(text)
        self.outcome = outcome
        """As in `history`."""
        self.generation = generation
        """The one in force."""
