"""The PROXY protocol on real listeners: who is believed, what becomes of the others, a real balancer in front."""

import errno
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from maillib.settings.service import Limits, Listener, TlsFiles
from orchestrator import probe
from tests.support.certificate import make_certificate
from tests.support.program import PATIENCE_S, Program, free_port, until
from tests.support.proxy import header_v2

REFUSAL = b"-ERR too many connections\r\n"
TRUSTED = ("127.0.0.1/32",)


@contextmanager
def connection(port: int, header: bytes, *, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S, source_address=(source, 0)) as sock:
        sock.sendall(header)
        yield sock


def everything(sock: socket.socket) -> bytes:
    """Until the other side closes."""
    return b"".join(iter(lambda: sock.recv(4096), b""))


def behind_balancer(program: Program, **more: object) -> None:
    listener = Listener(host="127.0.0.1", port=program.port, tls="none", proxy_from=TRUSTED)
    program.start(listen=(listener,), processes=1, **more)


def test_a_balancers_word_counts_everywhere(program: Program) -> None:
    """Address and port of the header are in the list of sessions and in the log; what follows it is the client's."""
    behind_balancer(program)
    with connection(program.port, b"PROXY TCP6 2001:db8::7 ::1 4711 25\r\nhello\r\n") as sock:
        file = sock.makefile("rb")
        assert (file.readline(), file.readline()) == (b"+OK ready\r\n", b"+OK hello\r\n")
        (session,) = program.sessions()
        assert session["peer"] == "[2001:db8::7]:4711"
        assert re.search(r" connected .*peer=\[2001:db8::7\]:4711 .* via=127.0.0.1\n", program.log)
        file.close()


def test_a_header_in_pieces(program: Program) -> None:
    """However slowly it comes, it is read to its end, and no further."""
    behind_balancer(program)
    header = header_v2(0x21, 0x11, bytes([192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x67, 0, 25]))
    with connection(program.port, b"") as sock, sock.makefile("rb") as file:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in header + b"hi\r\nQUIT\r\n":
            sock.sendall(bytes([octet]))
        assert [file.readline() for _ in range(3)] == [b"+OK ready\r\n", b"+OK hi\r\n", b"+OK QUIT\r\n"]
    assert " peer=192.0.2.7:4711 " in program.log


@pytest.mark.parametrize(
    "octets", [b"USER x\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0", b"PROXY TCP4 1.2.3.4 1 2\r\n", b""]
)
def test_a_balancer_without_a_header_is_closed(program: Program, octets: bytes) -> None:
    """It is told nothing, and the log says why."""
    behind_balancer(program)
    with connection(program.port, octets) as sock:
        try:
            sock.shutdown(socket.SHUT_WR)
            assert everything(sock) == b""
        except OSError as error:
            assert error.errno in (errno.ECONNRESET, errno.ENOTCONN)  # it was closed already, with octets unread
    until(lambda: program.status()["connections"] == 0, "the connection is gone")
    assert " proxy-failed peer=127.0.0.1 error=" in program.log and " connected " not in program.log


