"""Opens the directory for one administrative act, and changes it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from maillib.embedded.directory import EmbeddedDirectory, database_path
from maillib.embedded.files import make_directory
from maillib.errors import Conflict
from maillib.ports.directory import DirectoryEditor, Edit, Entries
from orchestrator.admin.owner import acting_as_owner


@asynccontextmanager
async def directory(state_dir: Path) -> AsyncIterator[DirectoryEditor]:
    """The directory of `state_dir`; both are made where they are missing: accounts may be made before the first apply.

    Inside of the block root acts as the owner of the data. Raises Transient, StoreUnusable, ConfigError.
    """
    state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    folder = database_path(state_dir).parent
    make_directory(folder)
    with acting_as_owner(folder):
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
