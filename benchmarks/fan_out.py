"""How long does one message to many local recipients take? From the connection until it is in the last mailbox.

Ours and, where it is installed, a private Postfix delivering to Maildirs, in turns: A B A B. Ours keeps one body on
disk for all of them, which is checked. The first round, in which mailboxes are made, is shown apart.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import contest, report, source
from benchmarks.source import Load


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=1000)
    parser.add_argument("--size", type=int, default=100 * report.KIB, metavar="OCTETS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="workers of each service of ours")
    options = parser.parse_args(arguments)
    load = Load(1, options.size, sessions=1, recipients=options.recipients, together=True)
    with contest.servers(options.processes, options.recipients) as servers:
        for _ in range(options.rounds + 1):
            for server in servers:
                server.measure(load)
        for server in servers:
            server.check()
        bodies = _inodes(servers[0].mail)
        if bodies != options.rounds + 1:
            sys.exit(f"{options.rounds + 1} messages were sent, there are {bodies} different files")
    report.table(
        f"One message of {load.size_octets} octets to {load.recipients} recipients, {options.rounds} rounds; "
        f"client: {source.GENERATOR}",
        ("server", "ms, new mailboxes", "ms", "CPU µs/recipient"),
        [
            (
                server.name,
                f"{server.took_s[0] * 1000:.0f}",
                report.spread([took * 1000 for took in server.took_s[1:]]),
                report.spread([used / load.recipients * 1e6 for used in server.used_s[1:]]),
            )
            for server in servers
        ],
    )


def _inodes(mail: Path) -> int:
    """Different files that are bodies, however many names they have."""
    return len({path.stat().st_ino for path in mail.glob("*/*/*.eml")})


if __name__ == "__main__":
    print(report.machine())
    main()
