"""How fast is IMAP on a large mailbox, beside Dovecot?

Ours and, where it is installed, a private Dovecot, with the same messages, in turns: A B A B. Both are filled through
APPEND, and both know the password from before. `--location` says how Dovecot keeps mail: `sdbox`, its fastest, or
`maildir`. Milliseconds, unless another unit is named.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier

from benchmarks import corpus, dovecot, processes, report, suite
from benchmarks.imap_wire import Client

BOX = "INBOX"
SCRATCH = "scratch"
AT_ONCE = 100
"""Messages of one MULTIAPPEND that fills a mailbox."""
FLAGS = ("\\Seen", "\\Seen", "\\Seen \\Answered", "", "\\Flagged")


@dataclass(slots=True)
class Server:
    """One of those that are compared."""

    name: str
    port: int
    pid: int
    found: dict[str, list[float]] = field(default_factory=dict)
    """Step to what was measured in each round."""
    used_ms: dict[str, list[float]] = field(default_factory=dict)
    """CPU time of the server, in each round."""


Measure = Callable[[Server, int], float]
"""With a server that has so many messages."""


def timed(command: str, *, first: bool = False) -> Measure:
    """One command on a selected mailbox; unless it is the first of its session, it has been given once before."""

    def measure(server: Server, messages: int) -> float:
        client = Client(server.port).log_in(BOX)
        if not first:
            client.command(command)
        begun = time.perf_counter()
        client.command(command)
        took_ms = (time.perf_counter() - begun) * 1000
        client.log_out()
        return took_ms

    return measure


def flags(server: Server, messages: int) -> float:
    """STORE of all, told; then taken back."""
    client = Client(server.port).log_in(BOX)
    client.command("STORE 1:* -FLAGS.SILENT (\\Draft)")
    begun = time.perf_counter()
    client.command("STORE 1:* +FLAGS (\\Draft)")
    took_ms = (time.perf_counter() - begun) * 1000
    client.command("STORE 1:* -FLAGS.SILENT (\\Draft)")
    client.log_out()
    return took_ms


def search(criterion: str, *, rare: bool) -> Measure:
    """Also checks how many are found."""

    def measure(server: Server, messages: int) -> float:
        client = Client(server.port).log_in(BOX)
        begun = time.perf_counter()
        answer = client.command(f"SEARCH {criterion}", keep=True)
        took_ms = (time.perf_counter() - begun) * 1000
        found = next((line.split()[2:] for line in answer.splitlines() if line.startswith(b"* SEARCH")), [])
        wanted = sum(map(corpus.is_rare, range(messages))) if rare else 0
        if len(found) != wanted:
            raise AssertionError(f"{server.name} finds {len(found)} messages by {criterion}, there are {wanted}")
        client.log_out()
        return took_ms

    return measure


def bulk(server: Server, messages: int) -> float:
    """Messages a second."""
    client = Client(server.port).log_in(BOX)
    begun = time.perf_counter()
    client.command("FETCH 1:* BODY.PEEK[]")
    took_s = time.perf_counter() - begun
    client.log_out()
    return messages / took_s


def together(clients: int, seconds: float, begin: Callable[[Server, int, int], Callable[[], object]]) -> Measure:
    """Calls a second of what `begin` returns, over so many clients, each a process of its own."""

    def measure(server: Server, messages: int) -> float:
        context = multiprocessing.get_context("fork")
        barrier, counts = context.Barrier(clients), context.SimpleQueue()

        def work(number: int, barrier: Barrier) -> None:
            act = begin(server, messages, number)
            barrier.wait(suite.LIMIT_S)
            count, until = 0, time.perf_counter() + seconds
            while time.perf_counter() < until:
                act()
                count += 1
            counts.put(count)

        workers = [context.Process(target=work, args=(number, barrier)) for number in range(clients)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failed := [worker.exitcode for worker in workers if worker.exitcode]:
            raise AssertionError(f"{len(failed)} clients of {server.name} have failed")
        total: int = sum(counts.get() for _ in workers)
        return total / seconds

    return measure


def session(server: Server, messages: int, number: int) -> Callable[[], object]:
    return lambda: Client(server.port).log_in(BOX).log_out()


def single_bodies(server: Server, messages: int, number: int) -> Callable[[], object]:
    client = Client(server.port).log_in(BOX)
    at = number * 997

    def act() -> None:
        nonlocal at
        at = (at * 7 + 13) % messages
        client.command(f"FETCH {at + 1} BODY.PEEK[]")

    return act


def appends(server: Server, messages: int, number: int) -> Callable[[], object]:
    client = Client(server.port).log_in()
    octets = [corpus.message(1_000_000 + number * 64 + one) for one in range(64)]
    at = 0

    def act() -> None:
        nonlocal at
        at = (at + 1) % len(octets)
        client.append(SCRATCH, octets[at])

    return act


STEPS: dict[str, Measure] = {
    "a: log-in, SELECT, LOGOUT, 4 clients, /s": together(4, 3.0, session),
    "b: UID FETCH 1:* (FLAGS), first of a session": timed("UID FETCH 1:* (FLAGS)", first=True),
    "b: UID FETCH 1:* (FLAGS), again": timed("UID FETCH 1:* (FLAGS)"),
    "c: ENVELOPE, BODYSTRUCTURE and more of all": timed("FETCH 1:* (ENVELOPE BODYSTRUCTURE FLAGS INTERNALDATE UID)"),
    "c: header fields of all, as Thunderbird asks": timed(
        "UID FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID "
        "Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])"
    ),
    "d: FETCH n BODY.PEEK[], 1 client, /s": together(1, 2.0, single_bodies),
    "d: FETCH n BODY.PEEK[], 4 clients, /s": together(4, 2.0, single_bodies),
    "d: FETCH 1:* BODY.PEEK[], messages/s": bulk,
    "e: APPEND, 1 client, /s": together(1, 2.0, appends),
    "e: APPEND, 10 clients, /s": together(10, 2.0, appends),
    "f: SEARCH SUBJECT": search(f"SUBJECT {corpus.RARE}", rare=True),
    "f: SEARCH BODY": search(f"BODY {corpus.RARE}", rare=True),
    "f: SEARCH TEXT, of what is nowhere": search(f"TEXT {corpus.ABSENT}", rare=False),
    "g: STORE 1:* +FLAGS": flags,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="workers of ours")
    parser.add_argument("--location", choices=("sdbox", "maildir"), default="sdbox", help="of Dovecot's mail")
    parser.add_argument("--only", default="abcdefg", help="letters of steps")
    options = parser.parse_args(arguments)
    steps = {what: step for what, step in STEPS.items() if what[0] in options.only}
    with servers(options.messages, options.processes, options.location) as compared:
        for what, step in steps.items():
            for _ in range(options.rounds):
                for server in compared:
                    _measure(server, what, step, options.messages)
        _print(compared, steps, f"{options.messages} messages, {options.rounds} rounds, {options.processes} worker(s)")


@contextlib.contextmanager
def servers(messages: int, workers: int, location: dovecot.Location) -> Iterator[list[Server]]:
    """Ours and Dovecot, filled."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(suite.running(workers))
        found = [Server("Postroom", ours.imap_port, ours.pids()["imap"])]
        if (reason := dovecot.missing()) is None:
            peer = stack.enter_context(dovecot.running(location=location))
            found.append(Server(f"Dovecot {location}", peer.imap_port, peer.master))
        else:
            print(f"No comparison: {reason}.")
        for server in found:
            fill(server.port, messages)
        yield found


