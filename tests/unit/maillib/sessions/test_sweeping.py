"""Bodies that nobody came back for."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maillib.embedded.blobs import EmbeddedBlobs
from maillib.errors import Transient
from maillib.memory.blobs import MemoryBlobs
from maillib.ports.blobs import BlobRef, Blobs
from maillib.sessions.sweeping import GRACE, sweep, sweep_for_ever


async def octets() -> AsyncIterator[bytes]:
    yield b"body"


@pytest.mark.parametrize("engine", ["memory", "embedded"])
def test_only_old_bodies_go(engine: str, tmp_path: Path) -> None:
    """A body goes a day after it was put, whatever internal date it has, and not a moment earlier."""
    (tmp_path / "mail").mkdir()

    async def main() -> None:
        blobs: Blobs = MemoryBlobs() if engine == "memory" else EmbeddedBlobs(tmp_path)
        for _ in range(2):
            await blobs.put(octets())
        now = datetime.now(UTC)
        assert await sweep(blobs, now) == 0
        assert await sweep(blobs, now + GRACE - timedelta(minutes=1)) == 0
        assert await sweep(blobs, now + GRACE + timedelta(minutes=1)) == 2
        assert await sweep(blobs, now + GRACE + timedelta(minutes=1)) == 0
        if isinstance(blobs, EmbeddedBlobs):
            await blobs.close()

    asyncio.run(main())


class BrokenBlobs(MemoryBlobs):
    async def list(self, *, older_than: datetime) -> AsyncIterator[BlobRef]:
        async for ref in super().list(older_than=older_than):
            yield ref
        raise Transient("mail/loose cannot be read")


def test_a_sweep_that_fails_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """It does not end the process, which delivers mail."""

    async def main() -> None:
        task = asyncio.create_task(sweep_for_ever(BrokenBlobs()))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.wait((task,))

    asyncio.run(main())
    assert "mail/loose cannot be read" in capfd.readouterr().err
