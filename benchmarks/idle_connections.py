"""How much memory does each idle connection take?

Clients connect, shake hands and hear the greeting, or invite TLS by STARTTLS; those of IMAP log in, select INBOX and
begin IDLE; then they say nothing more. What the
whole suite takes then is compared with what it took before. The clients are a process of their own.
"""

import argparse
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable

from benchmarks import processes, report, suite
from benchmarks.suite import HOST


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000, help="how many; the suite takes 1,000")
    parser.add_argument("--processes", type=int, default=1, help="workers of each service")
    options = parser.parse_args(arguments)
    rows = []
    for name in CLIENTS:
        with suite.running(options.processes) as ours:
            supervisord = processes.parent(next(iter(ours.pids().values())))
            port = _port(ours, name)
            before = _pss(supervisord)
            with subprocess.Popen(
                [sys.executable, "-m", "benchmarks.idle_connections", name, str(port), str(options.connections)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as clients:
                assert clients.stdout is not None
                clients.stdout.readline()  # all are connected
                added = _pss(supervisord) - before
                clients.communicate()
        each = f"{added / options.connections / report.KIB:.1f}"
        rows.append((ABOUT[name], f"{before / report.MIB:.1f}", f"{added / report.MIB:.1f}", each))
    heads = ("clients", "suite before, PSS MiB", "added, PSS MiB", "KiB each")
    report.table(f"{options.connections} idle connections", heads, rows)


def _pss(supervisord: int) -> int:
    return sum(processes.memory(pid).pss for pid in processes.tree(supervisord))


def _pop(port: int, context: ssl.SSLContext) -> socket.socket:
    stream = context.wrap_socket(socket.create_connection((HOST, port)))
    assert stream.recv(1000).startswith(b"+OK")
    return stream


def _smtp(port: int, context: ssl.SSLContext) -> socket.socket:
    plain = socket.create_connection((HOST, port))
    for command, reply in ((b"", b"220"), (b"EHLO client.example.test\r\n", b"250"), (b"STARTTLS\r\n", b"220")):
        plain.sendall(command)
        assert plain.recv(1000).startswith(reply)
    stream = context.wrap_socket(plain)
    stream.sendall(b"EHLO client.example.test\r\n")
    assert stream.recv(1000).startswith(b"250")
    return stream


def _imap(port: int, context: ssl.SSLContext) -> socket.socket:
    return _idle(socket.create_connection((HOST, port)))


def _imaps(port: int, context: ssl.SSLContext) -> socket.socket:
    return _idle(context.wrap_socket(socket.create_connection((HOST, port))))


def _idle(stream: socket.socket) -> socket.socket:
    """Logged in, INBOX selected."""
    for command, last in (
        (b"", b"* OK"),
        (f"a LOGIN {suite.USER} {suite.PASSWORD}\r\n".encode(), b"a OK"),
        (b"b SELECT INBOX\r\n", b"b OK"),
        (b"c IDLE\r\n", b"+ "),
    ):
        stream.sendall(command)
        answer = b""
        while not any(line.startswith(last) for line in answer.splitlines()):
            answer += stream.recv(4096)
    return stream


def _port(ours: suite.Suite, name: str) -> int:
    return {
        "pop": ours.pops_port,
        "smtp": ours.starttls_port,
        "imap": ours.imap_port,
        "imaps": ours.imaps_port,
    }[name]


ABOUT = {
    "pop": "POP, implicit TLS",
    "smtp": "SMTP, STARTTLS",
    "imap": "IMAP in IDLE, in clear",
    "imaps": "IMAP in IDLE, implicit TLS",
}

CLIENTS: dict[str, Callable[[int, ssl.SSLContext], socket.socket]] = {
    "pop": _pop,
    "smtp": _smtp,
    "imap": _imap,
    "imaps": _imaps,
}


def be_clients(name: str, port: int, count: int) -> None:
    """Connect so often, say so, and stay until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    streams = [CLIENTS[name](port, context) for _ in range(count)]
    print(len(streams), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in CLIENTS:
        be_clients(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        print(report.machine())
        main()
