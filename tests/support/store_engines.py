"""The engines of the store, opened alike for tests: what the ports promise is held against each of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.hints import EmbeddedHints
from maillib.embedded.index import EmbeddedIndex
from maillib.embedded.leases import EmbeddedLeases
from maillib.memory.blobs import MemoryBlobs
from maillib.memory.hints import MemoryHints
from maillib.memory.index import MemoryIndex
from maillib.memory.leases import MemoryLeases
from maillib.ports.blobs import Blobs
from maillib.ports.directory import Account, AccountId
from maillib.ports.hints import Hints
from maillib.ports.index import Index, NewMessage, Retention, StoredMessage
from maillib.ports.leases import Leases
from tests.support.stored_mail import wrong_with

ALICE, BOB = AccountId(1), AccountId(2)
WHEN = datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC)
RETENTION = Retention(keys_s=1000, tombstones=10)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True, slots=True)
class Store:
    """One engine, opened for one test."""

    index: Index
    blobs: Blobs
    leases: Leases
    hints: Hints
    quotas: dict[AccountId, int]
    clock: Clock
    """Of the index."""


Opener = Callable[[Path], AbstractAsyncContextManager[Store]]
Promise = Callable[[Store], Awaitable[None]]
Keeps = Callable[[Promise], None]


def directory_of(quotas: dict[AccountId, int]) -> Callable[[AccountId], Awaitable[Account]]:
    """As much of a Directory as the Index asks for."""

    async def account_of(account: AccountId) -> Account:
        address = Address.parse(f"user{account}@example.test")
        return Account(account, address, "", True, None, quotas.get(account))

    return account_of


@asynccontextmanager
async def open_embedded(state_dir: Path) -> AsyncIterator[Store]:
    quotas: dict[AccountId, int] = {}
    clock = Clock()
    index = EmbeddedIndex(state_dir, directory_of(quotas), retention=RETENTION, clock=clock)
    blobs, leases, hints = EmbeddedBlobs(state_dir), EmbeddedLeases(state_dir), EmbeddedHints(state_dir)
    try:
        yield Store(index, blobs, leases, hints, quotas, clock)
        for account in (ALICE, BOB):
            assert wrong_with(state_dir, account) == []
    finally:
        for engine in (hints, index, blobs, leases):
            await engine.close()


@asynccontextmanager
async def open_memory(_: Path) -> AsyncIterator[Store]:
    quotas: dict[AccountId, int] = {}
    clock, blobs, hints = Clock(), MemoryBlobs(), MemoryHints()
    index = MemoryIndex(blobs, directory_of(quotas), publish=hints.publish, retention=RETENTION, clock=clock)
    yield Store(index, blobs, MemoryLeases(), hints, quotas, clock)
    await hints.close()


OPENERS: dict[str, Opener] = {"embedded": open_embedded, "memory": open_memory}


def keep(opener: Opener, state_dir: Path, promise: Promise) -> None:
    """Hold a promise against a fresh store."""

    async def main() -> None:
        async with opener(state_dir) as store:
            await promise(store)

    asyncio.run(main())


async def chunks_of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def new_message(
    store: Store, key: str | None, body: bytes = b"Subject: x\r\n\r\nbody\r\n", **more: object
) -> NewMessage:
    ref = await store.blobs.put(chunks_of(body))
    fields: dict[str, object] = {"prefix": b"Return-Path: <>\r\n", "internal_date": WHEN} | more
    return NewMessage(delivery_key=key, body=ref, **fields)  # type: ignore[arg-type]


async def octets(store: Store, stored: StoredMessage) -> bytes:
    return stored.prefix + await store.blobs.get(stored.body, 0, stored.size_octets)
