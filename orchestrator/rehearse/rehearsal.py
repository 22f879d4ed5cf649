"""A rehearsal from its beginning to its end: in a scratch folder, or on the suite that runs.

Guarantees: whatever was made is removed, however the process ends (`afterwards`): the scratch folder with all that runs
in it, or the accounts made on the running suite, with their mail. The user's state directory is not touched by the
first kind; no service is stopped by the second.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from maillib.settings.service import ServiceConfig
from orchestrator import apply
from orchestrator.attempt import Options
from orchestrator.order import in_order
from orchestrator.place import Place
from orchestrator.planning import Accounts
from orchestrator.rehearse import conversation, scratch
from orchestrator.rehearse.afterwards import Afterwards
from orchestrator.rehearse.report import SUITE, Report
from orchestrator.rehearse.stage import BY, READY_S, Stage
from orchestrator.spec import Spec


class Guests(conversation.Guests, Protocol):
    """What is given from outside: only administration touches the store."""

    def declared(self) -> Sequence[str]:
        """Addresses beside those of guests that take mail."""

    def remove_all(self) -> None:
        """The guests with all they have, also what is queued. Raises MailError when something is left."""


Read = Callable[[Path], tuple[Spec, Accounts]]
"""Reads a spec and the accounts it declares. Raises SpecErrors."""


def in_scratch(
    spec: Spec, names: Sequence[str], read: Read, guests_of: Callable[[Path], Guests], report: Report, *, keep: bool
) -> None:
    """Rehearse a copy of `spec`; talk to services `names`. Raises MailError, OSError for what is no fault of theirs."""
    folder = scratch.new_folder()
    place = scratch.place(folder)
    report.logs = place.logs
    with Afterwards(lambda word: scratch.remove(folder, word)) as afterwards, scratch.Ports() as ports:
        path, remarks = scratch.write(spec, folder, ports)
        report.remarks += remarks
        _on_copy(*read(path), names, guests_of(place.state_dir), report, ports.declared)
        if keep:
            afterwards.word = scratch.KEEP_ALL
            report.remarks.append(f"kept, stopped: {folder}")
        elif not report.passed:
            afterwards.word = scratch.KEEP_LOGS


def on_running_suite(
    place: Place, services: Mapping[str, ServiceConfig], names: Sequence[str], guests: Guests, report: Report
) -> None:
    """Talk to services `names` of the suite at `place`, which has `services`. Raises MailError, OSError."""
    report.logs = place.logs
    with Afterwards(lambda _: guests.remove_all()):
        Stage(place, services, guests, report).talk(names, addresses=())


def _on_copy(
    copy: Spec,
    accounts: Accounts,
    names: Sequence[str],
    guests: Guests,
    report: Report,
    declared: Mapping[str, str],
) -> None:
    place = Place(copy.state_dir)
    order = in_order({name: one.depends_on for name, one in copy.services.items() if one.enabled})
    with report.part(SUITE) as part:
        with part.step("comes up"):
            apply.apply(copy, accounts, Options(ready_s=READY_S, by=BY), tell=lambda line: None)
        stage = Stage(place, {name: copy.services[name].config for name in order}, guests, report, declared)
        chosen = [name for name in order if name in names]
        stage.talk(chosen, addresses=guests.declared())
        stage.stop_and_start(chosen)
        stage.reload(chosen)
