"""The file of penalties: shared by processes, of one size, and no worse for what happens to it."""

import asyncio
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from maillib.embedded import penalties as penalties_module
from maillib.embedded.penalties import EmbeddedPenalties
from maillib.errors import Transient

HERE, ALICE = "192.0.2.1", "alice@example.test"
FILE_OCTETS = (1 << 20) + 512
SCRIPT = """
import asyncio, os, signal, sys
from pathlib import Path
from maillib.embedded.penalties import EmbeddedPenalties
async def main():
    penalties = EmbeddedPenalties(Path(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        await penalties.failed("192.0.2.1", "alice@example.test")
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
"""Fails so many times, and dies."""


def with_penalties(state_dir: Path, promise: Callable[[EmbeddedPenalties], Awaitable[None]]) -> None:
    async def main() -> None:
        penalties = EmbeddedPenalties(state_dir)
        try:
            await promise(penalties)
        finally:
            await penalties.close()

    asyncio.run(main())


def file_of(state_dir: Path) -> Path:
    return state_dir / "directory" / "penalties"


def test_processes_share_it(tmp_path: Path) -> None:
    """What fails in four processes at once is counted by all of them, and not forgotten when they are killed."""

    async def promise(penalties: EmbeddedPenalties) -> None:
        assert penalties.failures(ALICE) == 0
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), "4"]
        for process in [subprocess.Popen(command) for _ in range(4)]:
            await asyncio.to_thread(process.wait, 60)
        assert 15 <= penalties.failures(ALICE) <= 16  # one may be forgotten where starting takes long
        assert penalties.wait_s(HERE) > 0

    with_penalties(tmp_path, promise)
    with_penalties(tmp_path, promise_still_known)


async def promise_still_known(penalties: EmbeddedPenalties) -> None:
    assert penalties.failures(ALICE) >= 15


def test_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many fail, the file stays as it was made, with its space on the disk; who fails often stays in it."""
    monkeypatch.setattr(penalties_module, "_BUCKETS", 2)  # of the 2048 that it has space for

    async def promise(penalties: EmbeddedPenalties) -> None:
        assert file_of(tmp_path).stat().st_size == FILE_OCTETS
        assert file_of(tmp_path).stat().st_blocks * 512 >= FILE_OCTETS
        assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) & 0o137 == 0
        for _ in range(6):
            await penalties.failed(HERE, ALICE)
        for number in range(200):
            await penalties.failed(f"2001:db8:0:{number:x}::/64", f"u{number}")
        assert penalties.failures(ALICE) == 6
        assert penalties.failures("u199") == 1
        assert file_of(tmp_path).stat().st_size == FILE_OCTETS

    with_penalties(tmp_path, promise)


def test_names_nobody(tmp_path: Path) -> None:
    """Who failed cannot be read in it."""

    async def promise(penalties: EmbeddedPenalties) -> None:
        await penalties.failed(HERE, ALICE)

    with_penalties(tmp_path, promise)
    octets = file_of(tmp_path).read_bytes()
    assert b"alice" not in octets and HERE.encode() not in octets


@pytest.mark.parametrize("damage", [b"", b"x" * 100, b"x" * FILE_OCTETS])
def test_damaged(tmp_path: Path, damage: bytes) -> None:
    """A file that is none of ours, or not whole, is begun anew."""

    async def promise(penalties: EmbeddedPenalties) -> None:
        await penalties.failed(HERE, ALICE)
        assert penalties.failures(ALICE) == 1

    with_penalties(tmp_path, promise)
    file_of(tmp_path).write_bytes(damage)
    with_penalties(tmp_path, promise)
    assert file_of(tmp_path).stat().st_size == FILE_OCTETS


def test_damaged_records(tmp_path: Path) -> None:
    """Nonsense in its records keeps nobody out, and failures are counted over it."""

    async def promise(penalties: EmbeddedPenalties) -> None:
        for octet in (b"\xff", b"\x7f", b"\x00", b"\x41"):
            with file_of(tmp_path).open("r+b") as file:
                file.seek(512)
                file.write(octet * (1 << 20))
            assert (penalties.failures(ALICE), penalties.wait_s(HERE)) == (0, 0)
            for _ in range(5):
                await penalties.failed(HERE, ALICE)
            assert penalties.failures(ALICE) == 5

    with_penalties(tmp_path, promise)


def test_shortened_while_open(tmp_path: Path) -> None:
    """Somebody who empties the file makes us forget, not fail."""

    async def promise(penalties: EmbeddedPenalties) -> None:
        await penalties.failed(HERE, ALICE)
        os.truncate(file_of(tmp_path), 0)
        assert penalties.failures(ALICE) == 0
        await penalties.failed(HERE, ALICE)
        assert penalties.failures(ALICE) == 1

    with_penalties(tmp_path, promise)


def test_lock_that_nobody_gives_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped in the middle of a change holds up nobody for long, and no question."""
    monkeypatch.setattr(penalties_module, "_PATIENCE_S", 0.05)

    async def promise(penalties: EmbeddedPenalties) -> None:
        with file_of(tmp_path).open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(Transient):
                await penalties.failed(HERE, ALICE)
            assert penalties.failures(ALICE) == 0
        await penalties.failed(HERE, ALICE)
        assert penalties.failures(ALICE) == 1

    with_penalties(tmp_path, promise)
