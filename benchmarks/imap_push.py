"""How soon does a client in IDLE hear of a message?

From the moment when another client begins its APPEND until EXISTS has come, at several clients in IDLE that are spread
over the workers of ours; where Dovecot is installed, at as many of it. One message at a time, and the clients are
asleep in between.
"""

import argparse
import contextlib
import select
import statistics
import time
from collections.abc import Iterator

from benchmarks import corpus, dovecot, report, suite
from benchmarks.imap_wire import Client

BOX = "news"
PAUSE_S = 0.02
"""Between two messages."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--clients", type=int, default=8, help="in IDLE")
    parser.add_argument("--processes", type=int, default=2, help="workers of ours")
    options = parser.parse_args(arguments)
    rows = []
    with _servers(options.processes) as ports:
        for name, port in ports.items():
            waits_ms = [wait_s * 1000 for wait_s in _waits(port, options.messages, options.clients)]
            cuts = statistics.quantiles(waits_ms, n=100)
            rows.append((name, *(f"{value:.1f}" for value in (cuts[49], cuts[94], cuts[98], max(waits_ms)))))
    about = f"{options.messages} messages, {options.clients} clients in IDLE, {options.processes} workers of ours"
    report.table(f"From APPEND to EXISTS, ms; {about}", ("server", "p50", "p95", "p99", "most"), rows)


@contextlib.contextmanager
def _servers(workers: int) -> Iterator[dict[str, int]]:
    """Name to port."""
    with contextlib.ExitStack() as stack:
        found = {"Postroom": stack.enter_context(suite.running(workers)).imap_port}
        if (reason := dovecot.missing()) is None:
            found["Dovecot"] = stack.enter_context(dovecot.running(location="sdbox")).imap_port
        else:
            print(f"No comparison: {reason}.")
        yield found


def _waits(port: int, messages: int, clients: int) -> Iterator[float]:
    """Of each client for each message, in seconds."""
    sender = Client(port).log_in()
    sender.command(f"CREATE {BOX}")
    idlers = [Client(port).log_in(BOX) for _ in range(clients)]
    for idler in idlers:
        idler.idle()
    for number in range(messages):
        octets = corpus.message(number)
        time.sleep(PAUSE_S)
        begun = time.perf_counter()
        sender.append(BOX, octets)
        waiting = list(idlers)
        while waiting:
            ready, _, _ = select.select(waiting, [], [], suite.LIMIT_S)
            if not ready:
                raise AssertionError(f"{len(waiting)} clients have heard nothing of message {number}")
            for idler in ready:
                yield idler.wait_for(b"EXISTS") - begun
                waiting.remove(idler)
    for idler in idlers:
        idler.done()
        idler.log_out()
    sender.log_out()


if __name__ == "__main__":
    print(report.machine())
    main()
