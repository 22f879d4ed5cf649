"""From a spec to the files of a generation: `supervisord.conf` and `services/NAME.json`. Pure, always the same bytes.

A program section depends on nothing but the service's name, its worker's script and its stop signal: supervisord
restarts a program whose section changed, so every other key goes to the JSON file, which a master takes while running.
Leaves to others: proving what supervisor reads (`readback`), writing and switching (`generation`).
"""

import configparser
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maillib.errors import ConfigError
from maillib.settings.base import dump
from maillib.settings.service import SCHEMA_VERSION, ServiceConfig
from orchestrator import generation as generations
from orchestrator import resources
from orchestrator.generation import CONFIGURATION
from orchestrator.iniword import IniWord, ini_word
from orchestrator.place import Place
from orchestrator.resources import Programs
from orchestrator.spec import Service, Spec
from orchestrator.supervisor import EXIT_CODES

if TYPE_CHECKING:
    from jinja2 import Template

STOP_WAIT_S = 3660
"""supervisord kills a program that needs longer to stop: more than the longest drain (1 h)."""
EVENT_BUFFER = 1000
"""Events kept for a busy agent; supervisor's 10 are lost in a restart of everything."""
AGENT_PRIORITY = -1
SERVICE_PRIORITY = 10


@dataclass(frozen=True, slots=True)
class LogFiles:
    """How much is kept of what supervisord and programs print; protocol logs never go this way."""

    octets: int = 1_048_576
    backups: int = 2


KEEP = LogFiles()

_STOPS = {
    "smtp": "connections refused at once, open sessions go on until stop.drain has passed, then 421",
    "spool": "nothing new is taken, deliveries go on until stop.drain has passed, the rest stays queued",
    "imap": "connections refused at once, open sessions go on until stop.drain has passed, then BYE",
    "pop": "connections refused at once, open sessions go on until stop.drain has passed, then -ERR",
}
"""Protocol to what a stop does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One section that starts something."""

    name: IniWord
    command: tuple[IniWord, ...]
    stop_signal: Literal["TERM", "INT", "QUIT"]
    priority: int
    log: IniWord
    """Where its output outside of the protocol logs goes."""
    stops: str
    """How it stops, for the reader of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What supervisord itself is told."""

    socket: IniWord
    pidfile: IniWord
    state_dir: IniWord
    log_dir: IniWord
    log: IniWord
    as_root: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The files, and what was meant by them."""

    files: Mapping[str, str]
    """Path inside the generation to text."""
    digests: Mapping[str, str]
    """Service to the digest in its file."""
    suite: Suite
    agent: Program
    programs: tuple[Program, ...]

    def section(self, name: str) -> Mapping[str, str]:
        """Keys and values of a service's program section; empty when it is not enabled."""
        parser = configparser.RawConfigParser()
        parser.read_string(self.files[CONFIGURATION])
        found = f"program:{name}"
        return dict(parser[found]) if parser.has_section(found) else {}


def render(spec: Spec, programs: Programs, *, generation: int, as_root: bool) -> Rendered:
    """The files of `generation`. Raises ConfigError when a path of this installation cannot stand in an INI."""
    place = Place(spec.state_dir)
    suite = Suite(
        socket=_word(place.supervisor),
        pidfile=_word(place.run / "supervisord.pid"),
        state_dir=_word(spec.state_dir),
        log_dir=_word(place.logs),
        log=_word(place.logs / "supervisord.log"),
        as_root=as_root,
    )
    agent = Program(
        name=ini_word("agent"),
        command=(_word(programs.python), _word(programs.agent), ini_word("--state-dir"), _word(spec.state_dir)),
        stop_signal="TERM",
        priority=AGENT_PRIORITY,
        log=_word(place.logs / "agent.err"),
        stops="the last of all, when the drains have ended",
    )
    enabled = [service for _, service in sorted(spec.services.items()) if service.enabled]
    sections = tuple(_program(service, place, programs) for service in enabled)
    digests = {name: digest(service.config) for name, service in sorted(spec.services.items())}
    services = {
        f"services/{name}.json": service_file(spec.services[name].config, generation=generation) for name in digests
    }
    configuration = _template().render(
        suite=suite,
        agent=agent,
        programs=sections,
        keep=KEEP,
        stop_wait_s=STOP_WAIT_S,
        exit_codes=EXIT_CODES,
        event_buffer=EVENT_BUFFER,
    )
    return Rendered(
        files={CONFIGURATION: configuration, **services}, digests=digests, suite=suite, agent=agent, programs=sections
    )


def service_file(config: ServiceConfig, *, generation: int) -> str:
    """The JSON file that master and workers of a service are started with; see `maillib.settings.service`."""
    data = {
        "schema_version": SCHEMA_VERSION,
        "generation": generation,
        "digest": digest(config),
        "service": dump(config),
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def digest(config: ServiceConfig) -> str:
    """SHA-256 of the canonical JSON: equal for two services exactly when their processes would do the same."""
    canonical = json.dumps(dump(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _program(service: Service, place: Place, programs: Programs) -> Program:
    config = service.config
    file = generations.service_file(place.state_dir, config.name)
    script = programs.script(config.protocol)
    return Program(
        name=ini_word(config.name),
        command=(_word(programs.python), _word(script), ini_word("--config"), _word(file)),
        stop_signal=config.stop.signal,
        priority=SERVICE_PRIORITY,
        log=_word(place.logs / f"{config.name}.out"),
        stops=_STOPS[config.protocol],
    )


def _word(path: Path) -> IniWord:
    try:
        return ini_word(str(path))
    except ValueError as error:
        raise ConfigError(f"the path {path} {error}; install Postroom elsewhere") from None


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only those who render pay for it

    environment = Environment(
        loader=FileSystemLoader(resources.templates()),
        autoescape=False,  # noqa: S701 - an INI: only IniWords reach it
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(CONFIGURATION)