def test_a_stranger_cannot_forge_an_address(program: Program) -> None:
    """From anywhere else a header is just a bad command, and the address stays that of the connection."""
    behind_balancer(program)
    with connection(program.port, b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n", source="127.0.0.9") as sock:
        file = sock.makefile("rb")
        assert (file.readline(), file.readline()[:9]) == (b"+OK ready\r\n", b"+OK PROXY")
        (session,) = program.sessions()
        assert str(session["peer"]).startswith("127.0.0.9:")
        file.close()


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", header_v2(0x20, 0x00, b"")], ids=["unknown", "local"])
def test_a_health_check_is_served_as_the_balancer(program: Program, header: bytes) -> None:
    """A connection for nobody else has the balancer's own address."""
    behind_balancer(program)
    with connection(program.port, header + b"QUIT\r\n") as sock:
        assert everything(sock) == b"+OK ready\r\n+OK QUIT\r\n"
    assert " peer=127.0.0.1:" in program.log and "via=" not in program.log


def test_the_limit_per_address_is_the_clients(program: Program) -> None:
    """One client takes the places of no other that comes by the same balancer."""
    behind_balancer(program, limits=Limits(connections=100, connections_per_ip=2))
    one, other = b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n", b"PROXY TCP4 192.0.2.8 127.0.0.1 1 2\r\n"
    with connection(program.port, one) as first, connection(program.port, one) as second:
        assert first.recv(100) == second.recv(100) == b"+OK ready\r\n"
        with connection(program.port, one) as third, connection(program.port, other) as another:
            assert (everything(third), another.recv(100)) == (REFUSAL, b"+OK ready\r\n")


def test_whoever_says_nothing_where_a_header_is_due_makes_room(program: Program) -> None:
    """A connection in its header is as idle as any other."""
    behind_balancer(program, limits=Limits(connections=2, connections_per_ip=100))
    with connection(program.port, b"PROXY ") as first, connection(program.port, b"PROXY "):
        until(lambda: program.status()["connections"] == 2, "both are in")
        with connection(program.port, b"PROXY UNKNOWN\r\n") as served:
            assert served.recv(100) == b"+OK ready\r\n"
            assert first.recv(100) == REFUSAL


@pytest.fixture
def tls_files(program: Program) -> TlsFiles:
    files = TlsFiles(certificate=str(program.folder / "cert.pem"), private_key=str(program.folder / "key.pem"))
    make_certificate(files, "mail.example.test")
    return files


def test_the_probe_of_a_listener_that_trusts_its_host(program: Program, tls_files: TlsFiles) -> None:
    """`apply` sees that such a service is ready, under TLS too: it says that it connects for nobody else."""
    tls = Listener(host="127.0.0.1", port=program.port, tls="implicit", proxy_from=("127.0.0.0/8",))
    plain = Listener(host="127.0.0.1", port=free_port(), tls="none", proxy_from=TRUSTED)
    program.start(listen=(tls, plain), tls=tls_files)
    probe.wait("pop", (tls, plain), timeout_s=PATIENCE_S)


HAPROXY = """\
global
    nosplice
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend plain
    bind 127.0.0.1:{plain}
    default_backend version1
frontend encrypted
    bind 127.0.0.1:{encrypted}
    default_backend version2
backend version1
    option tcp-check
    tcp-check expect string +OK
    server mail 127.0.0.1:{mail} send-proxy check check-send-proxy inter 100ms
backend version2
    server mail 127.0.0.1:{mails} send-proxy-v2 proxy-v2-options crc32c,unique-id check check-send-proxy inter 100ms
"""


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_behind_haproxy(program: Program, tls_files: TlsFiles) -> None:
    """Version 1 in clear, version 2 with checksum before TLS that passes through, and its health checks of both."""
    mails, plain, encrypted = free_port(), free_port(), free_port()
    listen = (
        Listener(host="127.0.0.1", port=program.port, tls="none", proxy_from=TRUSTED),
        Listener(host="127.0.0.1", port=mails, tls="implicit", proxy_from=TRUSTED),
    )
    program.start(listen=listen, tls=tls_files)
    config = program.folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(plain=plain, encrypted=encrypted, mail=program.port, mails=mails))
    with subprocess.Popen(["haproxy", "-f", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as haproxy:
        try:
            until(lambda: " peer=127.0.0.1:" in program.log, "a health check is served")
            with connection(plain, b"QUIT\r\n", source="127.0.0.5") as sock:
                assert everything(sock) == b"+OK ready\r\n+OK QUIT\r\n"
            context = ssl.create_default_context(cafile=tls_files.certificate)
            with (
                connection(encrypted, b"", source="127.0.0.6") as sock,
                context.wrap_socket(sock, server_hostname="mail.example.test") as stream,
            ):
                assert stream.recv(100) == b"+OK ready\r\n"
                stream.sendall(b"QUIT\r\n")
                assert stream.recv(100) == b"+OK QUIT\r\n"
        finally:
            haproxy.terminate()
    for client, tls in (("127.0.0.5", False), ("127.0.0.6", True)):
        (line,) = [line for line in program.log.splitlines() if f" peer={client}:" in line]
        assert line.endswith(f"tls={tls} via=127.0.0.1")
    assert "proxy-failed" not in program.log
