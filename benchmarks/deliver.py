"""How many messages a second go all the way into mailboxes? From the first connection until the queue is empty.

Ours and, where it is installed, a private Postfix delivering to Maildirs, in turns: A B A B; to one recipient, to 200
and to 2,000, one for each message. The first round of each, in which mailboxes are made, is not counted. Fails unless
each message is there exactly once.
"""

import argparse

from benchmarks import contest, report, source
from benchmarks.source import Load


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000, help="of one run")
    parser.add_argument("--recipients", type=int, nargs="+", default=[1, 200, 2000], help="each divides --messages")
    parser.add_argument("--size", type=int, default=10 * report.KIB, metavar="OCTETS")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="workers of each service of ours")
    parser.add_argument("--new-mailboxes", action="store_true", help="count the first round too")
    options = parser.parse_args(arguments)
    for recipients in options.recipients:
        load = Load(options.messages, options.size, options.sessions, recipients=recipients)
        with contest.servers(options.processes, recipients) as servers:
            for _ in range(options.rounds + (not options.new_mailboxes)):
                for server in servers:
                    server.measure(load)
            for server in servers:
                server.check()
        first = 0 if options.new_mailboxes else 1
        report.table(
            f"Into the mailbox: {load.messages} messages of {load.size_octets} octets a run, to {recipients} "
            f"recipients, {load.sessions} sessions, a connection each, {options.rounds} rounds; "
            f"client: {source.GENERATOR}",
            ("server", "accepted/s", "delivered/s", "CPU µs/message"),
            [
                (
                    server.name,
                    report.spread([load.messages / took for took in server.accepted_s[first:]]),
                    report.spread([load.messages / took for took in server.took_s[first:]]),
                    report.spread([used / load.messages * 1e6 for used in server.used_s[first:]]),
                )
                for server in servers
            ],
        )


if __name__ == "__main__":
    print(report.machine())
    main()
