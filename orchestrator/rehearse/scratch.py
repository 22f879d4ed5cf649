"""A copy of the user's spec that can run beside everything else on this host, in a folder of its own.

What is the same: services, listeners with their roles, TLS and log-in rules, limits, settings, stop, processes,
dependencies; domains, users, aliases and lists. What is not, and why:

- addresses are free ports of the loopback, `state_dir` is in the scratch folder;
- `user` is left out where this user may not change to it;
- no secret is needed: declared passwords are left out (nobody but guests logs in), and where the files of tls mode
  `files` cannot be read here, a pair made for the rehearsal stands in;
- entries of `retrieval` are left out: a rehearsal fetches nobody's mail.
"""

import json
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from orchestrator import certificates, holds, operate, yamltext
from orchestrator.fields import SocketAddress, absolute
from orchestrator.place import Place
from orchestrator.spec import Spec
from orchestrator.yamltext import Plain

PREFIX = "postroom-rehearsal-"
KEEP_ALL, KEEP_LOGS = "all", "logs"
"""What `remove` can be told to leave."""


class Ports:
    """Free ports of the loopback, nobody else's until the end of the block: bound, but not listened on."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []
        self.declared: dict[str, str] = {}
        """Address here to the one it stands for."""

    def __enter__(self) -> "Ports":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in self._held:
            sock.close()

    def instead_of(self, address: str) -> str:
        """A free address; of the same family, where this host has that."""
        wants_v6 = ":" in SocketAddress.parse(address).host
        here = str((wants_v6 and self._hold(socket.AF_INET6, "::1")) or self._hold(socket.AF_INET, "127.0.0.1"))
        self.declared[here] = str(SocketAddress.parse(address))
        return here

    def _hold(self, family: socket.AddressFamily, host: str) -> SocketAddress | None:
        """None: there is no IPv6 here. With SO_REUSEADDR at both, a master may bind it, too, and listen."""
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            self._held.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, 0))
        except OSError:
            if family == socket.AF_INET6:
                return None
            raise
        return SocketAddress(host, int(sock.getsockname()[1]))


def new_folder() -> Path:
    """For one rehearsal; its path is short enough for sockets below it."""
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def write(spec: Spec, folder: Path, ports: Ports) -> tuple[Path, list[str]]:
    """Write the copy; the path of its services.yaml, and what is not as it is declared. Raises SpecErrors, OSError.

    JSON is YAML: a kept copy can be applied and changed like any spec.
    """
    remarks: list[str] = []
    copy = _mapping(yamltext.read(spec.path).value)
    copy["state_dir"] = str(place(folder).state_dir)
    copy["tls"] = _tls(_mapping(copy.get("tls")), spec, folder, remarks)
    services = [_mapping(service) for service in _mapping(copy["services"]).values()]
    for service in services:
        for listener in map(_mapping, _list(service.get("listen"))):
            listener["address"] = ports.instead_of(str(listener["address"]))
    _drop_users(services, folder, remarks)
    if spec.accounts is not None:
        copy["accounts"] = "accounts.yaml"
        accounts = _without_secrets(_mapping(yamltext.read(spec.accounts).value))
        (folder / "accounts.yaml").write_text(_json(accounts), encoding="utf-8")
    path = folder / "services.yaml"
    path.write_text(_json(copy), encoding="utf-8")
    return path, remarks


def remove(folder: Path, keep: str) -> None:
    """End all that runs there, and remove the folder but for what is to be kept."""
    here = place(folder)
    names = [path.name for path in (here.run / "services").glob("*")]
    if names and keep == KEEP_ALL:  # whoever applies what is kept finds nothing held
        holds.announce_stop(here.state_dir, names, by="postroom rehearse")
    operate.end_all(here, names, drain_s=0.0, tell=lambda line: None)
    if not here.run.is_relative_to(folder):
        shutil.rmtree(here.run, ignore_errors=True)
    if keep == KEEP_ALL:
        return
    for path in [*folder.iterdir(), *(here.state_dir.iterdir() if here.state_dir.is_dir() else ())]:
        if keep == KEEP_LOGS and path in (here.state_dir, here.logs):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if keep != KEEP_LOGS:
        folder.rmdir()


def place(folder: Path) -> Place:
    return Place(folder / "var")


def _tls(tls: dict[str, Plain], spec: Spec, folder: Path, remarks: list[str]) -> dict[str, Plain]:
    if spec.tls_mode == "self-signed":
        return tls
    base = spec.path.parent
    certificate = Path(absolute(base, str(tls["certificate"])))
    key = Path(absolute(base, str(_mapping(tls["private_key"])["file"])))
    if not (os.access(certificate, os.R_OK) and os.access(key, os.R_OK)):
        remarks.append(f"tls: {certificate} and its key cannot be read here; a pair made for the rehearsal stands in")
        certificates.ensure(folder, spec.hostname)
        certificate, key = certificates.folder(folder) / "cert.pem", certificates.folder(folder) / "key.pem"
    return {"mode": "files", "certificate": str(certificate), "private_key": {"file": str(key)}}


def _drop_users(services: Sequence[dict[str, Plain]], folder: Path, remarks: list[str]) -> None:
    """Workers then stay who rehearses, as the whole of the spec's services share one user."""
    names = {str(service["user"]) for service in services if service.get("user") is not None}
    if all(map(_may_become, names)):
        if names and operate.is_root():
            folder.chmod(0o711)  # workers pass through; there are no secrets in it
        return
    for service in services:
        service.pop("user", None)
    remarks.append(f"user: workers cannot become {', '.join(sorted(names))} here; they run as who rehearses")


def _may_become(name: str) -> bool:
    try:
        return os.geteuid() in (0, pwd.getpwnam(name).pw_uid)
    except KeyError:
        return False


def _without_secrets(accounts: dict[str, Plain]) -> dict[str, Plain]:
    for domain in _mapping(accounts.get("domains")).values():
        for user in _mapping(_mapping(domain).get("users")).values():
            for secret in ("password", "password_hash"):
                _mapping(user).pop(secret, None)
    accounts.pop("retrieval", None)
    return accounts


def _mapping(value: Plain) -> dict[str, Plain]:
    """`value` itself, of a valid file; an empty one where it is left out or null."""
    return value if isinstance(value, dict) else {}


def _list(value: Plain) -> list[Plain]:
    return value if isinstance(value, list) else []


def _json(value: Plain) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
