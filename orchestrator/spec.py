"""Reads services.yaml and resolves it: every default filled in, every path absolute.

Guarantees: a `Spec` is valid as a whole; everything that is wrong is told at once (SpecErrors). Reads that one file and
nothing else of the host. Leaves to others: whether users, certificates and free ports exist (pre-flight), and what is
to be done about it (plan).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from maillib import control
from maillib.settings.base import Json, dump
from maillib.settings.service import Listener, ServiceConfig, TlsFiles
from orchestrator import model, yamltext
from orchestrator.crosscheck import crosscheck
from orchestrator.fields import SocketAddress, absolute
from orchestrator.problems import MAX_PROBLEMS, Problem, SpecErrors
from orchestrator.validation import elsewhere, validate
from orchestrator.yamltext import Document

SCHEMA_VERSION = 1
"""Of `resolved`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service: what only the orchestrator needs, and what its processes are told."""

    enabled: bool
    depends_on: tuple[str, ...]
    config: ServiceConfig

    @property
    def name(self) -> str:
        return self.config.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A valid services.yaml."""

    path: Path
    text: bytes
    """The file as it was read."""
    hostname: str
    state_dir: Path
    run_dir: Path
    accounts: Path | None
    """File with declared accounts; None when the spec names none."""
    tls_mode: Literal["self-signed", "files"]
    services: Mapping[str, Service]
    """By name, in the order of the names."""


def read(path: Path) -> Spec:
    """The spec in the file `path`. Raises SpecErrors."""
    return resolve(yamltext.read(path), path)


def resolve(document: Document, path: Path) -> Spec:
    """The spec in `document`, whose relative paths start beside `path`. Raises SpecErrors."""
    folder = path.parent
    top, problems = validate(document, model.SpecFile)
    services, found = _services(document)
    default_state_dir = model.SpecFile.model_fields["state_dir"].default
    problems = [*document.problems, *problems, *found]
    problems += elsewhere(islice(crosscheck(document, folder, default_state_dir), MAX_PROBLEMS), problems)
    if problems or top is None:
        raise SpecErrors(problems)
    state_dir = Path(absolute(folder, top.state_dir))
    return Spec(
        path=path,
        text=document.data,
        hostname=top.hostname,
        state_dir=state_dir,
        run_dir=control.run_dir(state_dir),
        accounts=None if top.accounts is None else Path(absolute(folder, top.accounts)),
        tls_mode=top.tls.mode,
        services={name: _service(name, services[name], top, state_dir, folder) for name in sorted(services)},
    )


def resolved(spec: Spec) -> dict[str, Json]:
    """The whole spec after defaults, for people and machines; secrets as references."""
    return {
        "schema_version": SCHEMA_VERSION,
        "hostname": spec.hostname,
        "state_dir": str(spec.state_dir),
        "run_dir": str(spec.run_dir),
        "accounts": None if spec.accounts is None else str(spec.accounts),
        "tls": {"mode": spec.tls_mode},
        "services": {
            name: {"enabled": service.enabled, "depends_on": list(service.depends_on), "config": dump(service.config)}
            for name, service in spec.services.items()
        },
    }


def _services(document: Document) -> tuple[dict[str, model.AnyService], list[Problem]]:
    """Each service, validated as its protocol wants; those that are not valid are missing."""
    top = document.value
    entries = top.get("services") if isinstance(top, dict) else None
    services: dict[str, model.AnyService] = {}
    problems: list[Problem] = []
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        protocol = entry.get("protocol") if isinstance(entry, dict) else None
        where = ("services", name)
        if isinstance(protocol, str) and protocol in model.SERVICES:
            service, found = validate(document, model.SERVICES[protocol], where)
            if service is not None:
                services[name] = service
        else:
            _, found = validate(document, model.UnknownService, where)
        problems += found
        if len(problems) >= MAX_PROBLEMS:
            break
    return services, problems


def _service(name: str, service: model.AnyService, top: model.SpecFile, state_dir: Path, folder: Path) -> Service:
    listen = () if isinstance(service, model.SpoolService) else tuple(_listener(entry) for entry in service.listen)
    wants_tls = any(listener.tls != "none" for listener in listen)
    config = ServiceConfig(
        name=name,
        protocol=service.protocol,
        hostname=top.hostname,
        state_dir=str(state_dir),
        run_dir=str(control.run_dir(state_dir)),
        processes=service.processes,
        user=service.user,
        listen=listen,
        stop=service.stop,
        limits=service.limits,
        tls=_tls_files(top.tls, state_dir, folder) if wants_tls else None,
        settings=service.settings,
    )
    return Service(enabled=service.enabled, depends_on=tuple(service.depends_on), config=config)


def _listener(entry: model.Listener) -> Listener:
    address = SocketAddress.parse(entry.address)
    return Listener(
        host=address.host,
        port=address.port,
        tls=entry.tls,
        role=entry.role if isinstance(entry, model.SmtpListener) else None,
        cleartext_login=entry.cleartext_login,
        proxy_from=tuple(entry.proxy_from),
    )


def _tls_files(tls: model.Tls, state_dir: Path, folder: Path) -> TlsFiles:
    if tls.certificate is not None and tls.private_key is not None:
        return TlsFiles(
            certificate=absolute(folder, tls.certificate), private_key=absolute(folder, tls.private_key.file)
        )
    return TlsFiles(certificate=str(state_dir / "tls" / "cert.pem"), private_key=str(state_dir / "tls" / "key.pem"))
