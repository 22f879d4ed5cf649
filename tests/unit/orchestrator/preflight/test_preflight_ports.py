"""Ports: who is in the way, and who is not."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maillib.settings.service import Listener
from orchestrator import generation, processes
from orchestrator.place import Place
from orchestrator.preflight import host, listening, ports
from orchestrator.preflight.finding import Finding
from orchestrator.preflight.host import Host
from orchestrator.preflight.listening import Sockets
from orchestrator.spec import Spec, read
from tests.support.real_suite import free_ports

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this host has no IPv6")


def spec(folder: Path, address: str) -> Spec:
    path = folder / "services.yaml"
    path.write_text(
        "version: 1\nhostname: mail.example.test\nservices:\n"
        f'  pop: {{protocol: pop, listen: [{{address: "{address}"}}]}}\n'
    )
    return read(path)


def find(wanted: Spec, *held: str) -> list[Finding]:
    ours = {process.pid for process in processes.of_suite(Place(wanted.state_dir))}
    return [*ports.find(wanted, host.look(), Sockets(), ours, frozenset(held))]


def messages(wanted: Spec) -> list[str]:
    return [finding.message for finding in find(wanted)]


@contextmanager
def listener(address: str, config: Path) -> Iterator[int]:
    """A process that listens on a port of `address` and has the command line of a master. The port."""
    host, _, port = address.rpartition(":")
    code = f"import socket, sys; s = socket.create_server(({host!r}, {port})); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, "--config", str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate()


@needs_ipv6
@pytest.mark.parametrize("wanted", ["127.0.0.1:{}", ":{}", "[::1]:{}", "[::]:{}"])
def test_wildcard_of_both_families_is_in_everybodys_way(tmp_path: Path, wanted: str) -> None:
    """A socket on every address of IPv6 that takes IPv4 along is found, whatever the spec wants of its port."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as foreign:
        [message] = messages(spec(tmp_path, wanted.format(foreign.getsockname()[1])))
    assert f"pid {os.getpid()} (" in message and "not of this suite" in message


@needs_ipv6
def test_wildcard_of_ipv6_alone_leaves_ipv4_free(tmp_path: Path) -> None:
    """Two families are two ports."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=False) as foreign:
        assert messages(spec(tmp_path, f"127.0.0.1:{foreign.getsockname()[1]}")) == []


@pytest.mark.parametrize("wanted", ["127.0.0.1:{}", ":{}"])
def test_port_of_our_own_is_no_finding(tmp_path: Path, wanted: str) -> None:
    """Who of this suite holds it goes on with it, or lets it go in the same apply."""
    [port] = free_ports(1)
    with listener(f"127.0.0.1:{port}", generation.service_file(tmp_path / "var", "old")):
        assert messages(spec(tmp_path, wanted.format(port))) == []


def test_port_of_another_suite_names_its_place(tmp_path: Path) -> None:
    """Two suites of one host get in each other's way: the message says which."""
    [port] = free_ports(1)
    other = tmp_path / "elsewhere"
    with listener(f"127.0.0.1:{port}", generation.service_file(other, "pop")) as pid:
        [message] = messages(spec(tmp_path, f"127.0.0.1:{port}"))
    assert f"pid {pid} (" in message and f"user {host.user_name(os.geteuid())}" in message
    assert f"of the suite in {other}" in message


def test_port_of_a_held_service_stops_no_apply(tmp_path: Path) -> None:
    """Who stopped it may have lent its port to something else: a warning."""
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        wanted = spec(tmp_path, f"127.0.0.1:{foreign.getsockname()[1]}")
        assert [finding.kind for finding in find(wanted)] == [ports.TAKEN]
        assert [finding.kind for finding in find(wanted, "pop")] == [ports.TAKEN_HELD]


def test_port_that_is_bound_and_not_listened_on(tmp_path: Path) -> None:
    """It is as taken as any, though nobody can be named."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        [message] = messages(spec(tmp_path, f"127.0.0.1:{bound.getsockname()[1]}"))
    assert "does not listen" in message


def test_who_listens_on_the_network() -> None:
    """supervisord has no business there: whoever reaches it could start programs."""
    with socket.create_server(("127.0.0.1", 0)):
        assert Sockets().is_listening(os.getpid())


def test_strange_command_line_stays_on_one_line() -> None:
    """Whatever a process calls itself, the message is one short printable line."""
    shown = listening.printable("nc\n-l\x1b[2J" + "x" * 1000)
    assert shown.isprintable() and len(shown) <= 100


def may_bind(port: int, *, first_free_port: int, binds_low_ports: bool) -> bool:
    facts = Host(
        uid=1000,
        gid=1000,
        first_free_port=first_free_port,
        binds_low_ports=binds_low_ports,
        open_files=None,
        open_files_of_all=None,
        now=0.0,
    )
    return ports.privileged((), Listener(host="127.0.0.1", port=port, tls="none"), facts) is None


def test_low_ports_need_a_right() -> None:
    """Below ip_unprivileged_port_start only root and who has CAP_NET_BIND_SERVICE may listen."""
    assert not may_bind(25, first_free_port=1024, binds_low_ports=False)
    assert may_bind(25, first_free_port=1024, binds_low_ports=True)
    assert may_bind(25, first_free_port=25, binds_low_ports=False)
    assert may_bind(1024, first_free_port=1024, binds_low_ports=False)
