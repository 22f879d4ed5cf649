"""One attempt to make a generation the one in force: performs it, takes it back when it fails, says what came of it.

Services and accounts are one change. `hold` leaves everything as the failure left it; so does a failure where there is
nothing to go back to. An attempt that was killed has no result: the next one settles that (`settle`).

Whoever asks us to end meanwhile (Ctrl-C, SIGTERM, the end of a terminal) has the attempt taken back after the step that
is under way, since a master goes on with what it has begun; asking by Ctrl-C once more leaves all as it is.
"""

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Literal

from maillib import control
from maillib.errors import MailError, StoreFull
from maillib.settings.base import Json
from maillib.version import VERSION
from orchestrator import audit, generation, holds, observation, operate, plan, status, survey
from orchestrator.audit import Entry
from orchestrator.errors import ApplyFailed, GenerationDamaged, PreflightFailed
from orchestrator.generation import MADE, Generation
from orchestrator.operate import Tell
from orchestrator.place import Place
from orchestrator.plan import Plan
from orchestrator.planning import Accounts
from orchestrator.switch import Switch

SCHEMA_VERSION = 1
"""Of result.json."""

Outcome = Literal["applied", "failed", "rolled back", "held", "rollback failed", "broken off"]
"""failed: before the switch began; broken off: it was killed."""

_IN_WORDS = {
    "held": "everything was left as it is now",
    "rolled back": "everything else is as it was before",
    "rollback failed": "not everything could be brought back; `postroom status` tells, `postroom apply` mends",
}

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

