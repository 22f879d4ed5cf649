"""What a rehearsal finds out: steps, each with its result and how long it took.

A part is what one client does in a row; its first step that fails ends it, and other parts go on.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from maillib.errors import MailError
from maillib.settings.base import Json

SCHEMA_VERSION = 1

SUITE = "suite"
"""Stands for the service where a step concerns all of them."""


class Unexpected(MailError):
    """The other side did not do what it should."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried."""

    service: str
    where: str
    """Listener and role; empty: the service as a whole."""
    title: str
    """What has to happen: `takes a message`."""
    result: Result
    ms: float
    expected: str | None = None
    came: str | None = None
    """Of a step that failed; of a skipped one, why."""
    log: Path | None = None
    """Where the service says more about a failure."""

    @property
    def name(self) -> str:
        return f"{self.where}: {self.title}" if self.where else self.title

    def as_json(self) -> dict[str, Json]:
        return {
            "service": self.service,
            "where": self.where or None,
            "step": self.title,
            "result": self.result.value,
            "ms": round(self.ms, 1),
            "expected": self.expected,
            "came": self.came,
            "log": None if self.log is None else str(self.log),
        }


@dataclass(slots=True)
class Report:
    """All steps so far."""

    tell: Callable[[Step], None]
    """Called with each step as it ends."""
    logs: Path = Path()
    """Folder of the logs of the suite that is rehearsed."""
    steps: list[Step] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What is not rehearsed as it is declared, and why."""
    begun: float = field(default_factory=time.time)
    _clock: float = field(default_factory=time.perf_counter)

    @property
    def passed(self) -> bool:
        """Something was tried, and nothing failed."""
        return self.count(Result.PASSED) > 0 and not self.count(Result.FAILED)

    @property
    def took_s(self) -> float:
        """So far."""
        return time.perf_counter() - self._clock

    def count(self, result: Result) -> int:
        return sum(step.result is result for step in self.steps)

    @contextlib.contextmanager
    def part(self, service: str, where: str = "") -> Iterator["Part"]:
        """Ends with its first failed step, without an error."""
        with contextlib.suppress(_Failed):
            yield Part(self, service, where)

    def add(self, step: Step) -> None:
        self.steps.append(step)
        self.tell(step)

    def as_json(self) -> dict[str, Json]:
        steps: list[Json] = [step.as_json() for step in self.steps]
        remarks: list[Json] = [*self.remarks]
        counts = {result.value: self.count(result) for result in Result}
        return {
            "schema_version": SCHEMA_VERSION,
            "result": Result.PASSED.value if self.passed else Result.FAILED.value,
            "ms": round(self.took_s * 1000),
            **counts,
            "remarks": remarks,
            "steps": steps,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """What one client does in a row."""

    report: Report
    service: str
    where: str

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Passed when its block ends; failed when that raises an error of ours, of the system or of TLS."""
        began = time.perf_counter()
        try:
            yield
        except (MailError, OSError) as error:
            expected = error.expected if isinstance(error, Unexpected) else title
            came = error.came if isinstance(error, Unexpected) else "; ".join(str(error).splitlines())
            came = came or type(error).__name__
            log = self.report.logs / f"{'supervisord' if self.service == SUITE else self.service}.log"
            self._add(title, Result.FAILED, began, expected=expected, came=came, log=log)
            raise _Failed from None
        self._add(title, Result.PASSED, began)

    def skip(self, title: str, why: str) -> None:
        self._add(title, Result.SKIPPED, time.perf_counter(), came=why)

    def _add(
        self,
        title: str,
        result: Result,
        began: float,
        *,
        expected: str | None = None,
        came: str | None = None,
        log: Path | None = None,
    ) -> None:
        ms = (time.perf_counter() - began) * 1000
        step = Step(
            service=self.service,
            where=self.where,
            title=title,
            result=result,
            ms=ms,
            expected=expected,
            came=came,
            log=log,
        )
        self.report.add(step)


class _Failed(Exception):
    """A step of this part has failed, and is recorded."""
