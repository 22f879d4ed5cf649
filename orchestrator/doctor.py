"""What is wrong with a suite that was applied: does everybody answer, is each service as it should be, does anything
differ from the generation in force, is the certificate in time, can the log be written?

Guarantees: nothing is changed, and silence costs no more than `drift.find` waits. Leaves to others: the host
(`preflight`), looking at queued and stored mail (`admin.health`).
"""

import os
from collections.abc import Collection, Iterable, Iterator

from maillib import control
from maillib.control import Verb
from maillib.errors import ConfigError, Transient
from maillib.settings.base import Json
from orchestrator import certificates, drift, generation, observation, status
from orchestrator.drift import Found
from orchestrator.errors import Exit, GenerationDamaged
from orchestrator.layers import Item, Layer
from orchestrator.observation import Observation, Supervisord
from orchestrator.place import AGENT, Place
from orchestrator.preflight import tls
from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.status import ServiceStatus
from orchestrator.supervisor import ProgramState

NOT_APPLIED = Kind("not-applied", Severity.NOTE, "Nothing was applied in this state directory yet.", "`postroom apply`")
DAMAGED = Kind(
    "generation-damaged",
    Severity.ERROR,
    "The generation in force is not on disk as it was written.",
    "`postroom apply` makes a new one",
    Exit.FAILED,
)
UNFINISHED = Kind(
    "apply-unfinished",
    Severity.WARNING,
    "An apply was broken off, or is under way: services are of several generations.",
    "`postroom apply` ends it",
)
SUPERVISORD_SILENT = Kind(
    "supervisord-silent",
    Severity.ERROR,
    "supervisord does not answer though it should: it was killed, or hangs.",
    "`postroom apply` brings it back",
    Exit.UNAVAILABLE,
)
SUPERVISORD_DOWN = Kind(
    "supervisord-down",
    Severity.ERROR,
    "supervisord does not run: the suite was stopped as a whole.",
    "`postroom apply` starts it",
    Exit.NOT_AS_WANTED,
)
AGENT_SILENT = Kind(
    "agent-silent",
    Severity.ERROR,
    "The agent does not run or does not answer: mail flows, but stops drain in the foreground, and stops by hand are "
    "not seen as holds.",
    "`postroom apply` starts it; `log/agent.out` says why it ended",
    Exit.UNAVAILABLE,
)
SERVICE = Kind(
    "service-not-running",
    Severity.ERROR,
    "A service is not in the state that was applied.",
    "`postroom start NAME`, or `postroom apply`",
    Exit.NOT_AS_WANTED,
)
HELD = Kind(
    "service-held",
    Severity.WARNING,
    "Somebody keeps a service stopped.",
    "`postroom start NAME` when the reason is gone",
)
DRIFT = Kind(
    "drift",
    Severity.WARNING,
    "What runs, or what is on disk, differs from what was applied last; `postroom drift` says the same.",
    "`postroom apply`",
)
UNMANAGED = Kind(
    "program-unmanaged",
    Severity.NOTE,
    "supervisord has a program or a section that is not of this suite; it is left alone.",
    "nothing; or remove it",
)
LOG = Kind(
    "log-unwritable",
    Severity.ERROR,
    "The folder for logs is missing or cannot be written.",
    "`postroom apply` makes it; or give it back to who applies",
    Exit.FAILED,
)
SPOOL = Kind(
    "spool-set-aside",
    Severity.WARNING,
    "Messages in the spool are damaged and were set aside.",
    "`postroom queue check` says what is wrong with each",
)
INDEX = Kind(
    "index-damaged",
    Severity.ERROR,
    "The index of an account is damaged: its owner cannot read mail, and deliveries wait.",
    "`postroom mailbox rebuild ADDRESS` makes it anew",
    Exit.FAILED,
)
UNREADABLE = Kind(
    "store-unreadable",
    Severity.WARNING,
    "Spool, directory or an account could not be looked at now.",
    "look at it again; `postroom mailbox check` says more",
)
STRAY = Kind(
    "store-stray",
    Severity.WARNING,
    "A folder in the store belongs to no account.",
    "move it away when nobody misses it",
)
NOT_ALL = Kind(
    "store-not-all",
    Severity.NOTE,
    "There are more accounts than could be looked at in the time that `doctor` takes.",
    "`postroom mailbox check --all` looks at every one",
)

