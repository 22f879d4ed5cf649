"""Whether this host is as the spec needs it, found out before anything is changed.

Each finding is one line that says what is wrong and, where there is one, the way out. What our own processes hold is
no finding: their ports move with them.
"""

import contextlib
import errno
import os
import pwd
import resource
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from maillib import control
from maillib.errors import ConfigError
from maillib.settings.service import Listener, ServiceConfig
from orchestrator import folders, generation, operate
from orchestrator.errors import PreflightFailed
from orchestrator.place import Place
from orchestrator.spec import Spec

_LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp. tcp_states.h of Linux."""
_SPARE_FILES = 64
"""Descriptors of a process that no connection uses: logs, databases, message files."""

_COMMAND_SHOWN = 100
"""Characters of a command line: program, script and what comes first."""


def check(spec: Spec) -> None:
    """Raises PreflightFailed with every finding."""
    findings = list(find(spec))
    if findings:
        raise PreflightFailed("\n".join(findings))


def find(spec: Spec) -> Iterator[str]:
    """Everything that speaks against an apply of `spec` on this host now."""
    yield from _state_dir(spec.state_dir)
    yield from _one_file_system(spec.state_dir)
    yield from _data_of_others(spec)
    ours = {pid for pid, _ in operate.processes(Place(spec.state_dir))}
    for service in spec.services.values():
        if service.enabled:
            yield from _user(service.config)
            yield from _limits(service.config)
            for listener in service.config.listen:
                yield from _port(service.config.name, listener, ours)
    if spec.tls_mode == "files":
        yield from _certificate(spec)


def _state_dir(state_dir: Path) -> Iterator[str]:
    existing = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    if not existing.is_dir():
        yield f"state_dir: {existing} is no directory"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"state_dir: {existing} is not writable for {_me()}"
    elif existing == state_dir:
        try:
            control.refuse_dir_of_others(state_dir)
        except ConfigError as error:
            yield f"state_dir: {error}"


def _one_file_system(state_dir: Path) -> Iterator[str]:
    """Delivery links the spool's file into the store; it can copy, but nobody who mounts one apart wants that."""
    devices = {path.stat().st_dev for path in (state_dir / "spool", state_dir / "mail") if path.exists()}
    if len(devices) > 1:
        yield f"{state_dir}/spool and {state_dir}/mail are on different file systems; deliveries could not link"


def _data_of_others(spec: Spec) -> Iterator[str]:
    """An apply by root gives the data to the services' user: not what was there before the suite, /var/spool say."""
    user = folders.services_user(spec)
    if user is None or generation.folder(spec.state_dir).exists():
        return
    for folder in (spec.state_dir / name for name in folders.DATA):
        if folder.is_dir() and folder.stat().st_uid != user.pw_uid and any(folder.iterdir()):
            yield (
                f"state_dir: {folder} is there already and does not belong to {user.pw_name}; name another state_dir, "
                f"or chown -R {user.pw_name} {folder} where it is mail of this suite"
            )


def _user(config: ServiceConfig) -> Iterator[str]:
    if config.user is None:
        return
    try:
        entry = pwd.getpwnam(config.user)
    except KeyError:
        yield f"{config.name}: there is no user {config.user} on this host"
        return
    if os.geteuid() not in (0, entry.pw_uid):
        yield f"{config.name}: only root can have workers run as {config.user}; this is {_me()}"


def _limits(config: ServiceConfig) -> Iterator[str]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.limits.open_files
    if hard != resource.RLIM_INFINITY and wanted > hard and os.geteuid() != 0:
        yield f"{config.name}: limits.open_files is {wanted}, this host allows {hard} (ulimit -Hn)"
    elif wanted < config.limits.connections // config.processes + _SPARE_FILES:
        yield f"{config.name}: limits.open_files is {wanted}, too few for {config.limits.connections} connections"


