"""What differs between the generation in force and what is on disk and runs, layer by layer, and what mends it. Pure.

Each layer has another witness: the files of the generation its manifest; what supervisord has loaded the file; the
processes what is loaded; what masters and the agent report of themselves the generation; the run state what is desired.
Besides: programs and sections that are not ours, which nobody here touches; processes of ours that nobody looks after;
accounts that were removed by hand.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from maillib.control import WorkerState
from maillib.settings.base import Json
from orchestrator import status
from orchestrator.admin.ownership import AccountAction
from orchestrator.differences import Difference, differences
from orchestrator.facts import Wanted
from orchestrator.fields import SocketAddress
from orchestrator.generation import CONFIGURATION
from orchestrator.observation import Master, Observation, Supervisord
from orchestrator.place import AGENT
from orchestrator.processes import Process
from orchestrator.supervisor import Changes, Program, ProgramState

OVERDUE_S = 20.0
"""A drainer that lives so long after its deadline is stuck: it should have said goodbye and ended."""

_APPLY = "`postroom apply`"
_OURS = ("unix_http_server", "supervisord", "rpcinterface:supervisor", "supervisorctl", f"eventlistener:{AGENT}")
"""Sections of every configuration; with those of the programs there are no others."""


class Layer(StrEnum):
    FILES = "files"
    LOADED = "loaded"
    ACTIVE = "active"
    REPORTED = "reported"
    RUN_STATE = "run-state"
    UNMANAGED = "unmanaged"
    STRAY = "stray"
    ACCOUNTS = "accounts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One difference."""

    layer: Layer
    service: str | None
    """None: of the whole suite."""
    path: str
    """What differs: a file, a JSON pointer into the service's file, a fact of a process."""
    expected: Json
    found: Json
    mend: str

    @property
    def said(self) -> str:
        """What differs, without the layer and the way out."""
        where = f"{self.service} {self.path}" if self.service else self.path
        expected = f" (expected: {_word(self.expected)})" if self.expected is not None else ""
        return f"{where}: {_word(self.found)}{expected}"

    def __str__(self) -> str:
        return f"{self.layer}: {self.said}; {self.mend}"

    def as_json(self) -> dict[str, Json]:
        return {
            "layer": self.layer.value,
            "service": self.service,
            "path": self.path,
            "expected": self.expected,
            "found": self.found,
            "mend": self.mend,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is compared."""

    generation: int
    wanted: Sequence[Wanted] | None
    """The services of the generation in force; None: it is damaged so that nobody can tell."""
    observation: Observation
    now: float
    """Unix time."""
    monotonic: float
    damage: Mapping[str, str] = field(default_factory=dict)
    """Files of the generation that are not as they were written, and what is wrong with each."""
    broken_off: bool = False
    """An apply was killed before all read the generation in force."""
    changing: str | None = None
    """Who changes the suite at this moment."""
    sections: Sequence[str] = ()
    """Of the configuration file as it is on disk."""
    agent_command: Sequence[str] = ()
    """By that file."""
    loaded: Changes | str | None = None
    """How supervisord's programs differ from the file; the text of its refusal to read it; None: it does not answer."""
    supervisord_pid: int | None = None
    processes: Mapping[int, Process] = field(default_factory=dict)
    code: str = ""
    """Digest of the program code on disk."""
    agent_code: tuple[str | None, str] = (None, "")
    """Digest of what the agent runs, None where it does not answer; and of what is on disk."""
    running: Mapping[str, Json] = field(default_factory=dict)
    """What the master of a service was told, where that generation is still there."""
    accounts: Sequence[AccountAction] | str = ()
    """What an apply of the same declaration would do to accounts; why nobody can tell."""
    certificates: Mapping[str, str | None] = field(default_factory=dict)
    """Service to digest of its certificate's file."""


def compare(facts: Facts) -> Iterator[Item]:
    """Every difference, layer by layer."""
    yield from _files(facts)
    yield from _suite(facts)
    yield from _loaded(facts)
    if facts.wanted is not None:
        yield from _active(facts, facts.wanted)
        for one in facts.wanted:
            yield from _reported(facts, one)
        for one in facts.wanted:
            yield from _run_state(facts, one)
        yield from _undeclared(facts, facts.wanted)
    yield from _unmanaged(facts)
    yield from _stray(facts)
    yield from _accounts(facts.accounts)


def _files(facts: Facts) -> Iterator[Item]:
    mend = f"{_APPLY} writes a new generation"
    folder = f"generations/{facts.generation:06d}"
    for name, what in facts.damage.items():
        path = f"{folder}/{name}"
        yield Item(layer=Layer.FILES, service=None, path=path, expected="as it was written", found=what, mend=mend)
    if facts.broken_off:
        found, mend = "a change was broken off", f"{_APPLY} ends it"
        if facts.changing is not None:
            found, mend = f"it is being changed by {facts.changing}", "wait for its end"
        expected = f"generation {facts.generation} everywhere"
        yield Item(layer=Layer.FILES, service=None, path="generations", expected=expected, found=found, mend=mend)


def _suite(facts: Facts) -> Iterator[Item]:
    """supervisord and the agent."""
    seen, agent = facts.observation, facts.observation.agent
    if not seen.supervised:
        mend = "it ends when the last session has" if seen.supervisord is Supervisord.ENDING else f"{_APPLY} starts it"
        yield _state("supervisord", Supervisord.RUNNING, seen.supervisord, mend)
        return
    if agent is None or agent.state is not ProgramState.RUNNING:
        yield _state(AGENT, "running", agent.state.lower() if agent else "not loaded", f"{_APPLY} starts it")
    runs, code = facts.agent_code
    if runs is not None and runs != code:
        yield _report(AGENT, "/program", code, runs, "restart")


def _loaded(facts: Facts) -> Iterator[Item]:
    """supervisord against the file."""
    if isinstance(facts.loaded, str):
        yield Item(
            layer=Layer.LOADED,
            service=None,
            path=CONFIGURATION,
            expected="readable",
            found=facts.loaded,
            mend=f"{_APPLY} writes it anew",
        )
    elif facts.loaded is not None:
        declared = {*facts.observation.services, AGENT}
        for words, names in (
            ("loaded otherwise", facts.loaded.changed),
            ("not loaded", facts.loaded.added),
            ("loaded, and not in the file", facts.loaded.removed),
        ):
            for name in sorted(names & declared):
                yield Item(
                    layer=Layer.LOADED,
                    service=name,
                    path=f"/supervisord/program:{name}",
                    expected="as in the file",
                    found=words,
                    mend=f"{_APPLY} loads it anew",
                )


def _active(facts: Facts, wanted: Sequence[Wanted]) -> Iterator[Item]:
    """The processes that supervisord started against what it has loaded."""
    commands: dict[str, tuple[Program | None, Sequence[str]]] = {AGENT: (facts.observation.agent, facts.agent_command)}
    for one in wanted:
        program = facts.observation.services[one.name].program
        commands[one.name] = (program, one.section.get("command", "").split())
    for name, (program, command) in commands.items():
        process = facts.processes.get(program.pid) if program is not None and program.pid is not None else None
        if command and process is not None and list(process.command) != [*command]:
            yield Item(
                layer=Layer.ACTIVE,
                service=name,
                path="/command",
                expected=" ".join(command),
                found=" ".join(process.command),
                mend=f"`supervisorctl restart {name}`",
            )


def _reported(facts: Facts, wanted: Wanted) -> Iterator[Item]:
    """What its master says of itself against the generation."""
    master = facts.observation.services[wanted.name].master
    if master is None or not wanted.enabled:
        return

    if master.digest != wanted.digest:
        runs = facts.running.get(wanted.name)
        keys = [*differences(dict(wanted.service), runs)] if isinstance(runs, Mapping) else []
        for key in keys or [Difference("/digest", wanted.digest, master.digest)]:
            yield _report(wanted.name, key.path, key.before, key.after, "reload")
    if master.code != facts.code:
        yield _report(wanted.name, "/program", facts.code, master.code, "restart")
    certificate = facts.certificates.get(wanted.name)
    if certificate is not None and master.certificate is not None and certificate != master.certificate:
        yield _report(wanted.name, "/tls/certificate", certificate, master.certificate, "reload")
    for address in _closed(wanted, master):
        yield _report(wanted.name, f"/listening/{address}", True, False, "reload")
    for worker in master.workers:
        if worker.state == WorkerState.READY and worker.generation != master.generation:
            path = f"/workers/{worker.pid}/generation"
            yield _report(wanted.name, path, master.generation, worker.generation, "reload")


def _report(service: str, path: str, expected: Json, found: Json, verb: str) -> Item:
    mend = f"{_APPLY} {verb}s it"
    return Item(layer=Layer.REPORTED, service=service, path=path, expected=expected, found=found, mend=mend)


def _closed(wanted: Wanted, master: Master) -> Iterator[SocketAddress]:
    """Addresses that it should listen on, and let go for an exchange of ports that did not get to its end."""
    if master.listening is None or master.digest != wanted.digest:
        return
    open_ = {SocketAddress.parse(address) for address in master.listening}
    listen = wanted.service.get("listen")
    for row in listen if isinstance(listen, list) else ():
        address = SocketAddress(str(row["host"]), int(str(row["port"]))) if isinstance(row, Mapping) else None
        if address is not None and address not in open_:
            yield address


def _run_state(facts: Facts, wanted: Wanted) -> Iterator[Item]:
    seen = facts.observation.services[wanted.name]
    state = status.state(seen, facts.now, enabled=wanted.enabled)
    mend = f"{_APPLY} mends it"
    if not wanted.enabled:
        if state is not status.State.OFF:
            yield _state(wanted.name, "off", state.value, mend)
    elif seen.hold is not None:
        mend = f"`postroom start {wanted.name}` or `postroom apply --override reset` ends the hold"
        yield _state(wanted.name, "running", f"{state}, held by {status.hold_words(seen.hold)}", mend)
    elif state is not status.State.RUNNING:
        yield _state(wanted.name, "running", state.value, mend)


def _state(service: str, expected: str, found: str, mend: str) -> Item:
    return Item(layer=Layer.RUN_STATE, service=service, path="/state", expected=expected, found=found, mend=mend)


def _undeclared(facts: Facts, wanted: Sequence[Wanted]) -> Iterator[Item]:
    """Services of earlier generations that have not ended."""
    declared = {one.name for one in wanted}
    for name, seen in facts.observation.services.items():
        if name not in declared and (seen.program is not None or seen.master is not None):
            found = status.state(seen, facts.now, enabled=False)
            yield _state(name, "removed", found.value, f"{_APPLY} removes it")


def _unmanaged(facts: Facts) -> Iterator[Item]:
    """Reported, and left alone by every verb but `down`, which ends supervisord."""
    for name, program in facts.observation.unmanaged.items():
        mend = f"nothing of ours; who does not want it: `supervisorctl stop {name}`"
        yield Item(
            layer=Layer.UNMANAGED, service=name, path="/program", expected=None, found=program.state.lower(), mend=mend
        )
    ours = {*_OURS, *(f"program:{name}" for name in facts.observation.services)}
    for section in facts.sections:
        if section not in ours:
            yield Item(
                layer=Layer.UNMANAGED,
                service=None,
                path=f"{CONFIGURATION} [{section}]",
                expected=None,
                found="edited in by hand",
                mend="the next apply writes the file anew, without it; programs that run go on",
            )


def _stray(facts: Facts) -> Iterator[Item]:
    """Processes of ours that nobody looks after."""
    known = {facts.supervisord_pid}
    programs = [seen.program for seen in facts.observation.services.values()]
    known |= {program.pid for program in (*programs, facts.observation.agent) if program is not None}
    for name, seen in facts.observation.services.items():
        known |= {worker.pid for worker in seen.workers}
        if seen.master is not None and not seen.supervised:
            known.add(seen.master.pid)
            mend = f"{_APPLY} has a new master take over"
            yield _process(name, seen.master.pid, "a master that no supervisord knows", mend)
        for worker in seen.others:
            process = facts.processes.get(worker.pid)
            if worker.state != WorkerState.DRAINING:
                if process is None or process.parent not in known:  # else its master lives, and is silent
                    mend = f"it ends by itself; {_APPLY} replaces it"
                    yield _process(name, worker.pid, "a worker without a master", mend)
            elif worker.deadline is not None and facts.monotonic > worker.deadline + OVERDUE_S:
                yield _process(name, worker.pid, "a worker that should have ended", f"`kill -9 {worker.pid}`")
    for pid, process in facts.processes.items():
        if pid not in known and process.parent not in known:
            found = f"a process that nobody looks after: {' '.join(process.command)}"
            yield _process(None, pid, found, f"`kill {pid}`")


def _accounts(found: Sequence[AccountAction] | str) -> Iterator[Item]:
    """Declared objects that were removed by hand. A value that a person has changed is theirs: no drift."""
    if isinstance(found, str):
        yield _account("directory", "readable", found, "`postroom check` and `postroom doctor` say more")
        return
    for action in found:
        yield _account(str(action.object), "as declared", action.reason, f"{_APPLY} does: {action.verb}")


def _account(path: str, expected: str, found: str, mend: str) -> Item:
    return Item(layer=Layer.ACCOUNTS, service=None, path=path, expected=expected, found=found, mend=mend)


def _process(service: str | None, pid: int, found: str, mend: str) -> Item:
    return Item(layer=Layer.STRAY, service=service, path=f"process {pid}", expected=None, found=found, mend=mend)


def _word(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
