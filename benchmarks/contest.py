"""Our suite and a private Postfix, both delivering into mailboxes, measured in turns: A B A B."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import postfix, processes, source, suite
from benchmarks.source import Load


@dataclass(slots=True)
class Server:
    """One of those that are compared, and what was measured of it in each round."""

    name: str
    port: int
    pids: tuple[int, ...]
    wait_until_delivered: Callable[[], None]
    delivered: Callable[[], int]
    """Copies in all mailboxes."""
    mail: Path
    """Where they are."""
    took_s: list[float] = field(default_factory=list)
    """From the first connection until the queue is empty."""
    accepted_s: list[float] = field(default_factory=list)
    used_s: list[float] = field(default_factory=list)
    """CPU time."""
    _copies: int = 0

    def measure(self, load: Load) -> None:
        used_s = processes.cpu_s(*self.pids)
        begun = time.perf_counter()
        self.accepted_s.append(source.send(self.port, load))
        self.wait_until_delivered()
        self.took_s.append(time.perf_counter() - begun)
        self.used_s.append(processes.cpu_s(*self.pids) - used_s)
        self._copies += load.copies

    def check(self) -> None:
        """End the program unless all that was sent is in the mailboxes, and nothing else."""
        if (found := self.delivered()) != self._copies:
            sys.exit(f"{self.name}: {self._copies} copies were to be delivered, {found} are in the mailboxes")


@contextlib.contextmanager
def servers(workers: int, users: int) -> Iterator[list[Server]]:
    """Ours, with so many workers for each service, and Postfix where there is one."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(suite.running(workers, users))
        pids = ours.pids()
        found = [
            Server(
                f"Postroom (workers: {workers})",
                ours.smtp_port,
                (pids["smtp"], pids["spool"]),
                ours.wait_until_delivered,
                ours.delivered,
                ours.folder / "var/mail",
            )
        ]
        if (reason := postfix.missing()) is None:
            peer = stack.enter_context(postfix.running(users, hold=False))
            found.append(
                Server(
                    "Postfix",
                    peer.smtp_port,
                    (peer.master,),
                    peer.wait_until_delivered,
                    peer.delivered,
                    peer.folder / "mail",
                )
            )
        else:
            print(f"No comparison: {reason}.")
        yield found
