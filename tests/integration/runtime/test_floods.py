"""Attacks on the door of a service: each keeps its own house, and an honest client elsewhere is served."""

import contextlib
import os
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from maillib.settings.service import Limits, Listener, TlsFiles
from tests.support.certificate import make_certificate
from tests.support.program import PATIENCE_S, Program, free_port, until

GREETING = b"+OK ready\r\n"


@pytest.fixture
def tls_files(program: Program) -> TlsFiles:
    files = TlsFiles(certificate=str(program.folder / "cert.pem"), private_key=str(program.folder / "key.pem"))
    make_certificate(files, "mail.example.test")
    return files


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def connect(port: int, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S, source_address=(source, 0))


def untrusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def greeting(port: int, source: str, *, tls: bool) -> bytes:
    """What an honest client hears."""
    with connect(port, source) as sock:
        if not tls:
            return sock.recv(100)
        with untrusting().wrap_socket(sock) as stream:
            return stream.recv(100)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_network_full_of_idle_clients(
    program: Program, tls_files: TlsFiles, stack: contextlib.ExitStack, tls: bool
) -> None:
    """They push out one another; a client elsewhere that was idle before stays, and one that comes later is greeted."""
    listener = Listener(host="0.0.0.0", port=program.port, tls="implicit" if tls else "none")
    limits = Limits(connections=30, connections_per_ip=10)
    program.start(processes=1, listen=(listener,), tls=tls_files, limits=limits)
    idle = stack.enter_context(connect(program.port, "127.0.5.1"))
    if tls:
        idle = stack.enter_context(untrusting().wrap_socket(idle))
    assert idle.recv(100) == GREETING
    for number in range(60):
        stack.enter_context(connect(program.port, f"127.0.9.{number % 12 + 1}"))
    assert greeting(program.port, "127.0.7.1", tls=tls) == GREETING
    idle.sendall(b"hello\r\n")
    assert idle.recv(100) == b"+OK hello\r\n"
    assert "refused peer=127.0.9." in program.log and "refused peer=127.0.5." not in program.log


def test_clients_that_go_at_every_point(program: Program, tls_files: TlsFiles) -> None:
    """Half-closed, closed or reset, before and within each step: no connection is left over, and no bug is met."""
    mails = free_port()
    listen = (
        Listener(host="127.0.0.1", port=program.port, tls="none"),
        Listener(host="127.0.0.1", port=mails, tls="implicit"),
    )
    program.start(listen=listen, tls=tls_files)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        untrusting().wrap_bio(incoming, outgoing).do_handshake()
    hello = outgoing.read()
    steps = {
        program.port: [b"", b"he", b"hello\r\n", b"hello\r\n" * 2000],
        mails: [b"", hello[:7], hello, b"hello\r\n"],
    }
    for port, sent in steps.items():
        for octets in sent:
            for end in ("half", "close", "reset"):
                with connect(port, "127.0.0.1") as sock:
                    with contextlib.suppress(OSError):  # it may be closed already
                        sock.sendall(octets)
                        if end == "half":
                            sock.shutdown(socket.SHUT_WR)
                            while sock.recv(65536):
                                pass
                    if end == "reset":
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: program.status()["connections"] == 0, "all are gone")
    assert greeting(program.port, "127.0.0.1", tls=False) == greeting(mails, "127.0.0.1", tls=True) == GREETING
    assert " bug " not in program.log


def test_no_descriptor_left(program: Program, stack: contextlib.ExitStack) -> None:
    """Where `accept` fails the worker waits and does not spin; open sessions go on, and then the next one is served."""
    program.start(processes=1)
    (worker,) = program.workers()
    served = stack.enter_context(program.client())
    used = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used, before[1]))
    waiting = stack.enter_context(connect(program.port, "127.0.0.1"))
    until(lambda: "Too many open files" in program.log, "accept has failed")
    ticks = cpu_ticks(worker)
    waiting.settimeout(1.0)
    with pytest.raises(TimeoutError):
        waiting.recv(100)
    assert cpu_ticks(worker) - ticks < os.sysconf("SC_CLK_TCK") // 4
    assert served.say("hello") == b"+OK hello\r\n"
    resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    waiting.settimeout(PATIENCE_S)
    assert waiting.recv(100) == GREETING
    assert program.log.count("Too many open files") == 1


def cpu_ticks(pid: int) -> int:
    """CPU time of a process in ticks of the kernel."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def test_idle_tls_connections_are_light_and_leave_nothing(
    program: Program, tls_files: TlsFiles, stack: contextlib.ExitStack
) -> None:
    """Each takes some 25 KiB, and when they have gone, the process is about as large as before."""
    listener = Listener(host="127.0.0.1", port=program.port, tls="implicit")
    limits = Limits(connections=500, connections_per_ip=500)
    program.start(processes=1, listen=(listener,), tls=tls_files, limits=limits)
    (worker,) = program.workers()
    assert greeting(program.port, "127.0.0.1", tls=True) == GREETING
    before, count, context = private_octets(worker), 300, untrusting()
    for _ in range(count):
        stream = stack.enter_context(context.wrap_socket(connect(program.port, "127.0.0.1")))
        assert stream.recv(100) == GREETING
    assert (private_octets(worker) - before) / count < 40 * 1024
    stack.close()
    until(lambda: private_octets(worker) - before < 4 * 1024 * 1024, "memory is given back")


def private_octets(pid: int) -> int:
    """Memory that the process shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