def fill(port: int, messages: int) -> None:
    """INBOX, and an empty mailbox for APPEND."""
    client = Client(port).log_in()
    client.command(f"CREATE {SCRATCH}")
    for first in range(0, messages, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, messages))
        client.append(BOX, *map(corpus.message, numbers), flags=FLAGS[first // AT_ONCE % len(FLAGS)])
    client.log_out()


def _measure(server: Server, what: str, step: Measure, messages: int) -> None:
    used_s = processes.cpu_s(server.pid)
    server.found.setdefault(what, []).append(step(server, messages))
    server.used_ms.setdefault(what, []).append((processes.cpu_s(server.pid) - used_s) * 1000)


def _print(compared: list[Server], steps: dict[str, Measure], about: str) -> None:
    rows = []
    for what in steps:
        medians = [statistics.median(server.found[what]) for server in compared]
        ratio = f"{medians[0] / medians[1]:.2f} ×" if len(medians) > 1 else ""
        cpu = " / ".join(f"{statistics.median(server.used_ms[what]):.0f}" for server in compared)
        rows.append((what, *(report.spread(server.found[what]) for server in compared), ratio, cpu))
    report.table(f"IMAP, {about}", ("what", *(server.name for server in compared), "ours/theirs", "CPU ms"), rows)


if __name__ == "__main__":
    print(report.machine())
    main()
