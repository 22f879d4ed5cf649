"""A fresh directory of either engine, and what promises about it need."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest

from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
from maillib.memory.directory import MemoryDirectory
from maillib.ports.directory import Account, DirectoryEditor, Edit

Engine = Literal["embedded", "memory"]
ENGINES: tuple[Engine, ...] = ("embedded", "memory")

Promise = Callable[[DirectoryEditor], Awaitable[None]]
Keeps = Callable[[Promise], None]


def keeper(engine: Engine, state_dir: Path) -> Keeps:
    """Runs a promise against a fresh directory of the engine."""

    def run(promise: Promise) -> None:
        async def main() -> None:
            directory = EmbeddedDirectory(state_dir) if engine == "embedded" else MemoryDirectory()
            try:
                await promise(directory)
            finally:
                await directory.close()

        asyncio.run(main())

    return run


def at(text: str) -> Address:
    return Address.parse(text if "@" in text else f"{text}@example.test")


async def with_accounts(directory: DirectoryEditor, *names: str) -> list[Account]:
    """Accounts of example.test, made in this order."""
    await directory.add_domain("example.test")
    return [await directory.add_account(at(name)) for name in names]


async def targets(directory: DirectoryEditor, address: str) -> list[str]:
    """Where mail for `address` goes: accounts, then what is elsewhere."""
    found = await directory.resolve(at(address))
    return [str(account.address) for account in found.accounts] + [str(remote) for remote in found.remote]


async def refused(directory: DirectoryEditor, kind: type[Exception], edits: Sequence[Edit]) -> str:
    """The text of the error; nothing has changed."""
    before = await directory.entries()
    with pytest.raises(kind) as error:
        await directory.edit(edits)
    assert await directory.entries() == before
    return str(error.value)
