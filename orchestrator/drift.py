"""Looks where the suite differs from the generation in force: files, supervisord, processes, accounts. Changes nothing.

`layers` says what each difference means. How the spec differs from the generation is what `plan` says.
"""

import configparser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maillib import control
from maillib.errors import MailError, NotFound
from maillib.settings.base import Json
from maillib.version import code_digest
from orchestrator import generation, locks, observation, processes, survey
from orchestrator.admin.ownership import AccountAction
from orchestrator.errors import SupervisorDown, SupervisorFault
from orchestrator.facts import Wanted
from orchestrator.generation import Generation
from orchestrator.layers import Facts, Item, compare
from orchestrator.observation import Observation
from orchestrator.place import AGENT, AGENT_PACKAGES, Place
from orchestrator.supervisor import Changes, Supervisor

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    generation: int
    observation: Observation
    items: tuple[Item, ...]

    def as_json(self) -> Json:
        return {
            "schema_version": SCHEMA_VERSION,
            "generation": self.generation,
            "supervisord": self.observation.supervisord.value,
            "drift": [item.as_json() for item in self.items],
        }


Undone = Callable[[Path], Sequence[AccountAction]]
"""What an apply of the same declaration would do to accounts. Given from outside: only administration touches the
store. Raises MailError."""


def find(place: Place, undone: Undone = lambda _: ()) -> Found:
    """Look and compare. Raises NotFound before the first apply."""
    held = generation.current(place.state_dir)
    if held is None:
        raise NotFound(f"nothing is applied in {place.state_dir} yet; `postroom apply` does it")
    facts = look(place, held, undone)
    return Found(generation=held.number, observation=facts.observation, items=tuple(compare(facts)))


def look(place: Place, held: Generation, undone: Undone) -> Facts:
    damage = held.damage()
    wanted = _wanted(held, damage)
    seen = observation.observe(place, [one.name for one in wanted or ()])
    holder = locks.holder(place.state_dir)
    loaded, supervisord_pid = _ask_supervisord(place)
    configuration = _sections(held)
    later = [one for one in generation.unfinished(place.state_dir) if one.number > held.number]
    return Facts(
        generation=held.number,
        wanted=wanted,
        damage=damage,
        broken_off=bool(later) or not generation.is_live(place.state_dir, held),
        changing=str(holder) if holder else None,
        observation=seen,
        now=control.now(),
        monotonic=control.monotonic(),
        sections=tuple(configuration),
        agent_command=configuration.get(f"eventlistener:{AGENT}", {}).get("command", "").split(),
        loaded=loaded,
        supervisord_pid=supervisord_pid,
        processes={process.pid: process for process in processes.of_suite(place)},
        code=code_digest(),
        agent_code=(survey.agent_code(place), code_digest(*AGENT_PACKAGES)),
        running={
            name: before.service(name)
            for name, one in seen.services.items()
            if one.master is not None and (before := generation.numbered(place.state_dir, one.master.generation))
        },
        accounts=_try(undone, place),
        certificates={one.name: survey.certificate(dict(one.service)) for one in wanted or ()},
    )


def _wanted(held: Generation, damage: Mapping[str, str]) -> tuple[Wanted, ...] | None:
    """Of the files that are as they were written."""
    if any(name == generation.RESOLVED or name.startswith("services/") for name in damage):
        return None
    return survey.wanted({name: text for name, text in survey.files_of(held).items() if name not in damage})


def _ask_supervisord(place: Place) -> tuple[Changes | str | None, int | None]:
    try:
        with Supervisor(place.supervisor, timeout_s=observation.ANSWER_S) as supervisor:
            pid = supervisor.pid()
            try:
                return supervisor.reload_config(), pid
            except SupervisorFault as fault:
                return str(fault), pid
    except SupervisorDown:
        return None, None


def _try(undone: Undone, place: Place) -> Sequence[AccountAction] | str:
    try:
        return undone(place.state_dir)
    except MailError as error:
        return str(error)


def _sections(held: Generation) -> Mapping[str, Mapping[str, str]]:
    """Of the configuration as it is on disk now; empty when it is none."""
    try:
        return survey.sections_of(held.text(generation.CONFIGURATION) or "")
    except (configparser.Error, MailError):
        return {}  # supervisord refuses it too, and says so
