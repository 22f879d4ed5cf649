"""What master and workers of one service are told: the JSON file of the service in a generation.

`postroom config --resolved --service NAME` prints the same, and `python workers/NAME.py --config FILE` runs from it.
Secrets are never in it, only where to read them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from maillib.errors import ConfigError
from maillib.settings.base import Json, Octets, Range, Seconds, load
from maillib.settings.change import Change, at
from maillib.settings.imap import ImapSettings
from maillib.settings.pop import PopSettings
from maillib.settings.smtp import SmtpSettings
from maillib.settings.spool import SpoolSettings

SCHEMA_VERSION = 1

_RESERVED_FILES = 64
"""Descriptors of a process that connections cannot take: listeners, databases, the log."""
_FILES_EACH = 2
"""A connection's: its socket, and the message that it writes or reads."""

AnySettings = SmtpSettings | SpoolSettings | ImapSettings | PopSettings

SETTINGS: dict[str, type[AnySettings]] = {
    "smtp": SmtpSettings,
    "spool": SpoolSettings,
    "imap": ImapSettings,
    "pop": PopSettings,
}
"""Protocol name to the class of its `settings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address to accept connections on."""

    host: str
    """IPv4 or IPv6 address without brackets; empty: every address of both families."""
    port: int
    tls: Literal["none", "starttls", "implicit"]
    role: Literal["mx", "submission"] | None = None
    """SMTP only."""
    cleartext_login: bool = False
    """Log-in without TLS is allowed here."""
    proxy_from: tuple[str, ...] = ()
    """Networks of balancers; a connection from there begins with a PROXY header, which is believed."""

    @property
    def address(self) -> str:
        """`host:port` as people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """How this service stops."""

    signal: Annotated[Literal["TERM", "INT", "QUIT"], Change.RESTART] = "TERM"
    """The signal that supervisord sends to stop it."""
    drain: Annotated[Seconds, Range(0, 3600), Change.LIVE] = 60.0
    """How long sessions that are open at a stop may go on."""
    after: Annotated[Literal["goodbye", "kill"], Change.LIVE] = "goodbye"
    """What ends a session when that time has passed: a last reply at the next command, or no word at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one service may use."""

    connections: Annotated[int, Range(1, 1_000_000), Change.LIVE] = 500
    """Connections at the same time, over all its processes; then who has not logged in and has been silent for longest
    makes room for the next. More than the running workers have room to count (never less than 896) is a reload."""
    connections_per_ip: Annotated[int, Range(1, 1_000_000), Change.LIVE] = 200
    """Of these, from one IP address; of IPv6 from one /64."""
    memory: Annotated[Octets, Range(67_108_864, 2**40), Change.RELOAD] = 536_870_912
    """Memory of one process."""
    open_files: Annotated[int, Range(64, 1_048_576), Change.RELOAD] = 4096
    """Open files of one process: 64 for itself, and two for each connection, which may write or read a message."""

    def connections_with(self, open_files: int) -> int:
        """Connections that a process has room for which may open so many files."""
        return max(1, (open_files - _RESERVED_FILES) // _FILES_EACH)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where certificate and key are; read by the master, which may be the only one allowed to."""

    certificate: str
    private_key: str

    def certificate_digest(self) -> str | None:
        """Tells whether the certificate has changed, and with it the key; None: it cannot be read."""
        try:
            return hashlib.sha256(Path(self.certificate).read_bytes()).hexdigest()[:16]
        except OSError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCommon:
    """What every service has, whatever its protocol. Everything is resolved, all paths are absolute."""

    name: str
    protocol: Annotated[Literal["smtp", "spool", "imap", "pop"], Change.RESTART]
    hostname: Annotated[str, Change.RELOAD]
    state_dir: str
    run_dir: str
    """Where sockets are: `STATE_DIR/run`, or a short directory when socket paths would not fit there."""
    processes: Annotated[int, Change.RELOAD]
    user: Annotated[str | None, Change.RELOAD]
    listen: Annotated[tuple[Listener, ...], Change.RELISTEN]
    stop: Stop
    limits: Limits
    tls: Annotated[TlsFiles | None, Change.RELOAD]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig(ServiceCommon):
    """One service with the settings of its protocol."""

    settings: AnySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFile:
    """The file itself."""

    generation: int
    """0: not part of a generation."""
    digest: str
    """SHA-256 of the canonical JSON of the service: equal digests mean that nothing changed."""
    service: ServiceConfig


def change_of(protocol: str, keys: Sequence[str]) -> Change:
    """The class of a key of a service's file; `RELOAD`, which takes up everything, for one that is not known."""
    if keys[:1] == ["settings"] and protocol in SETTINGS:
        found = at(SETTINGS[protocol], keys[1:])
    else:
        found = at(ServiceCommon, keys)
    return found or Change.RELOAD


def parse(text: str | bytes) -> ServiceFile:
    """Raises ConfigError."""
    try:
        data: Json = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(f"schema_version is not {SCHEMA_VERSION}")
    service = data.get("service")
    if not isinstance(service, dict) or service.get("protocol") not in SETTINGS:
        raise ConfigError(f"/service/protocol is none of {', '.join(SETTINGS)}")
    settings = load(SETTINGS[str(service["protocol"])], service.get("settings"), "/service/settings")
    common = load(ServiceCommon, {key: value for key, value in service.items() if key != "settings"}, "/service")
    config = ServiceConfig(**{field.name: getattr(common, field.name) for field in fields(common)}, settings=settings)
    generation, digest = data.get("generation", 0), data.get("digest", "")
    if not isinstance(generation, int) or not isinstance(digest, str):
        raise ConfigError("/generation is no number or /digest no text")
    return ServiceFile(generation=generation, digest=digest, service=config)


def encode(file: ServiceFile) -> bytes:
    """What `parse` reads back to an equal value."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(file)}).encode()


def read(path: Path) -> ServiceFile:
    """Raises ConfigError with the path in it."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
