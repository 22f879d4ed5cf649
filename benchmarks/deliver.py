"""How many messages a second go all the way into a mailbox? From the first connection until the queue is empty.

Ours and, where it is installed, a private Postfix delivering to a Maildir, in turns: A B A B. Fails unless each message
is there exactly once.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import postfix, processes, report, source, suite
from benchmarks.source import Load


@dataclass(slots=True)
class Server:
    """One of those that are compared, and what was measured of it, per round."""

    name: str
    port: int
    pids: tuple[int, ...]
    wait: Callable[[int], None]
    """Until so many messages, over all rounds, are delivered."""
    accepted: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    costs_us: list[float] = field(default_factory=list)
    sent: int = 0

    def measure(self, load: Load) -> None:
        used_s = processes.cpu_s(*self.pids)
        begun = time.perf_counter()
        self.accepted.append(load.messages / source.send(self.port, load))
        self.sent += load.messages
        self.wait(self.sent)
        self.delivered.append(load.messages / (time.perf_counter() - begun))
        self.costs_us.append((processes.cpu_s(*self.pids) - used_s) / load.messages * 1e6)

    def check(self, found: int) -> None:
        if found != self.sent:
            sys.exit(f"{self.name}: {self.sent} messages were sent, {found} are in the mailbox")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000, help="of one run")
    parser.add_argument("--size", type=int, default=10 * report.KIB, metavar="OCTETS")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="workers of each service of ours")
    options = parser.parse_args(arguments)
    load = Load(options.messages, options.size, options.sessions)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(suite.running(options.processes))
        pids = ours.pids()
        name = f"Postroom (workers: {options.processes})"
        mine = Server(name, ours.smtp_port, (pids["smtp"], pids["spool"]), lambda _: ours.wait_until_delivered())
        servers = [mine]
        if (reason := postfix.missing()) is None:
            peer = stack.enter_context(postfix.running(hold=False))
            servers.append(Server("Postfix", peer.smtp_port, (peer.master,), peer.wait_until_delivered))
        else:
            print(f"No comparison: {reason}.")
        for _ in range(options.rounds):
            for server in servers:
                server.measure(load)
        mine.check(_messages(ours))
        for other in servers[1:]:
            other.check(peer.delivered())
    report.table(
        f"Into the mailbox: {load.messages} messages of {load.size_octets} octets a run, {load.sessions} sessions, a "
        f"connection each, {options.rounds} rounds; client: {source.GENERATOR}",
        ("server", "accepted/s", "delivered/s", "CPU µs/message"),
        [(s.name, report.spread(s.accepted), report.spread(s.delivered), report.spread(s.costs_us)) for s in servers],
    )


def _messages(ours: suite.Suite) -> int:
    """Different messages in the mailbox, as POP shows them; a message that is there twice ends the program."""
    client = ours.login()
    count, _ = client.stat()
    ids = {line for number in range(count) for line in client.top(number + 1, 0)[1] if line.startswith(b"Message-I")}
    client.quit()
    if len(ids) != count:
        sys.exit(f"{count} messages in the mailbox, {len(ids)} of them different")
    return count


if __name__ == "__main__":
    print(report.machine())
    main()
