"""Opens the directory for one administrative act."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from maillib.embedded.directory import EmbeddedDirectory
from maillib.ports.directory import DirectoryEditor


@asynccontextmanager
async def directory(state_dir: Path) -> AsyncIterator[DirectoryEditor]:
    """The directory of `state_dir`; both are made where they are missing: accounts may be made before the first apply.

    Raises Transient, StoreUnusable, ConfigError.
    """
    state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    opened = EmbeddedDirectory(state_dir)
    try:
        yield opened
    finally:
        await opened.close()
