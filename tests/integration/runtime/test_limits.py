"""Limits of a service: connections over all processes, per address, descriptors."""

import contextlib
import os
import pwd
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from maillib.control import Verb
from maillib.settings.service import Limits, Listener, TlsFiles
from tests.support.certificate import make_certificate
from tests.support.program import Client, Program, until

REFUSAL = b"-ERR too many connections\r\n"


def test_the_limit_of_connections_holds_over_all_processes(program: Program) -> None:
    """Where all have logged in, one more is told so and closed; when one leaves, the next is served."""
    program.start(limits=Limits(connections=3, connections_per_ip=100))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(program.client()) for _ in range(3)]
        for client in clients:
            client.say("USER")
        with program.client() as refused:
            assert (refused.greeting, refused.hear()) == (REFUSAL, b"")
        clients[0].say("QUIT")
        until(lambda: program.status()["connections"] == 2, "free place")
        with program.client() as served:
            assert served.say("QUIT") == b"+OK QUIT\r\n"


def test_who_only_sits_there_keeps_nobody_out(program: Program) -> None:
    """At the limit the one that has been silent for longest, and has not logged in, is told so and makes room."""
    program.start(processes=1, limits=Limits(connections=3, connections_per_ip=100))
    with program.client() as first, program.client() as second, program.client() as third:
        first.say("USER")
        third.say("hello")
        later = time.monotonic() + 0.01  # the worker's clock counts milliseconds
        while time.monotonic() < later:
            second.say("hello")
        with program.client() as fourth:
            assert fourth.greeting == b"+OK ready\r\n"
            assert (third.hear(), third.hear()) == (REFUSAL, b"")
            assert first.say("hello") == second.say("hello") == fourth.say("hello") == b"+OK hello\r\n"


def test_stalled_handshakes_keep_nobody_out(program: Program, tls_files: TlsFiles) -> None:
    """A client that connects where TLS is expected and says nothing makes room for one that does."""
    listener = Listener(host="127.0.0.1", port=program.port, tls="implicit")
    limits = Limits(connections=2, connections_per_ip=100)
    program.start(processes=1, listen=(listener,), tls=tls_files, limits=limits)
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", program.port), timeout=20)) for _ in range(4)
        ]
        _, served = common_name(program.port)
        served.sendall(b"QUIT\r\n")
        assert served.recv(100) == b"+OK QUIT\r\n"
        served.close()
        assert silent[0].recv(100) == b""


def test_the_limit_per_address_does_not_hurt_others(program: Program) -> None:
    """An address that has all it may have is refused; another one is served."""
    every = Listener(host="0.0.0.0", port=program.port, tls="none")
    program.start(listen=(every,), limits=Limits(connections=100, connections_per_ip=2))
    with program.client(), program.client(), program.client() as refused, Client(program.port, "127.0.0.2") as mine:
        assert refused.greeting == REFUSAL
        # The client's own address is chosen by the kernel: to 127.0.0.2 it is 127.0.0.1 as well.
        assert mine.greeting == REFUSAL
        with socket.create_connection(
            ("127.0.0.1", program.port), source_address=("127.0.0.3", 0), timeout=20
        ) as other:
            assert other.recv(100) == b"+OK ready\r\n"


def test_descriptors_are_kept_for_open_sessions(program: Program) -> None:
    """Connections never take the last descriptors of a worker: one more is refused, and the others go on."""
    program.start(processes=1, limits=Limits(connections=500, connections_per_ip=500, open_files=80))
    (worker,) = program.workers()
    with contextlib.ExitStack() as stack:
        served: list[Client] = []
        while (client := stack.enter_context(program.client())).greeting != REFUSAL:
            assert client.say("USER") == b"+OK USER\r\n"
            served.append(client)
        assert len(list(Path(f"/proc/{worker}/fd").iterdir())) <= 80 - 16
        assert served[0].say("hello") == b"+OK hello\r\n"
        served[1].say("QUIT")
        until(lambda: program.status()["connections"] == len(served) - 1, "free place")
        assert stack.enter_context(program.client()).greeting == b"+OK ready\r\n"


@pytest.fixture
def tls_files(tmp_path: Path) -> TlsFiles:
    """A key and a certificate that only we can read."""
    files = TlsFiles(certificate=str(tmp_path / "cert.pem"), private_key=str(tmp_path / "key.pem"))
    make_certificate(files, "first.test")
    return files


def common_name(port: int) -> tuple[bytes, ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20))
    assert sock.recv(100) == b"+OK ready\r\n"
    certificate = sock.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate, sock


def test_a_reload_takes_a_new_certificate_and_keeps_tls_sessions(program: Program, tls_files: TlsFiles) -> None:
    """New connections see the new certificate, an open TLS session goes on with the old one."""
    listener = Listener(host="127.0.0.1", port=program.port, tls="implicit")
    program.start(listen=(listener,), tls=tls_files)
    first, old = common_name(program.port)
    before = program.status()["certificate"]
    make_certificate(tls_files, "second.test")
    assert program.ask({"verb": Verb.RELOAD})["ok"]
    second, new = common_name(program.port)
    assert program.status()["certificate"] not in (None, before)
    assert b"first.test" in first and b"second.test" in second
    for sock in (old, new):
        sock.sendall(b"QUIT\r\n")
        assert sock.recv(100) == b"+OK QUIT\r\n"
        sock.close()


def test_a_key_that_does_not_fit_refuses_the_reload(program: Program, tls_files: TlsFiles) -> None:
    """A certificate without its key is an answer, not an outage."""
    listener = Listener(host="127.0.0.1", port=program.port, tls="implicit")
    program.start(listen=(listener,), tls=tls_files)
    Path(tls_files.private_key).write_text("no key\n")
    answer = program.ask({"verb": Verb.RELOAD})
    assert not answer["ok"] and "certificate and private key" in str(answer["error"])
    common_name(program.port)[1].close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another user")
def test_workers_drop_to_their_user_and_the_master_stays(program: Program, tls_files: TlsFiles) -> None:
    """The key is root's alone, and yet a worker that runs as nobody serves TLS; it cannot become root again."""
    for folder in (program.folder, *program.folder.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o005)
    program.state_dir.chmod(0o755)
    listener = Listener(host="127.0.0.1", port=program.port, tls="implicit")
    master = program.start(listen=(listener,), tls=tls_files, user="nobody", processes=1)
    common_name(program.port)[1].close()
    (worker,) = program.workers()
    nobody = str(pwd.getpwnam("nobody").pw_uid)
    assert _uids(worker) == [nobody] * 4
    assert _uids(master.pid) == ["0"] * 4
    assert program.ask({"verb": Verb.RESTART})["ok"]
    common_name(program.port)[1].close()
    master.send_signal(signal.SIGTERM)
    assert master.wait(20) == 0


def _uids(pid: int) -> list[str]:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")]
    return line.split()[1:]
