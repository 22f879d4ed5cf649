"""Can every listener of the spec listen here?

A port that a process of this suite holds is no finding: whoever holds it either goes on with it, or lets it go in the
same apply, since a spec has each port once.
"""

import errno
import socket
from collections.abc import Iterator, Set

from maillib.settings.service import Listener
from orchestrator.preflight import listening
from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.preflight.host import Host, user_name
from orchestrator.preflight.listening import Endpoint, Sockets
from orchestrator.problems import Where
from orchestrator.spec import Spec

TAKEN = Kind(
    "port-taken",
    Severity.ERROR,
    "A process that is not of this suite listens where a service wants to, at that address or at a wildcard.",
    "end that process, or choose another port",
)
TAKEN_HELD = Kind(
    "port-taken-held",
    Severity.WARNING,
    "The same, of a service that is held: nothing is started now, and nothing could be.",
    "end that process before the service is started again, or choose another port",
)
PRIVILEGED = Kind(
    "port-privileged",
    Severity.ERROR,
    "The port is below the first one that anybody may bind (ip_unprivileged_port_start), and who applies has not the "
    "right to (root, or the capability CAP_NET_BIND_SERVICE).",
    "apply as root with `user:` set for the services, choose a port from that one on, or lower "
    "net.ipv4.ip_unprivileged_port_start",
)
NO_ADDRESS = Kind(
    "address-missing",
    Severity.ERROR,
    "No interface of this host has the address that a service wants to listen on.",
    "use an address of this host, or `:PORT` for all of them",
)
UNUSABLE = Kind(
    "port-unusable",
    Severity.ERROR,
    "The operating system refuses the address and port for another reason.",
    "choose another address",
)

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - the spec wants every address


def find(spec: Spec, host: Host, sockets: Sockets, ours: Set[int], held: Set[str]) -> Iterator[Finding]:
    """`ours`: the processes of this suite; `held`: services that an apply does not start."""
    for name, service in spec.services.items():
        for number, listener in enumerate(service.config.listen if service.enabled else ()):
            where = ("services", name, "listen", number, "address")
            for finding in _find(where, listener, host, sockets, ours):
                is_put_off = finding.kind is TAKEN and name in held
                yield TAKEN_HELD.at(where, finding.message) if is_put_off else finding


def _find(where: Where, listener: Listener, host: Host, sockets: Sockets, ours: Set[int]) -> Iterator[Finding]:
    for address in [listener.host] if listener.host else WILDCARDS:
        error = _bind(address, listener.port)
        if error is not None and error.errno == errno.EADDRINUSE:
            finding = _taken(where, address, listener, sockets, ours)
        else:
            finding = None if error is None else _refused(where, error, listener, host)
        if finding is not None and _bind(address, listener.port) is not None:  # else its holder was about to let it go
            yield finding
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


def _refused(where: Where, error: OSError, listener: Listener, host: Host) -> Finding | None:
    match error.errno:
        case errno.EACCES | errno.EPERM if missing := privileged(where, listener, host):
            return missing
        case errno.EADDRNOTAVAIL:
            return NO_ADDRESS.at(where, f"{listener.address} is no address of this host")
        case errno.EAFNOSUPPORT if not listener.host:
            return None  # a host without IPv6: every address is those of IPv4
    return UNUSABLE.at(where, f"{listener.address} cannot be bound: {error.strerror}")


def privileged(where: Where, listener: Listener, host: Host) -> Finding | None:
    """Whether the right to a low port is missing."""
    if host.binds_low_ports or listener.port >= host.first_free_port:
        return None
    return PRIVILEGED.at(
        where,
        f"{host.me} may not bind port {listener.port} of {listener.address}: ports below {host.first_free_port} need "
        f"root or CAP_NET_BIND_SERVICE",
    )


def _taken(where: Where, address: str, listener: Listener, sockets: Sockets, ours: Set[int]) -> Finding | None:
    in_the_way = sockets.in_the_way(address, listener.port)
    for endpoint in in_the_way:
        pids = sockets.holders(endpoint.inode)
        if not pids & ours:  # who shares a socket of ours has inherited it
            said = f"port {listener.port} of {listener.address} is taken by {_named(sorted(pids), endpoint)}"
            return TAKEN.at(where, said)
    if in_the_way:
        return None  # by us
    return TAKEN.at(where, f"port {listener.port} of {listener.address} is taken by a process that does not listen")


def _named(pids: list[int], endpoint: Endpoint) -> str:
    """The first; others have most likely inherited from it."""
    if not pids:
        return f"a process of user {user_name(endpoint.uid)}, which only that user and root may look at"
    suite = listening.other_suite(pids[0])
    more = f" and {len(pids) - 1} more" if len(pids) > 1 else ""
    owner = f"of the suite in {listening.printable(suite)}" if suite else "not of this suite"
    return f"{listening.name(pids[0])}{more}, {owner}"
