"""What do 100,000 waiting messages cost those that pass them by? And the start of a spool that finds them?

Two suites in turns, A B A B: one with 10 messages that wait for their next attempt, one with 100,000. Each message sent
is accepted and delivered; the others are not due. The start is timed from `postroom start spool` until a message that
had been accepted before is in its mailbox.
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from benchmarks import processes, report, source, suite
from benchmarks.source import SENDER, Load
from benchmarks.suite import LIMIT_S, USER, Suite
from maillib.address import Address
from maillib.embedded.queue_envelope import StoredEnvelope, encode
from maillib.embedded.queue_ids import new_id
from maillib.ports.queue import Envelope, Recipient, RecipientState

WAIT_S = 3600
"""None of those that wait is due before the measurement is over."""


@dataclass(slots=True)
class Queue:
    """One of those that are compared, and what was measured of it."""

    suite: Suite
    waiting: int
    sent: int = 0
    start_s: float = 0.0
    took_us: list[float] = field(default_factory=list)
    """For a message, accepted and delivered."""
    used_us: list[float] = field(default_factory=list)
    """CPU of SMTP and spool for one."""

    def fill(self) -> None:
        self.suite.verb("stop", "spool")
        spool = self.suite.folder / "var/spool"
        recipient = Recipient(
            address=Address.parse(USER), state=RecipientState.DEFERRED, attempts=1, last_reply="4.2.2"
        )
        body = b"Subject: waits\r\n\r\n"
        due = time.time() + WAIT_S
        for number in range(self.waiting):
            envelope = Envelope(
                sender=Address.parse(SENDER),
                recipients=(recipient,),
                queued=datetime.now(UTC),
                account=None,
                peer="192.0.2.1",
            )
            queue_id = new_id(time.time())
            (spool / "messages" / f"{queue_id}.eml").write_bytes(body)
            path = spool / "deferred" / f"{queue_id}.json"
            path.write_bytes(encode(StoredEnvelope(id=queue_id, envelope=envelope, size_octets=len(body))))
            os.utime(path, (due + number % WAIT_S, due + number % WAIT_S))

    def start(self) -> None:
        source.send(self.suite.smtp_port, Load(1))
        self.sent += 1
        begun = time.perf_counter()
        self.suite.verb("start", "spool")
        self._wait_until_delivered()
        self.start_s = time.perf_counter() - begun

    def measure(self, load: Load) -> None:
        pids = self.suite.pids()
        used_s = processes.cpu_s(pids["smtp"], pids["spool"])
        begun = time.perf_counter()
        source.send(self.suite.smtp_port, load)
        self.sent += load.messages
        self._wait_until_delivered()
        self.took_us.append((time.perf_counter() - begun) / load.messages * 1e6)
        self.used_us.append((processes.cpu_s(pids["smtp"], pids["spool"]) - used_s) / load.messages * 1e6)

    def peak_mib(self) -> float:
        return processes.peak_octets(self.suite.pids()["spool"]) / report.MIB

    def _wait_until_delivered(self) -> None:
        """Until all that was sent is in the mailbox."""
        mail = self.suite.folder / "var/mail"
        deadline = time.monotonic() + LIMIT_S
        while sum(1 for _ in mail.glob("*/*/*.eml")) < self.sent:
            if time.monotonic() > deadline:
                sys.exit(f"after {LIMIT_S:.0f} s not all of {self.sent} messages are in the mailbox")
            time.sleep(0.01)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=500, help="of one run")
    parser.add_argument("--size", type=int, default=10 * report.KIB, metavar="OCTETS")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    load = Load(options.messages, options.size, options.sessions)
    with contextlib.ExitStack() as stack:
        queues = [Queue(stack.enter_context(suite.running()), waiting) for waiting in (10, options.waiting)]
        for queue in queues:
            queue.fill()
        for queue in queues:
            queue.start()
            queue.measure(load)  # warm
            queue.took_us.clear()
            queue.used_us.clear()
        for _ in range(options.rounds):
            for queue in queues:
                queue.measure(load)
        rows = [
            (
                f"{queue.waiting:,}",
                f"{queue.start_s:.2f}",
                report.spread(queue.took_us),
                report.spread(queue.used_us),
                f"{queue.peak_mib():.0f}",
            )
            for queue in queues
        ]
    report.table(
        f"Accepted and delivered beside a deep queue: {load.messages} messages of {load.size_octets} octets a run, "
        f"{load.sessions} sessions, {options.rounds} rounds; client: {source.GENERATOR}",
        ("waiting", "start s", "µs/message", "CPU µs/message", "peak MiB of a spool process"),
        rows,
    )
    few, many = queues
    took, used = (
        statistics.median(getattr(many, figure)) / statistics.median(getattr(few, figure))
        for figure in ("took_us", "used_us")
    )
    print(f"\n{many.waiting:,} to {few.waiting}: {took:.2f} times the time, {used:.2f} times the CPU")


if __name__ == "__main__":
    print(report.machine())
    main()
