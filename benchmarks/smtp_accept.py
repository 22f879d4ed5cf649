"""How many messages a second does SMTP accept durably, at what cost? The spool is stopped: nothing is delivered.

Ours and, where it is installed, a private Postfix that holds what it accepts, in turns: A B A B. `fresh` makes a
connection for each message, `kept` sends many over one.
"""

import argparse
import contextlib
from dataclasses import dataclass, field, replace

from benchmarks import postfix, processes, report, source, suite
from benchmarks.source import Load


@dataclass(slots=True)
class Server:
    """One of those that are compared, and what was measured of it, per round."""

    name: str
    port: int
    pid: int
    rates: list[float] = field(default_factory=list)
    costs_us: list[float] = field(default_factory=list)

    def measure(self, load: Load) -> None:
        used_s = processes.cpu_s(self.pid)
        took_s = source.send(self.port, load)
        self.rates.append(load.messages / took_s)
        self.costs_us.append((processes.cpu_s(self.pid) - used_s) / load.messages * 1e6)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=3000, help="of one run")
    parser.add_argument("--size", type=int, default=10 * report.KIB, metavar="OCTETS")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="workers of ours")
    options = parser.parse_args(arguments)
    load = Load(options.messages, options.size, options.sessions)
    rows = []
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(suite.running(options.processes))
        places = [(f"Postroom (workers: {options.processes})", ours.smtp_port, ours.pids()["smtp"])]
        ours.verb("stop", "spool")
        if (reason := postfix.missing()) is None:
            peer = stack.enter_context(postfix.running(hold=True))
            places.append(("Postfix", peer.smtp_port, peer.master))
        else:
            print(f"No comparison: {reason}.")
        for kept in (False, True):
            servers = [Server(*place) for place in places]
            for server in servers:
                source.send(server.port, replace(load, messages=load.messages // 10 + 1, keep=kept))  # warm
            for _ in range(options.rounds):
                for server in servers:
                    server.measure(replace(load, keep=kept))
            for server in servers:
                peak = f"{processes.peak_octets(server.pid) / report.MIB:.0f}"
                mode = "kept" if kept else "fresh"
                rows.append((server.name, mode, report.spread(server.rates), report.spread(server.costs_us), peak))
    report.table(
        f"Accepted durably: {load.messages} messages of {load.size_octets} octets a run, {load.sessions} sessions, "
        f"{options.rounds} rounds; client: {source.GENERATOR}",
        ("server", "connections", "messages/s", "CPU µs/message", "peak MiB of a process"),
        rows,
    )


if __name__ == "__main__":
    print(report.machine())
    main()
