"""How long does a POP session take on a large maildrop, and how fast do its messages come?

Ours and, where it is installed, a private Dovecot on a Maildir with the same messages, in turns: A B A B. Ours is
filled through SMTP and spool. A session is log-in, UIDL, LIST and QUIT; both servers know the password from the round
before, which is not counted. The client takes what comes without looking at its lines.
"""

import argparse
import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks import dovecot, processes, report, source, suite
from benchmarks.source import Load

IN_FLIGHT = 50
"""RETR commands sent ahead of their replies."""

END = b"\r\n.\r\n"
"""Of a reply of several lines."""


class Client:
    """A POP connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((suite.HOST, port), timeout=suite.LIMIT_S)
        self._buffered = b""
        self._until(b"\r\n")

    def log_in(self) -> None:
        for line in (f"USER {suite.USER}", f"PASS {suite.PASSWORD}"):
            self.say(line.encode())
            self.line()

    def say(self, *lines: bytes) -> None:
        self._socket.sendall(b"".join(line + b"\r\n" for line in lines))

    def line(self) -> bytes:
        return self._ok(self._until(b"\r\n"))

    def lines(self) -> bytes:
        """A reply of several lines."""
        return self._ok(self._until(END))

    def quit(self) -> None:
        self.say(b"QUIT")
        self.line()
        self._socket.close()

    def _until(self, end: bytes) -> bytes:
        seen = 0
        while (at := self._buffered.find(end, max(0, seen - len(end)))) < 0:
            seen = len(self._buffered)
            part = self._socket.recv(256 * 1024)
            if not part:
                raise ConnectionError("the server has closed the connection")
            self._buffered += part
        found, self._buffered = self._buffered[:at], self._buffered[at + len(end) :]
        return found

    @staticmethod
    def _ok(reply: bytes) -> bytes:
        if not reply.startswith(b"+OK"):
            raise ConnectionError(f"the server says {reply[:200]!r}")
        return reply


@dataclass(slots=True)
class Server:
    """One of those that are compared."""

    name: str
    port: int
    pid: int
    messages: int


@dataclass(slots=True)
class Cost:
    """Milliseconds that a step took, and CPU milliseconds that it cost the server, per round."""

    took_ms: list[float] = field(default_factory=list)
    used_ms: list[float] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="in the maildrop")
    parser.add_argument("--size", type=int, default=2 * report.KIB, metavar="OCTETS")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(arguments)
    steps: dict[str, Callable[[Server], None]] = {
        "log-in, UIDL, LIST, QUIT": _session,
        "log-in, RETR of all, one by one": lambda server: _retrieve(server, in_flight=1),
        f"log-in, RETR of all, {IN_FLIGHT} in flight": lambda server: _retrieve(server, in_flight=IN_FLIGHT),
    }
    rows = []
    with _servers(options.messages, options.size) as servers:
        for what, step in steps.items():
            costs = [Cost() for _ in servers]
            for round_ in range(options.rounds + 1):
                for server, cost in zip(servers, costs, strict=True):
                    _measure(server, step, cost if round_ else Cost())
            rows += [
                (what, server.name, report.spread(cost.took_ms), report.spread(cost.used_ms), _each(cost, server))
                for server, cost in zip(servers, costs, strict=True)
            ]
        peak = processes.peak_octets(servers[0].pid) / report.MIB
    report.table(
        f"POP, {options.messages} messages of {options.size} octets, {options.rounds} rounds; one worker of ours, at "
        f"most {peak:.0f} MiB",
        ("what", "server", "ms", "CPU ms", "CPU µs/message"),
        rows,
    )


@contextlib.contextmanager
def _servers(messages: int, size: int) -> Iterator[list[Server]]:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(suite.running())
        source.send(ours.smtp_port, Load(messages, size, keep=True))
        ours.wait_until_delivered()
        found = [Server("Postroom", ours.pop_port, ours.pids()["pop"], messages)]
        if (reason := dovecot.missing()) is None:
            peer = stack.enter_context(dovecot.running(messages, _first_message(ours.pop_port)))
            found.append(Server("Dovecot", peer.pop_port, peer.master, messages))
        else:
            print(f"No comparison: {reason}.")
        yield found


def _first_message(port: int) -> bytes:
    client = Client(port)
    client.log_in()
    client.say(b"RETR 1")
    message = client.lines().partition(b"\r\n")[2].replace(b"\r\n..", b"\r\n.") + b"\r\n"
    client.quit()
    return message


def _measure(server: Server, step: Callable[[Server], None], cost: Cost) -> None:
    cpu_s, begun = processes.cpu_s(server.pid), time.perf_counter()
    step(server)
    cost.took_ms.append((time.perf_counter() - begun) * 1000)
    cost.used_ms.append((processes.cpu_s(server.pid) - cpu_s) * 1000)


def _each(cost: Cost, server: Server) -> str:
    return f"{statistics.median(cost.used_ms) * 1000 / server.messages:.1f}"


def _session(server: Server) -> None:
    client = Client(server.port)
    client.log_in()
    for listing in (b"UIDL", b"LIST"):
        client.say(listing)
        assert client.lines().count(b"\r\n") == server.messages
    client.quit()


def _retrieve(server: Server, in_flight: int) -> None:
    client = Client(server.port)
    client.log_in()
    for first in range(1, server.messages + 1, in_flight):
        numbers = range(first, min(first + in_flight, server.messages + 1))
        client.say(*(b"RETR %d" % number for number in numbers))
        for _ in numbers:
            client.lines()
    client.quit()


if __name__ == "__main__":
    print(report.machine())
    main()
