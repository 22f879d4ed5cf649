"""Accounts and their mail: what is there, how much of it, and its removal for good."""

import asyncio
from contextlib import suppress
from pathlib import Path

from maillib.address import Address
from maillib.embedded.blobs import account_path
from maillib.embedded.directory import database_path
from maillib.embedded.index import EmbeddedIndex
from maillib.embedded.purge import purge
from maillib.errors import NotFound, StoreDamaged
from maillib.ports.directory import Account, AccountId, DirectoryEditor, Entries, Forget, RemoveAccount
from maillib.ports.index import Usage
from orchestrator.admin import opened


def entries(state_dir: Path) -> Entries:
    """All that is in the directory now. Makes none where there is none yet."""
    if not database_path(state_dir).exists():
        return Entries()

    async def run() -> Entries:
        async with opened.directory(state_dir) as directory:
            return await directory.entries()

    return asyncio.run(run())


def account_of(found: Entries, address: Address) -> Account:
    """Raises NotFound."""
    for account in found.accounts:
        if account.address.key == address.key:
            return account
    raise NotFound(f"there is no account {address}")


def purge_account(state_dir: Path, address: Address) -> Usage | None:
    """Remove the account, be it removed already, and its mail for good. What that was; None: its index could not tell.

    Raises NotFound.
    """

    async def run() -> Usage | None:
        async with opened.directory(state_dir) as directory:
            found = await directory.entries()
            owners = [known for known in (*found.accounts, *found.removed) if known.address.key == address.key]
            if not owners:
                raise NotFound(f"there is no account {address}, and no mail of one")
            await directory.edit([RemoveAccount(address)])
            gone: Usage | None = None
            with suppress(StoreDamaged):
                gone = await _usage(state_dir, directory, owners[0].id)
            await asyncio.to_thread(purge, state_dir, owners[0].id)
            await directory.edit([Forget(owners[0].id)])
            return gone

    return asyncio.run(run())


def usage(state_dir: Path, account: AccountId) -> Usage:
    """What the account has stored."""

    async def run() -> Usage:
        async with opened.directory(state_dir) as directory:
            return await _usage(state_dir, directory, account)

    return asyncio.run(run())


async def _usage(state_dir: Path, directory: DirectoryEditor, account: AccountId) -> Usage:
    if not account_path(state_dir, account).exists():  # asking the index would make one
        return Usage(messages=0, octets=0)
    index = EmbeddedIndex(state_dir, directory.account)
    try:
        return await index.usage(account)
    finally:
        await index.close()
