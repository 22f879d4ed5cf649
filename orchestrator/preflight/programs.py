"""The programs that an apply starts: supervisord, the interpreter, the workers' scripts and what these import."""

import importlib.util
import os
from collections.abc import Iterator, Set
from pathlib import Path

from orchestrator import resources
from orchestrator.place import Place
from orchestrator.preflight import listening
from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.preflight.listening import Sockets
from orchestrator.spec import Spec

NO_MODULE = Kind(
    "module-missing",
    Severity.ERROR,
    "The interpreter does not find a library that the programs need.",
    "install postroom anew with its dependencies",
)
SUPERVISOR_VERSION = Kind(
    "supervisord-version",
    Severity.WARNING,
    "The installed supervisord is not of the version that this one was made for (4.3).",
    "install `supervisor >=4.3,<4.4`",
)
FOREIGN = Kind(
    "supervisord-foreign",
    Severity.ERROR,
    "Another program answers on the socket of this suite's supervisord.",
    "end it, then apply again",
)
INET = Kind(
    "supervisord-inet",
    Severity.WARNING,
    "The running supervisord listens on the network ([inet_http_server]): whoever reaches it can start programs.",
    "`postroom down`, then `postroom apply`: the section is not ours",
)
INTERPRETER = Kind(
    "interpreter-unusable",
    Severity.ERROR,
    "The Python interpreter of this installation cannot be executed.",
    "install postroom anew",
)
SCRIPT = Kind(
    "script-unreadable",
    Severity.ERROR,
    "The script of a worker or of the agent is missing or cannot be read.",
    "install postroom anew",
)

_MODULES = ("argon2", "cryptography", "jinja2", "supervisor", "uvloop")
_VERSION = "4.3."


def find(spec: Spec, sockets: Sockets, ours: Set[int]) -> Iterator[Finding]:
    programs = resources.programs()
    if not os.access(programs.python, os.X_OK):
        yield INTERPRETER.at((), f"{programs.python} cannot be executed")
    if not os.access(programs.agent, os.R_OK):
        yield SCRIPT.at((), f"{programs.agent} cannot be read")
    for name, service in spec.services.items():
        script = programs.script(service.config.protocol)
        if service.enabled and not os.access(script, os.R_OK):
            yield SCRIPT.at(("services", name, "protocol"), f"{script} cannot be read")
    for module in _MODULES:
        if importlib.util.find_spec(module) is None:
            yield NO_MODULE.at((), f"there is no module {module} for {programs.python}")
    version = supervisor_version()
    if version is not None and not version.startswith(_VERSION):
        yield SUPERVISOR_VERSION.at((), f"supervisor {version} is installed")
    yield from _running(Place(spec.state_dir), sockets, ours)


def supervisor_version() -> str | None:
    """Of the one that would be started; None: there is none, or it does not say."""
    found = importlib.util.find_spec("supervisor")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "version.txt"
        if path.is_file():
            return path.read_text(errors="replace").strip()
    return None


def _running(place: Place, sockets: Sockets, ours: Set[int]) -> Iterator[Finding]:
    for pid in sockets.unix_holders(place.supervisor):
        if pid not in ours:
            said = f"{listening.name(pid)} answers at {place.supervisor}; it is no supervisord of this suite"
            yield FOREIGN.at((), said)
        elif sockets.is_listening(pid):
            yield INET.at((), f"supervisord (pid {pid}) listens on the network")
