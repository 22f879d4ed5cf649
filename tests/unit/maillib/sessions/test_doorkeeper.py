"""Guessing is slow, and slows down nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from maillib.address import Address
from maillib.errors import AuthenticationFailed, Transient
from maillib.memory.directory import MemoryDirectory
from maillib.sessions import doorkeeper
from maillib.sessions.doorkeeper import Doorkeeper

ALICE = "alice@example.test"
PASSWORD = "open sesame"


class House:
    """A doorkeeper with a clock of its own; delays are noted, and last until `let_go`."""

    def __init__(self) -> None:
        self.directory = MemoryDirectory()
        self.now = 0.0
        self.delays: list[float] = []
        self.held = asyncio.Event()
        self.held.set()
        self.doorkeeper = Doorkeeper(self.directory, clock=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        await self.held.wait()

    async def fails(self, host: str = "192.0.2.1", login: str = ALICE) -> float:
        """How long a wrong password was held back."""
        with pytest.raises(AuthenticationFailed):
            await self.doorkeeper.authenticate(login, "wrong", service="pop", host=host)
        return self.delays[-1]

    async def succeeds(self, host: str) -> None:
        account = await self.doorkeeper.authenticate(ALICE, PASSWORD, service="pop", host=host)
        assert str(account.address) == ALICE


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    made = House()
    await made.directory.add_domain("example.test")
    await made.directory.add_account(Address.parse(ALICE), PASSWORD)
    async with asyncio.timeout(20):
        yield made


def test_failures_from_one_address_are_held_back_longer_and_longer() -> None:
    """Whatever the names; a few are free, the longest wait is one that clients bear, and in time all is forgotten."""

    async def main() -> None:
        async with house() as at:
            delays = [await at.fails(login=f"u{number}@example.test") for number in range(12)]
            assert delays == [0, 0, 0, 0, 0.25, 0.5, 1, 2, 4, 5, 5, 5]
            assert await at.fails(host="192.0.2.2", login="x") == 0
            at.now += doorkeeper.FORGET_S
            assert await at.fails() == 0

    asyncio.run(main())


def test_failures_for_one_name_are_held_back_wherever_they_come_from() -> None:
    """A name is the same in any case, and one that nobody has is held back as long."""

    async def main() -> None:
        for login in (ALICE, "nobody@example.test"):
            async with house() as at:
                delays = [await at.fails(f"192.0.2.{number}", login) for number in range(5)]
                assert delays == [0, 0, 0, 0, 0.25]
                assert await at.fails("192.0.2.99", login.upper()) == 0.5

    asyncio.run(main())


def test_an_ipv6_network_of_one_host_is_one_address() -> None:
    """Who has a /64 does not begin anew with each of its addresses."""

    async def main() -> None:
        async with house() as at:
            delays = [await at.fails(f"2001:db8::{number}", f"u{number}") for number in range(5)]
            assert delays[-1] == 0.25
            assert await at.fails("2001:db8:0:1::1", "other") == 0

    asyncio.run(main())


def test_the_right_password_is_not_held_back() -> None:
    """Neither by failures for the name, nor by those from the address; from elsewhere not even by a full house."""

    async def main() -> None:
        async with house() as at:
            for _ in range(20):
                await at.fails()
            before = len(at.delays)
            await at.succeeds("192.0.2.1")
            at.held.clear()
            guesses = [asyncio.create_task(at.fails()) for _ in range(doorkeeper.AT_ONCE + doorkeeper.MOST_WAITING)]
            while len(at.delays) < before + doorkeeper.AT_ONCE:
                await asyncio.sleep(0)
            await at.succeeds("192.0.2.2")
            assert len(at.delays) == before + doorkeeper.AT_ONCE
            with pytest.raises(Transient):
                await at.doorkeeper.authenticate(ALICE, PASSWORD, service="pop", host="192.0.2.1")
            at.held.set()
            await asyncio.gather(*guesses)
            await at.succeeds("192.0.2.1")

    asyncio.run(main())


def test_not_everything_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names are tried, what is kept of them is bounded; who failed last is kept."""
    monkeypatch.setattr(doorkeeper, "REMEMBERED", 10)

    async def main() -> None:
        async with house() as at:
            for number in range(20):
                await at.fails("192.0.2.1", f"u{number}")
            assert await at.fails("192.0.2.1", "one more") == doorkeeper.LONGEST_DELAY_S
            assert await at.fails("192.0.2.2", "u0") == 0

    asyncio.run(main())
