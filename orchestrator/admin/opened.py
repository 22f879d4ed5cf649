"""Opens the directory for one administrative act, and changes it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from maillib.embedded.directory import EmbeddedDirectory
from maillib.errors import Conflict
from maillib.ports.directory import DirectoryEditor, Edit, Entries


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


async def change(
    directory: DirectoryEditor, build: Callable[[Entries], Sequence[Edit]], *, declared: str | None = None
) -> None:
    """Make the edits that `build` finds right for what is there: again, when somebody else was faster.

    Nothing new: nothing is written. Raises as `build` and `edit`.
    """
    while True:
        entries = await directory.entries()
        edits = build(entries)
        if not edits and declared in (None, entries.declared):
            return None
        try:
            return await directory.edit(edits, expected=entries.generation, declared=declared)
        except Conflict:
            if await directory.generation() == entries.generation:
                raise
