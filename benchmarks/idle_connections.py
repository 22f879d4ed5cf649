"""How much memory does each idle TLS connection take?

Clients connect, shake hands and hear the greeting, or invite TLS by STARTTLS; then they say nothing more. What the
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
            port = ours.pops_port if name == "pop" else ours.starttls_port
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
        about = {"pop": "POP, implicit TLS", "smtp": "SMTP, STARTTLS"}[name]
        each = f"{added / options.connections / report.KIB:.1f}"
        rows.append((about, f"{before / report.MIB:.1f}", f"{added / report.MIB:.1f}", each))
    heads = ("clients", "suite before, PSS MiB", "added, PSS MiB", "KiB each")
    report.table(f"{options.connections} idle TLS connections", heads, rows)


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


CLIENTS: dict[str, Callable[[int, ssl.SSLContext], socket.socket]] = {"pop": _pop, "smtp": _smtp}


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
