"""How soon does a client in IDLE hear of a message?

From the moment when another client begins its APPEND until EXISTS has come, at several clients in IDLE that are spread
over the workers. One message at a time, and the clients are asleep in between. Dovecot is not measured: without enough
inotify instances, as in a container, it looks only twice a minute.
"""

import argparse
import select
import statistics
import time
from collections.abc import Iterator

from benchmarks import corpus, report, suite
from benchmarks.imap_wire import Client

BOX = "news"
PAUSE_S = 0.02
"""Between two messages."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--clients", type=int, default=8, help="in IDLE")
    parser.add_argument("--processes", type=int, default=2, help="workers")
    options = parser.parse_args(arguments)
    with suite.running(options.processes) as ours:
        waits_ms = [wait_s * 1000 for wait_s in _waits(ours.imap_port, options.messages, options.clients)]
    cuts = statistics.quantiles(waits_ms, n=100)
    about = f"{options.messages} messages, {options.clients} clients in IDLE, {options.processes} workers"
    row = tuple(f"{value:.1f}" for value in (cuts[49], cuts[94], cuts[98], max(waits_ms)))
    report.table(f"From APPEND to EXISTS, ms; {about}", ("p50", "p95", "p99", "most"), [row])


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
