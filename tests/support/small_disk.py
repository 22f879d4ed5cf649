"""A file system of a few MiB, to be filled: a tmpfs, which has limits of octets and inodes like any disk."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class SmallDisk:
    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, *, leaving: int = 0) -> None:
        """Take all octets but so many."""
        free = os.statvfs(self.folder)
        with self._filler.open("ab") as file, contextlib.suppress(OSError):
            for _ in range((free.f_bavail * free.f_frsize - leaving) // 4096):
                file.write(bytes(4096))
                file.flush()

    def fill_inodes(self) -> None:
        """Take all inodes."""
        fillers = self.folder / "fillers"
        fillers.mkdir()
        with contextlib.suppress(OSError):
            for number in range(os.statvfs(self.folder).f_favail):
                (fillers / str(number)).touch()

    def free(self) -> None:
        """Give back what was taken."""
        self._filler.unlink(missing_ok=True)
        fillers = self.folder / "fillers"
        if fillers.exists():
            for path in fillers.iterdir():
                path.unlink()
            fillers.rmdir()


@contextmanager
def small_disk(folder: Path, *, size: str, inodes: int = 10_000) -> Iterator[SmallDisk]:
    """Mounted at `folder` as long as the block runs. Skips the test where that is not allowed, saying so."""
    folder.mkdir()
    options = f"size={size},nr_inodes={inodes},mode=755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "postroom-test", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """As long as the block runs, nothing below `folder` can be opened for writing or changed by its path; what was
    open before goes on. Skips the test where that cannot be arranged, saying so.
    """
    done = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
