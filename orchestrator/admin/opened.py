"""Opens the directory for one administrative act, and changes it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from maillib.embedded.directory import EmbeddedDirectory, database_path
from maillib.embedded.files import make_directory
from maillib.errors import Conflict, MailError
from maillib.ports.directory import AccountId, DirectoryEditor, Edit, Entries
from orchestrator.admin.owner import acting_as_owner

_OPEN_ACCOUNTS = 16
"""At the same time, while mailboxes are made: somewhat more than there are threads."""


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


async def change(state_dir: Path, directory: DirectoryEditor, build: Callable[[Entries], Sequence[Edit]]) -> None:
    """Make the edits that `build` finds right for what is there: again, when somebody else was faster.

    Raises as `build` and `commit`.
    """
    while True:
        entries = await directory.entries()
        if await commit(state_dir, directory, build(entries), entries):
            return


async def commit(
    state_dir: Path,
    directory: DirectoryEditor,
    edits: Sequence[Edit],
    entries: Entries,
    *,
    declared: str | None = None,
) -> bool:
    """Make the edits, which are right for `entries`; new accounts get their mailboxes. Nothing new: nothing is written.

    False: somebody else was faster, and nothing is changed. Raises as `edit`.
    """
    if not edits and declared in (None, entries.declared):
        return True
    try:
        await directory.edit(edits, expected=entries.generation, declared=declared)
    except Conflict:
        if await directory.generation() == entries.generation:
            raise
        return False
    known = {account.id for account in entries.accounts}
    made = [account.id for account in (await directory.entries()).accounts if account.id not in known]
    await _make_mailboxes(state_dir, directory, made)
    return True


async def _make_mailboxes(state_dir: Path, directory: DirectoryEditor, accounts: Sequence[AccountId]) -> None:
    """What the first message to each would have to wait for, some milliseconds: a mailing to many new accounts would
    take seconds. Whatever cannot be made now is made then.
    """
    if not accounts:
        return
    from maillib.embedded.index import EmbeddedIndex  # costs a plan more than the plan itself

    index = EmbeddedIndex(state_dir, directory.account, open_accounts=_OPEN_ACCOUNTS)
    try:
        results = await asyncio.gather(*(index.usage(account) for account in accounts), return_exceptions=True)
    finally:
        await index.close()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, MailError):
            raise result