_ASKS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    lock_wait_s: float = 60.0
    ready_s: float = 60.0
    """How long one service may take to become ready."""
    on_failure: Literal["rollback", "hold"] = "rollback"
    """hold: leave everything as the failure left it."""
    override: Literal["respect", "reset"] = "respect"
    """reset: start what is held."""
    by: str = "postroom apply"
    verb: Literal["apply", "rollback"] = "apply"
    """For the audit trail, and for who waits for the lock."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    place: Place
    held: Generation | None
    """In force, and whole."""
    is_damaged: bool
    """There is one in force that is not whole: there is nothing to go back to."""
    target: Generation
    """`held` itself where what runs is to be mended."""
    todo: Plan
    options: Options
    take_back_certificate: Callable[[], None]
    tell: Tell
    doing: Tell
    _begun: float = field(default_factory=control.now)

    def perform(self, accounts: Accounts) -> None:
        """Raises ApplyFailed; PreflightFailed and other MailErrors when the accounts could not be changed."""
        with _Interruptions() as interruptions:
            self.doing("accounts")
            try:
                with nothing_changed_yet():
                    take_back_accounts = accounts.apply()
            except (MailError, OSError) as error:
                self._record("failed", error)
                raise
            switch = Switch(
                place=self.place,
                by=self.options.by,
                ready_s=self.options.ready_s,
                ignore_holds=self.options.override == "reset",
                tell=self.tell,
                doing=self.doing,
                go_on=interruptions.check,
            )
            try:
                switch.run(self.todo, self.target)
                interruptions.check()
                generation.commit(self.place.state_dir, self.target)
            except (MailError, OSError) as error:
                interruptions.heeded = True
                outcome = self._take_back(switch, take_back_accounts)
                self._record(outcome, error)
                held = self.held.number if self.held else None
                raise ApplyFailed(f"{error} ({_IN_WORDS[outcome]})", outcome=outcome, generation=held) from None
        self._record("applied", None)
        self._prune()

    def _take_back(self, switch: Switch, take_back_accounts: Callable[[], None]) -> Outcome:
        """Certificate, services and accounts, as far as it goes."""
        if self.options.on_failure == "hold" or self.is_damaged or self.target == self.held:
            return "held"
        self.doing("rollback")
        outcome: Outcome = "rolled back"
        services = partial(self._take_back_services, switch)  # which take the certificate that is there
        for step in (self.take_back_certificate, services, take_back_accounts):
            try:
                step()
            except (MailError, OSError) as error:
                self.tell(f"rollback: {error}")
                outcome = "rollback failed"
        return outcome

    def _take_back_services(self, switch: Switch) -> None:
        place = self.place
        if self.held is None:
            names = [path.name for path in (place.run / "services").glob("*")]
            with contextlib.suppress(OSError):  # on a full disk: holds that nobody wanted are the smaller evil
                holds.announce_stop(place.state_dir, names, by=self.options.by)
            operate.end_all(place, names, drain_s=0.0, tell=self.tell)
            generation.withdraw(place.state_dir)
            return
        world = survey.world(place).of_one_program()
        switch.run(plan.plan(survey.wanted(survey.files_of(self.held)), world), self.held)
        generation.commit(place.state_dir, self.held)

    def _record(self, outcome: Outcome, error: Exception | None) -> None:
        """In the generation, if it is new, and in the audit trail. What cannot be written is told."""
        result: Json = {
            "schema_version": SCHEMA_VERSION,
            "outcome": outcome,
            "by": self.options.by,
            "version": VERSION,
            "begun": status.iso(self._begun),
            "ended": status.iso(control.now()),
            "error": None if error is None else str(error),
        }
        before: Json = self.held.number if self.held else None
        after: Json = self.target.number if outcome == "applied" else before
        entry = Entry(
            verb=self.options.verb,
            names=(
                *(action.service for action in self.todo.actions if action.changes),
                *(action.object.key for action in self.todo.accounts if action.is_change),
            ),
            result=audit.DONE if error is None else f"{outcome}: {error}",
            before={"generation": before},
            after={"generation": after},
        )
        try:
            if self.target != self.held:
                self.target.record(result)
            audit.record(self.place.state_dir, entry)
        except OSError as failure:
            self.tell(f"what came of it cannot be written down: {failure}")

    def _prune(self) -> None:
        try:
            generation.prune(self.place.state_dir, self._in_use)
        except OSError as error:
            self.tell(f"old generations cannot be removed: {error}")

    def _in_use(self) -> set[int]:
        """Numbers that a master or worker names."""
        used: set[int] = set()
        for path in (self.place.run / "services").glob("*"):
            used |= {record.generation for record in control.read_records(self.place.run, path.name)}
            if (master := observation.ask_master(self.place.run, path.name)) is not None:
                used.add(master.generation)
        return used


def settle(state_dir: Path) -> None:
    """Clear up after attempts that were killed: what they were about to write goes, and they get a result."""
    generation.sweep(state_dir)
    for one in generation.unfinished(state_dir):
        try:
            made = one.data(MADE)
            held = generation.current(state_dir)
        except GenerationDamaged:
            made = held = None
        is_held = held == one  # it was killed after its last step
        result: dict[str, Json] = {
            "schema_version": SCHEMA_VERSION,
            "outcome": "applied" if is_held else "broken off",
            "by": made.get("by") if isinstance(made, dict) else None,
            "version": made.get("version") if isinstance(made, dict) else None,
            "begun": made.get("when") if isinstance(made, dict) else None,
            "ended": None,
            "error": None if is_held else "it was killed",
        }
        one.record(result)


@contextlib.contextmanager
def nothing_changed_yet() -> Iterator[None]:
    """Before the switch, a disk that takes no more is a host that is not ready. Raises PreflightFailed."""
    try:
        yield
    except StoreFull as error:
        raise PreflightFailed(f"{error}; nothing has changed") from None
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise PreflightFailed(f"{error.filename or 'the disk'}: {error.strerror}; nothing has changed") from None


class _Interrupted(MailError):
    """Somebody has asked us to end."""


class _Interruptions:
    """Requests to end are noted, for `check` to raise between two steps."""

    def __init__(self) -> None:
        self._asked: str | None = None
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
        self.heeded = False
        """From now on they are ignored, but for Ctrl-C."""

    def __enter__(self) -> "_Interruptions":
        if threading.current_thread() is threading.main_thread():  # no other is told of signals
            handlers = {number: signal.getsignal(number) for number in _ASKS_TO_END}
            self._before = {number: one for number, one in handlers.items() if one is not signal.SIG_IGN}  # by `nohup`
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and (self._asked or self.heeded):
            raise KeyboardInterrupt
        if self._asked is None and not self.heeded:
            self._asked = signal.Signals(number).name
            with contextlib.suppress(OSError):  # not by `tell`: what it writes to may be in the middle of a write
                os.write(2, f"{self._asked}: goes back after this step\n".encode())

    def check(self) -> None:
        """Raises when somebody has asked us to end."""
        if self._asked and not self.heeded:
            raise _Interrupted(f"interrupted by {self._asked}")
