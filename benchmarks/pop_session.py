"""How long does a POP session take on a large maildrop, and how fast do its messages come?

The maildrop is filled through SMTP and spool. A session is log-in (a password hash of 20 ms by design), UIDL, LIST and
QUIT; it is measured on the full maildrop and, for what is not the maildrop's, on an empty one.
"""

import argparse
import socket
import statistics
import time
from collections.abc import Callable
from typing import BinaryIO

from benchmarks import processes, report, source, suite
from benchmarks.source import Load

IN_FLIGHT = 100
"""RETR commands sent ahead of their replies."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="in the maildrop")
    parser.add_argument("--size", type=int, default=2 * report.KIB, metavar="OCTETS")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(arguments)
    with suite.running() as ours:
        master = ours.pids()["pop"]
        rows = [("session, empty maildrop", *_cost(master, lambda: _session(ours, 0), options.rounds))]
        begun = time.perf_counter()
        source.send(ours.smtp_port, Load(options.messages, options.size, keep=True))
        ours.wait_until_delivered()
        filled_s = time.perf_counter() - begun
        rows.append(("session", *_cost(master, lambda: _session(ours, options.messages), options.rounds)))
        retrieve = lambda: _retrieve(ours, options.messages)  # noqa: E731 - one of a row of steps to be measured
        rows.append(("log-in, RETR of all, pipelined", *_cost(master, retrieve, max(1, options.rounds // 3))))
        peak = processes.peak_octets(master) / report.MIB
    report.table(
        f"POP, one process, {options.messages} messages of {options.size} octets (filled in {filled_s:.0f} s), "
        f"{options.rounds} rounds, peak memory of a process {peak:.0f} MiB",
        ("what", "ms", "CPU ms", "CPU µs/message"),
        [
            (what, report.spread(took), report.spread(used), f"{statistics.median(used) * 1000 / options.messages:.1f}")
            for what, took, used in rows
        ],
    )


def _cost(master: int, step: Callable[[], None], rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds that a step takes, and CPU milliseconds that it costs the server, per round."""
    took, used = [], []
    for _ in range(rounds):
        cpu_s, begun = processes.cpu_s(master), time.perf_counter()
        step()
        took.append((time.perf_counter() - begun) * 1000)
        used.append((processes.cpu_s(master) - cpu_s) * 1000)
    return took, used


def _session(ours: suite.Suite, messages: int) -> None:
    client = ours.login()
    assert len(client.uidl()[1]) == len(client.list()[1]) == messages
    client.quit()


def _retrieve(ours: suite.Suite, messages: int) -> None:
    address = (suite.HOST, ours.pop_port)
    with socket.create_connection(address, timeout=suite.LIMIT_S) as connection, connection.makefile("rb") as replies:
        connection.sendall(f"USER {suite.USER}\r\nPASS {suite.PASSWORD}\r\n".encode())
        for _ in range(3):  # greeting, USER, PASS
            _ok(replies.readline())
        for first in range(1, messages + 1, IN_FLIGHT):
            numbers = range(first, min(first + IN_FLIGHT, messages + 1))
            connection.sendall(b"".join(b"RETR %d\r\n" % number for number in numbers))
            for _ in numbers:
                _message(replies)
        connection.sendall(b"QUIT\r\n")
        _ok(replies.readline())


def _message(replies: BinaryIO) -> None:
    _ok(replies.readline())
    while replies.readline() != b".\r\n":
        pass


def _ok(reply: bytes) -> None:
    if not reply.startswith(b"+OK"):
        raise ConnectionError(f"the server says {reply!r}")


if __name__ == "__main__":
    print(report.machine())
    main()