def _port(service: str, listener: Listener, ours: set[int]) -> Iterator[str]:
    hosts = [listener.host] if listener.host else ["0.0.0.0", "::"]  # noqa: S104 - the spec wants every address
    for host in hosts:
        error = _bind(host, listener.port)
        finding = None if error is None else _why_not(error, listener, ours)
        if finding is not None and _bind(host, listener.port) is not None:  # else its holder was about to let it go
            yield f"{service}: {finding}"
            return


def _bind(host: str, port: int) -> OSError | None:
    """Try, without listening: nobody can connect meanwhile. The error; None: it could be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
    except OSError as error:
        return error
    return None


def _why_not(error: OSError, listener: Listener, ours: set[int]) -> str | None:
    match error.errno:
        case errno.EADDRINUSE:
            holders = _holders(listener)
            if holders and holders <= ours:
                return None
            return f"port {listener.port} of {listener.address} is taken by {_named(sorted(holders - ours))}"
        case errno.EACCES:
            return (
                f"{_me()} may not bind port {listener.port} of {listener.address}; ports below 1024 need the right to"
            )
        case errno.EADDRNOTAVAIL:
            return f"{listener.address} is no address of this host"
        case errno.EAFNOSUPPORT if not listener.host:
            return None  # a host without IPv6: every address is those of IPv4
    return f"{listener.address} cannot be bound: {error.strerror}"


def _holders(listener: Listener) -> set[int]:
    """Processes that listen where `listener` wants to, as far as this user may see them."""
    inodes = set()
    for table, family in ((Path("/proc/net/tcp"), socket.AF_INET), (Path("/proc/net/tcp6"), socket.AF_INET6)):
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        for fields in map(str.split, rows):
            host, _, port = fields[1].rpartition(":")
            address = _address(host, family)
            overlaps = not listener.host or address in (listener.host, "0.0.0.0", "::")  # noqa: S104 - compared
            if fields[3] == _LISTEN and int(port, 16) == listener.port and overlaps:
                inodes.add(f"socket:[{fields[9]}]")
    return {pid for pid in _pids() if inodes & _sockets(pid)} if inodes else set()


def _address(text: str, family: socket.AddressFamily) -> str:
    """Of /proc/net/tcp: 32-bit words in the order of this host."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return socket.inet_ntop(family, packed)


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _sockets(pid: int) -> set[str]:
    """What its descriptors lead to; empty when it has ended or belongs to somebody else."""
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.add(str(link.readlink()))
    except OSError:
        return set()
    return found


def _named(pids: list[int]) -> str:
    """The first; others have most likely inherited from it."""
    if not pids:
        return "another process"
    more = f" and {len(pids) - 1} more" if len(pids) > 1 else ""
    return f"pid {pids[0]}{more}: {_command(pids[0])}"


def _command(pid: int) -> str:
    """Its command line, shortened; its name where it has none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        line = b" ".join(words).decode(errors="replace") or Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a process"
    line = "".join(character if character.isprintable() else "?" for character in line[:_COMMAND_SHOWN])
    return line if len(line) < _COMMAND_SHOWN else f"{line}…"


def _certificate(spec: Spec) -> Iterator[str]:
    """Mode files: both there, a pair, in time, and the key closed to others."""
    files = next((service.config.tls for service in spec.services.values() if service.config.tls), None)
    if files is None:
        return
    import ssl

    key = Path(files.private_key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, key, password=_no_password)
        mode = stat.S_IMODE(key.stat().st_mode)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        yield f"tls: {files.certificate} and {key} cannot be used: {error}"
        return
    if mode & 0o027:
        yield f"tls: {key} has mode {mode:04o}; chmod 0640 or tighter"
    yield from _expired(Path(files.certificate))


def _expired(path: Path) -> Iterator[str]:
    import datetime

    from cryptography import x509

    ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    if ends < datetime.datetime.now(datetime.UTC):
        yield f"tls: {path} ended on {ends:%Y-%m-%d}"


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted; a key without a password is needed")


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
