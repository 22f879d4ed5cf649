"""The spool directory under a clock that stands still, and what lies in it."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from maillib.address import Address
from maillib.embedded.queue import EmbeddedQueue
from maillib.ports.queue import Envelope, QueueId, QueueState, Recipient

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BODY = b"Subject: x\r\n\r\nbody\r\n"


class Queue(EmbeddedQueue):
    """On a clock that stands still until told."""

    def __init__(self, state_dir: Path, now: datetime = START) -> None:
        self.now = now
        super().__init__(state_dir, clock=lambda: self.now.timestamp())


async def put(queue: EmbeddedQueue, body: bytes = BODY) -> QueueId:
    draft = queue.draft()
    await draft.write(body)
    await draft.commit(
        Envelope(
            sender=None,
            recipients=(Recipient(address=Address.parse("bob@example.test")),),
            queued=START,
            account=None,
            peer="local",
        )
    )
    return draft.id


async def states(queue: EmbeddedQueue) -> dict[QueueId, QueueState]:
    return {item.id: item.state async for item in queue.browse()}


def with_queue(state_dir: Path, promise: Callable[[Queue], Awaitable[None]]) -> None:
    async def main() -> None:
        queue = Queue(state_dir)
        try:
            await promise(queue)
        finally:
            await queue.close()

    asyncio.run(main())


def files(state_dir: Path) -> list[str]:
    """Every file under the spool but the FIFO and spare ones, owners and IDs made plain."""
    paths = [path for path in (state_dir / "spool").rglob("*") if path.is_file() and path.parent.name != "spare"]
    names = [str(path.relative_to(state_dir / "spool")) for path in paths]
    return sorted(re.sub(r"\d+-[0-9a-f]{12}", "OWNER", re.sub(r"[0-9A-Z]{16}", "ID", name)) for name in names)
