"""Does an attack on the door of a service keep honest clients waiting?

Programs attack one listener as fast as they can, from one address or from many networks; meanwhile a client elsewhere
connects, again and again, until it is greeted. The limits are the defaults: 500 connections, 200 from one
address.
"""

import argparse
import contextlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count

from benchmarks import processes, report, suite
from benchmarks.suite import HOST

HONEST = "127.9.9.9"
ONE = "one address"
SOURCES = {ONE: ["127.0.0.2"], "200 networks": [f"127.1.{number}.1" for number in range(200)]}

HELD = 400
"""Connections that an attacker keeps open, where it keeps any."""

PAUSE_S = 0.02
"""Between two honest clients."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attackers", type=int, default=3, help="programs that attack at the same time")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each attack takes")
    parser.add_argument("--processes", type=int, default=2, help="workers of each service")
    options = parser.parse_args(arguments)
    rows = []
    with suite.running(options.processes, limits={}) as ours:
        master = ours.pids()["pop"]
        for sources in SOURCES:
            for attack in ATTACKS:
                for tls in (False, True) if attack in PLAIN else (True,):
                    port = ours.pops_port if tls else ours.pop_port
                    command = [sys.executable, "-m", "benchmarks.floods", attack, sources, str(port)]
                    attackers = [
                        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(options.attackers)
                    ]
                    began, cpu_s = time.monotonic(), processes.cpu_s(master)
                    waits_ms, sent_away = [], 0
                    while time.monotonic() < began + options.seconds:
                        wait_s, refused = _wait_s(port, tls=tls)
                        waits_ms.append(wait_s * 1000)
                        sent_away += refused
                        time.sleep(PAUSE_S)
                    share = (processes.cpu_s(master) - cpu_s) / (time.monotonic() - began)
                    for attacker in attackers:
                        attacker.terminate()
                        attacker.communicate()
                    door = "implicit TLS" if tls else "plain"
                    rows.append((attack, sources, door, report.spread(waits_ms), str(sent_away), f"{share:.0%}"))
    heads = ("attack", "from", "listener", "greeted after, ms", "sent away", "CPU of the service")
    report.table(f"An honest client while {options.attackers} programs attack", heads, rows)


def _wait_s(port: int, *, tls: bool) -> tuple[float, int]:
    """Until a client that has nothing to do with it is greeted; and how often it was sent away before."""
    began = time.monotonic()
    for refused in count():
        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(_connect(port, HONEST))
                if tls:
                    stream = stack.enter_context(_context().wrap_socket(stream))
                if stream.recv(1000).startswith(b"+OK"):
                    return time.monotonic() - began, refused
            except OSError:
                pass  # sent away before the handshake
    raise AssertionError("count() has an end")


def _connect(port: int, source: str) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=suite.LIMIT_S, source_address=(source, 0))


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _hello() -> bytes:
    """The first octets of a handshake."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _context().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


HELLO = _hello()


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


ATTACKS: dict[str, Callable[[socket.socket], None]] = {
    "connect, idle": lambda sock: None,
    "connect, close": socket.socket.close,
    "connect, reset": _reset,
    "connect, half-close": lambda sock: sock.shutdown(socket.SHUT_WR),
    "a key's work, no end": lambda sock: sock.sendall(HELLO),
    "half a handshake": lambda sock: sock.sendall(HELLO[:50]),
}
PLAIN = ("connect, idle", "connect, close", "connect, reset", "connect, half-close")


def attack(name: str, sources: list[str], port: int) -> None:
    """Until it is ended."""
    held: list[socket.socket] = []
    for number in count():
        try:
            sock = _connect(port, sources[number % len(sources)])
            held.append(sock)
            ATTACKS[name](sock)
        except OSError:
            continue  # refused, or sent away
        if len(held) > HELD:
            held.pop(0).close()


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ATTACKS:
        attack(sys.argv[1], SOURCES[sys.argv[2]], int(sys.argv[3]))
    else:
        print(report.machine())
        main()
