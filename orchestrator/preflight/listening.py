"""Who listens where on this host: from the kernel's tables to processes, as far as this user may see them."""

import contextlib
import ipaddress
import itertools
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrator.preflight.host import user_name

_LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp. tcp_states.h of Linux."""
_UNIX = Path("/proc/net/unix")
_UNIX_LISTENS = "00010000"
"""Flags of a listening socket in /proc/net/unix: __SO_ACCEPTCON of Linux."""
_TABLES = ((Path("/proc/net/tcp"), socket.AF_INET), (Path("/proc/net/tcp6"), socket.AF_INET6))
_COMMAND_SHOWN = 100
"""Characters of a command line: program, script and what comes first."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One listening socket."""

    host: str
    port: int
    uid: int
    """Whose it is."""
    inode: int

    def is_in_the_way_of(self, host: str) -> bool:
        """Whether its port cannot be listened on at `host`: the same one, or one of the two is a wildcard."""
        mine, other = ipaddress.ip_address(self.host), ipaddress.ip_address(host)
        return mine.version == other.version and (mine == other or mine.is_unspecified or other.is_unspecified)

    def may_be_in_the_way_of(self, host: str) -> bool:
        """It is the wildcard of IPv6, which takes IPv4 along unless told not to: the kernel's tables do not say."""
        return self.host == "::" and ":" not in host


class Sockets:
    """One look at the sockets of this host, taken where it is first needed: to look for each port anew would cost a
    walk through the descriptors of every process."""

    @cached_property
    def _endpoints(self) -> Mapping[int, Sequence[Endpoint]]:
        """By port."""
        found: dict[int, list[Endpoint]] = {}
        for table, family in _TABLES:
            for fields in _rows(table):
                if fields[3] == _LISTEN:
                    host, _, number = fields[1].rpartition(":")
                    endpoint = Endpoint(_address(host, family), int(number, 16), int(fields[7]), int(fields[9]))
                    found.setdefault(endpoint.port, []).append(endpoint)
        return found

    @cached_property
    def _holders(self) -> Mapping[str, Set[int]]:
        """Pids by what their descriptors lead to, as far as this user may see them."""
        found: dict[str, set[int]] = {}
        for pid in _pids():
            for target in _descriptors(pid):
                found.setdefault(target, set()).add(pid)
        return found

    def in_the_way(self, host: str, port: int) -> Sequence[Endpoint]:
        """Of the sockets that listen on `port`, those that keep others from `host`."""
        found = self._endpoints.get(port, ())
        return [one for one in found if one.is_in_the_way_of(host)] or [
            one for one in found if one.may_be_in_the_way_of(host)
        ]

    def holders(self, inode: int) -> Set[int]:
        """Pids of the processes that have a socket; empty when they are another user's and this is not root."""
        return self._holders.get(f"socket:[{inode}]", frozenset())

    def unix_holders(self, path: Path) -> Set[int]:
        """Pids of the processes that have the unix socket that listens at `path`, as far as this user may see them."""
        wanted = (int(row[6]) for row in _rows(_UNIX) if row[7:] == [os.fspath(path)] and row[3] == _UNIX_LISTENS)
        return frozenset().union(*map(self.holders, wanted))

    def is_listening(self, pid: int) -> bool:
        """Whether a process has a socket that listens on the network."""
        return any(pid in self.holders(one.inode) for found in self._endpoints.values() for one in found)


def name(pid: int) -> str:
    """`pid 4711 (python3, user alice): python3 -m http.server 2110`."""
    folder = Path(f"/proc/{pid}")
    try:
        user = user_name(folder.stat().st_uid)
        program = printable((folder / "comm").read_text().strip())
        words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return f"pid {pid}"
    line = printable(b" ".join(words).decode(errors="replace"))
    return f"pid {pid} ({program}, user {user})" + (f": {line}" if line else "")


def other_suite(pid: int) -> str | None:
    """The state directory of another suite of this program that a master or worker belongs to."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    config = os.fsdecode(dict(itertools.pairwise(words)).get(b"--config", b""))
    folder, found, _ = config.partition("/generations/")
    return folder if found else None


def printable(text: str) -> str:
    """One line for a message, whatever a stranger has called itself."""
    short = text if len(text) <= _COMMAND_SHOWN else f"{text[: _COMMAND_SHOWN - 1]}…"
    return "".join(character if character.isprintable() else "?" for character in short)


def _address(text: str, family: socket.AddressFamily) -> str:
    """Of /proc/net/tcp: 32-bit words in the order of this host."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    if family == socket.AF_INET6 and (mapped := ipaddress.IPv6Address(packed).ipv4_mapped):
        return str(mapped)
    return socket.inet_ntop(family, packed)


def _rows(table: Path) -> list[list[str]]:
    """A path at the end of a row may have spaces; no other field has."""
    lines = table.read_text(errors="surrogateescape").splitlines()[1:] if table.exists() else []
    return [line.split(maxsplit=7 if table == _UNIX else -1) for line in lines]


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _descriptors(pid: int) -> set[str]:
    """What its descriptors lead to; empty when it has ended or belongs to somebody else."""
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.add(str(link.readlink()))
    except OSError:
        return set()
    return found
