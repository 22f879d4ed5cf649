"""From files and from one look at what runs to the facts that `plan` compares."""

import configparser
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from maillib import control
from maillib.control import Verb
from maillib.errors import Transient
from maillib.settings.base import Json, load
from maillib.settings.service import TlsFiles
from maillib.version import code_digest
from orchestrator import generation, observation, status
from orchestrator.admin import spooldepth
from orchestrator.errors import GenerationDamaged, SupervisorDown, SupervisorFault
from orchestrator.facts import Live, Wanted, World
from orchestrator.generation import Generation
from orchestrator.observation import Seen
from orchestrator.place import AGENT_PACKAGES, Place
from orchestrator.supervisor import Supervisor

_DATED = "an earlier one"


def wanted(files: Mapping[str, str]) -> tuple[Wanted, ...]:
    """The services of a generation, written or not, from its files."""
    return tuple(_wanted(files))


def files_of(held: Generation) -> dict[str, str]:
    """What `wanted` reads, of a generation on disk."""
    names = [
        "resolved.json",
        "supervisord.conf",
        *(f"services/{path.name}" for path in held.path.glob("services/*.json")),
    ]
    return {name: text for name in names if (text := held.text(name)) is not None}


def world(place: Place, *, certificate_due: str | None = None) -> World:
    """Look at everything that runs, and compare it with nothing yet."""
    held = generation.whole(place.state_dir)
    applied = {one.name: one for one in _wanted(files_of(held))} if held else {}
    sections = _loaded_sections(place)
    seen = observation.observe(place, applied)
    dated = _changed_on_disk(place) if seen.supervised else frozenset()
    services = {}
    for name, one in seen.services.items():
        if name in applied or one.program is not None or one.master is not None:
            services[name] = _live(place, name, one, applied.get(name), sections, dated=name in dated)
    agent = seen.agent.state.value.lower() if seen.agent else "not loaded"
    return World(
        base=held.number if held else None,
        services=services,
        code=code_digest(),
        agent=agent if seen.supervised else None,
        agent_code=(agent_code(place), code_digest(*AGENT_PACKAGES)),
        supervised=seen.supervised,
        certificate_due=certificate_due,
        waiting=spooldepth.waiting(place.state_dir),
    )


def _wanted(files: Mapping[str, str]) -> Iterator[Wanted]:
    sections = sections_of(files.get("supervisord.conf", ""))
    resolved: Json = json.loads(files["resolved.json"])
    rows = resolved["services"] if isinstance(resolved, dict) else None
    for name, row in rows.items() if isinstance(rows, dict) else ():
        file: Json = json.loads(files.get(f"services/{name}.json", "null"))
        config = row.get("config") if isinstance(row, dict) else None
        depends_on = row.get("depends_on") if isinstance(row, dict) else None
        yield Wanted(
            name=name,
            enabled=isinstance(row, dict) and bool(row.get("enabled")),
            depends_on=tuple(map(str, depends_on)) if isinstance(depends_on, list) else (),
            service=config if isinstance(config, dict) else {},
            digest=str(file.get("digest")) if isinstance(file, dict) else "",
            section=sections.get(f"program:{name}", {}),
        )


def _loaded_sections(place: Place) -> Mapping[str, Mapping[str, str]]:
    """Of the file that supervisord reads: after an apply that was killed, not that of the generation in force."""
    try:
        return sections_of(generation.configuration(place.state_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):  # removed or edited by hand: the next generation replaces it
        return {}


def _runs(place: Place, name: str, seen: Seen) -> Json:
    """What its master was told; None: it has none, or its generation is not there any more."""
    found = generation.numbered(place.state_dir, seen.master.generation) if seen.master else None
    try:
        return found.service(name) if found else None
    except GenerationDamaged:
        return None


def _live(
    place: Place,
    name: str,
    seen: Seen,
    applied: Wanted | None,
    sections: Mapping[str, Mapping[str, str]],
    *,
    dated: bool,
) -> Live:
    service = _runs(place, name, seen)
    section = dict(sections.get(f"program:{name}", {})) if seen.program else {}
    if dated:
        section["loaded"] = _DATED
    hold = seen.hold
    return Live(
        name=name,
        state=status.state(seen, control.now()).value,
        loaded=seen.program is not None,
        serving=seen.master is not None and seen.master.state != "draining",
        supervised=seen.supervised,
        digest=seen.master.digest if seen.master else applied.digest if applied else None,
        code=seen.master.code if seen.master else None,
        version=seen.master.version if seen.master else None,
        certificate=(seen.master.certificate if seen.master else None, certificate(service)),
        service=service if isinstance(service, dict) else applied.service if applied else {},
        listening=seen.master.listening if seen.master else None,
        room=seen.master.room if seen.master else 0,
        section=section,
        enabled=applied is not None and applied.enabled,
        depends_on=applied.depends_on if applied else (),
        sessions=seen.sessions,
        hold=status.hold_words(hold) if hold else None,
    )


def agent_code(place: Place) -> str | None:
    """Digest of what the agent runs; None: it does not answer."""
    try:
        answer = control.ask(control.agent_socket(place.run), {"verb": Verb.STATUS}, timeout_s=observation.ANSWER_S)
    except Transient:
        return None
    return str(answer.get("code"))


def certificate(service: Json) -> str | None:
    """Digest of the certificate that a service is to serve with, as its file is now; None: it has none."""
    files = service.get("tls") if isinstance(service, dict) else None
    return load(TlsFiles, files).certificate_digest() if files is not None else None


def _changed_on_disk(place: Place) -> frozenset[str]:
    """Programs that supervisord has loaded otherwise than its file says: an apply did not get to its end."""
    try:
        with Supervisor(place.supervisor) as supervisor:
            return supervisor.reload_config().changed
    except (SupervisorDown, SupervisorFault):
        return frozenset()  # the file was edited by hand and cannot be read: the next generation replaces it


@lru_cache(maxsize=4)  # what is wanted, in force and loaded is the same text, as a rule
def sections_of(text: str) -> Mapping[str, Mapping[str, str]]:
    """Sections of a configuration of ours: one line an option, nothing to interpolate. Raises configparser.Error."""
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=(";", "#"), strict=True)
    parser.read_string(text, source=str(Path("supervisord.conf")))
    return {name: dict(parser.items(name)) for name in parser.sections()}
