"""What does the IMAP core take for a command, from octets to event?

CPU time of one thread, best of some rounds. The last rows are what an attacker would send: as large as a command may be
after log-in, and to be read (or refused) in a time that grows with the octets only.
"""

import argparse
import time

from benchmarks import report
from maillib.protocols.imap.events import AppendMessage, LiteralAnnounced
from maillib.protocols.imap.patterns import Patterns
from maillib.protocols.imap.server import ImapServer

PIECE = 64 * 1024

COMMANDS = {
    "NOOP": b"A%d NOOP",
    "UID FETCH n BODY.PEEK[]": b"A%d UID FETCH 4711 BODY.PEEK[]",
    "UID FETCH of 5 items": b"A%d UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (To)])",
    "UID STORE": b"A%d UID STORE 4711 +FLAGS.SILENT (\\Seen)",
    "UID SEARCH of 3 keys": b'A%d UID SEARCH UNDELETED SINCE 1-Feb-1994 HEADER Message-ID "<a@b.test>"',
    "STATUS": b'A%d STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)',
    "APPEND of 4 KiB": b'A%%d APPEND Sent (\\Seen) "17-Jul-1996 02:44:25 -0700" {4096+}\r\n%b' % (b"x" * 4096),
}

LARGE = {
    "64,000 parentheses": b"NOOP " + b"(" * 64_000,
    "20,000 ORs": b"SEARCH " + b"OR " * 20_000,
    "16,000 search keys": b"SEARCH " + b"ALL " * 16_000 + b"ALL",
    "4,500 literals": b"SEARCH " + b"TEXT {1+}\r\nx " * 4_500 + b"ALL",
    "30,000 message numbers": b"FETCH " + b"1," * 30_000 + b"1 UID",
    "30,000 header fields": b"FETCH 1 BODY[HEADER.FIELDS (" + b"a " * 30_000 + b")]",
    "a name of 60,000 shifts": b"SELECT " + b"&" * 60_000,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(arguments).rounds
    count = 5_000
    rows = []
    for name, line in COMMANDS.items():
        octets = b"".join(line % number + b"\r\n" for number in range(count))
        rows.append((name, f"{min(_read(octets) for _ in range(rounds)) / count * 1e6:.1f}"))
    report.table("A command that is pipelined with others", ("command", "µs"), rows)
    rows = []
    for name, line in LARGE.items():
        octets = b"a " + line + b"\r\n"
        rows.append((name, f"{min(_read(octets) for _ in range(rounds)) * 1e3:.1f}"))
    rows.append(("10,000 names, patterns of 60,000 characters", f"{_match() * 1e3:.1f}"))
    report.table("As large as it may be", ("command", "ms"), rows)


def _read(octets: bytes) -> float:
    core = ImapServer()
    core.logged_in()
    started = time.thread_time()
    for at in range(0, len(octets), PIECE):
        core.receive(octets[at : at + PIECE])
        while (event := core.next_event()) is not None:
            if isinstance(event, AppendMessage | LiteralAnnounced):
                core.go_ahead()
    return time.thread_time() - started


def _match() -> float:
    names = [f"Archive/2024/aaa/name of a folder {number}" for number in range(10_000)]
    started = time.thread_time()
    patterns = Patterns([f"*a%{number}" for number in range(8_000)], separator="/")
    for name in names:
        patterns.match(name)
    return time.thread_time() - started


if __name__ == "__main__":
    print(report.machine())
    main()