_PROGRAMS = ("supervisord", AGENT)
_BROKEN_OFF = "generations"
"""Path of the item of `drift` that is about a change as a whole, not about a file."""


def find(place: Place) -> Iterator[Finding]:
    """What is wrong with the suite in `place`."""
    try:
        held = generation.current(place.state_dir)
        if held is None:
            yield NOT_APPLIED.at((), f"nothing is applied in {place.state_dir} yet")
            return
        resolved = held.data("resolved.json")
        found = drift.find(place)
    except GenerationDamaged as error:
        said, _, _ = str(error).partition("; ")
        yield DAMAGED.at((), said)
        return
    except ConfigError:  # the ledger of holds: pre-flight tells
        return
    expected = status.expected_from(resolved)
    now = control.now()
    yield from _supervision(place, found.observation)
    for name, wanted in expected.items():
        yield from _service(name, status.describe(wanted, found.observation.services[name], now))
    yield from _drift(found, expected)
    yield from _certificate(place, resolved, now)
    yield from _log(place)


def exit_code(findings: Iterable[Finding]) -> Exit:
    """Causes before effects: who does not answer, what the host lacks, what does not run, what else failed."""
    codes = {finding.kind.exit for finding in findings if finding.is_error}
    order = (Exit.UNAVAILABLE, Exit.PREFLIGHT, Exit.NOT_AS_WANTED, Exit.FAILED)
    return next((code for code in order if code in codes), Exit.DONE)


def _supervision(place: Place, seen: Observation) -> Iterator[Finding]:
    if seen.supervisord is Supervisord.NONE:
        yield SUPERVISORD_DOWN.at((), "supervisord does not run")
    elif seen.supervisord is not Supervisord.RUNNING:
        yield SUPERVISORD_SILENT.at((), f"supervisord is {seen.supervisord}")
    elif seen.agent is None or seen.agent.state is not ProgramState.RUNNING:
        yield AGENT_SILENT.at((), f"the agent is {seen.agent.state.lower() if seen.agent else 'not loaded'}")
    else:
        try:
            control.ask(control.agent_socket(place.run), {"verb": Verb.STATUS}, timeout_s=observation.ANSWER_S)
        except Transient as error:
            yield AGENT_SILENT.at((), str(error))


def _service(name: str, row: ServiceStatus) -> Iterator[Finding]:
    where = ("services", name)
    if row.as_wanted:
        return
    if row.hold is not None:
        why = f": {row.hold.why}" if row.hold.why else ""
        said = f"{name} is held since {status.iso(row.hold.when)} by {row.hold.who}{why}"
        yield HELD.at(where, said, f"`postroom start {name}` when the reason is gone")
    else:
        reason = f": {row.last_error}" if row.last_error else ""
        said = f"{name} is {row.state} and should be {row.desired}{reason}"
        yield SERVICE.at(where, said, f"`postroom logs {name}` says more; `postroom start {name}` or `postroom apply`")


def _drift(found: Found, expected: Collection[str]) -> Iterator[Finding]:
    """What is not told already: the run state of services and of supervisord has findings of its own."""
    for item in found.items:
        if item.layer is Layer.RUN_STATE and item.service in (*expected, *_PROGRAMS):
            continue
        where = ("services", item.service) if item.service in expected and item.service else ()
        yield _kind(item).at(where, item.said, item.mend)


def _kind(item: Item) -> Kind:
    if item.layer is Layer.FILES:
        return UNFINISHED if item.path == _BROKEN_OFF else DAMAGED
    return UNMANAGED if item.layer is Layer.UNMANAGED else DRIFT


def _certificate(place: Place, resolved: Json, now: float) -> Iterator[Finding]:
    """Of mode self-signed, which pre-flight leaves to apply."""
    match resolved:
        case {"hostname": str(hostname), "tls": {"mode": "self-signed"}}:
            yield from tls.find_in(certificates.leaf(place.state_dir), hostname, now)


def _log(place: Place) -> Iterator[Finding]:
    if not place.logs.is_dir():
        yield LOG.at(("state_dir",), f"{place.logs} is missing")
    elif not os.access(place.logs, os.W_OK | os.X_OK):
        yield LOG.at(("state_dir",), f"{place.logs} cannot be written")
