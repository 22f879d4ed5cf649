"""The Spool service: takes queued messages and delivers them to the mailboxes of users here.

Purpose
    Any number of processes share one spool directory; each claims messages, at most `parallel` at a time, expands
    aliases, sends mail of lists to their members, and appends to INBOX of each user. What may pass later is tried
    again; what will not is returned to the sender. Mail for other domains waits: this version has no outbound delivery.
    Once an hour bodies are removed that somebody put into the store a day ago and nobody came back for.
Standards
    RFC 5321 §4.4, §4.5.4, §4.5.5 and §6.1; RFC 3464 with RFC 3463, RFC 6522 and RFC 6533; RFC 3834 §5; RFC 2369 and
    RFC 2919 (lists).
Security
    Talks to nobody: no listener, no connection, no program. Of a message from a stranger it looks only at the
    envelope, checked before it was queued; it copies the header into notifications, and for a list leaves out fields of
    other lists. Needs read and write access to spool and store; runs as `user`.
Signals
    SIGTERM drains, see `maillib/runtime/program.py`: no message is begun any more, those that are being delivered are
    finished; at the drain limit they are given back and a later process delivers them, without repeating what was done.
Settings
    `maillib/settings/spool.py`.
Diagnostics
    STATE_DIR/log/NAME.log: `delivered`, `deferred`, `failed`, `bounced`, `removed`, `set-aside`, `orphan-removed`;
    STATE_DIR/spool is described in docs/queue.md; `postroom queue list` shows what waits and why.
Bugs
    A message with many recipients is one job: its recipients are served at most 32 at a time.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # started as a file, not with -m
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maillib.runtime.program import main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maillib.runtime.service import Build, Registry, Service
    from maillib.settings.service import ServiceConfig


def load() -> "Build":
    """Import what delivery needs, and say how the service is built."""
    import asyncio
    from datetime import timedelta

    from maillib.embedded.blobs import EmbeddedBlobs
    from maillib.embedded.directory import EmbeddedDirectory
    from maillib.embedded.index import EmbeddedIndex
    from maillib.embedded.queue import EmbeddedQueue
    from maillib.runtime.jobs import JobService
    from maillib.sessions.delivery import Delivery
    from maillib.sessions.delivery_ports import Ports
    from maillib.sessions.retrying import JITTER, RetryPolicy
    from maillib.sessions.sweeping import sweep_for_ever
    from maillib.settings.spool import SpoolSettings

    async def build(config: "ServiceConfig", registry: "Registry") -> "Service":
        settings = config.settings
        assert isinstance(settings, SpoolSettings)
        state_dir = Path(config.state_dir)
        directory = EmbeddedDirectory(state_dir)
        index = EmbeddedIndex(state_dir, directory.account)
        blobs = EmbeddedBlobs(state_dir)
        queue = EmbeddedQueue(state_dir, longest_wait_s=max(settings.retry) * (1 + JITTER))
        ports = Ports(directory=directory, index=index, blobs=blobs, queue=queue)
        policy = RetryPolicy(
            tuple(timedelta(seconds=wait) for wait in settings.retry), timedelta(seconds=settings.give_up_after)
        )

        class QueuedMail:
            """The queue as a source of deliveries."""

            async def take(self, limit: int) -> "Sequence[Delivery]":
                claims = await queue.claim(limit)
                return [Delivery(claim, ports, policy, hostname=config.hostname) for claim in claims]

            async def wait(self, timeout_s: float) -> None:
                await queue.wait(timeout_s)

        sweeping = asyncio.create_task(sweep_for_ever(blobs))

        async def close() -> None:
            sweeping.cancel()
            await asyncio.wait((sweeping,))
            for engine in (queue, blobs, index, directory):
                await engine.close()

        return JobService(registry, QueuedMail(), verb="deliver", parallel=settings.parallel, close=close)

    return build


if __name__ == "__main__":
    sys.exit(main(__file__, "spool", load))
