"""Guessing is slow, and slows down nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from maillib.address import Address
from maillib.errors import AuthenticationFailed, StoreFull, Transient
from maillib.memory.directory import MemoryDirectory
from maillib.memory.penalties import MemoryPenalties
from maillib.ports import penalties
from maillib.ports.directory import Account
from maillib.ports.penalties import LONGEST_DELAY_S
from maillib.sessions import doorkeeper
from maillib.sessions.doorkeeper import Doorkeeper

ALICE = "alice@example.test"
PASSWORD = "open sesame"


class Guarded(MemoryDirectory):
    """Checks no password while `held`."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.checking = 0

    async def authenticate(self, login: str, password: str, *, service: str) -> Account:
        self.checking += 1
        await self.open.wait()
        return await super().authenticate(login, password, service=service)


class House:
    """Doorkeepers of two services, with one memory and a clock that goes on while somebody sleeps."""

    def __init__(self, kept: MemoryPenalties | None = None) -> None:
        self.directory = Guarded()
        self.now = 1_000_000.0
        self.penalties = MemoryPenalties(clock=lambda: self.now) if kept is None else kept
        self.pop, self.smtp = [
            Doorkeeper(self.directory, self.penalties, clock=lambda: self.now, sleep=self.sleep) for _ in range(2)
        ]

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def fails(self, host: str = "192.0.2.1", login: str = ALICE, at: Doorkeeper | None = None) -> float:
        """How long it took until a wrong password was answered."""
        began = self.now
        with pytest.raises(AuthenticationFailed):
            await (at or self.pop).authenticate(login, "wrong", service="pop", host=host)
        return round(self.now - began, 2)

    async def succeeds(self, host: str, at: Doorkeeper | None = None) -> float:
        began = self.now
        account = await (at or self.pop).authenticate(ALICE, PASSWORD, service="pop", host=host)
        assert str(account.address) == ALICE
        return round(self.now - began, 2)


@asynccontextmanager
async def house(kept: MemoryPenalties | None = None) -> AsyncIterator[House]:
    made = House(kept)
    await made.directory.add_domain("example.test")
    await made.directory.add_account(Address.parse(ALICE), PASSWORD)
    async with asyncio.timeout(20):
        yield made


def test_passwords_from_one_address_wait_longer_and_longer() -> None:
    """Whatever the names; a few are free, the longest wait is one that clients bear, and in time all is forgotten."""

    async def main() -> None:
        async with house() as at:
            delays = [await at.fails(login=f"u{number}@example.test") for number in range(13)]
            assert delays == [0, 0, 0, 0, 0, 0.25, 0.5, 1, 2, 4, 5, 5, 5]
            assert await at.fails(host="192.0.2.2", login="x") == 0
            at.now += penalties.MOST_FAILURES * penalties.FORGET_S
            assert await at.fails() == 0

    asyncio.run(main())


def test_another_service_makes_an_address_wait_too() -> None:
    """What failed in one service slows guessing in the other."""

    async def main() -> None:
        async with house() as at:
            for number in range(11):
                await at.fails(login=f"u{number}")
            assert await at.fails(login="u12", at=at.smtp) == LONGEST_DELAY_S
            assert await at.fails(login="u13", host="192.0.2.2", at=at.smtp) == 0

    asyncio.run(main())


def test_who_only_waits_between_guesses_is_not_held_back() -> None:
    """The wait counts from the last failure, not from the next attempt; one failure a minute is none."""

    async def main() -> None:
        async with house() as at:
            for number in range(6):
                await at.fails(login=f"u{number}")
            at.now += 2
            assert await at.fails(login="u6") == 0
            for _ in range(20):
                at.now += 60
                assert await at.fails() == 0

    asyncio.run(main())


def test_connections_at_once_guess_no_faster() -> None:
    """Of many log-ins at once from an address that guesses, one is looked at in each wait, over all services."""

    async def main() -> None:
        async with house() as at:
            for number in range(20):
                await at.fails(login=f"u{number}")
            began, at.directory.checking = at.now, 0
            guesses = [
                door.authenticate(f"v{number}", "wrong", service="pop", host="192.0.2.1")
                for number in range(10)
                for door in (at.pop, at.smtp)
            ]
            answers = [type(answer) for answer in await asyncio.gather(*guesses, return_exceptions=True)]
            assert at.now - began >= LONGEST_DELAY_S
            assert at.directory.checking == answers.count(AuthenticationFailed)
            assert at.directory.checking <= 1 + (at.now - began) / LONGEST_DELAY_S
            assert answers.count(Transient) == 20 - at.directory.checking

    asyncio.run(main())


def test_the_first_connections_guess_no_faster_either() -> None:
    """Of many log-ins at once from an address that has not failed yet, a handful is looked at before it waits."""

    async def main() -> None:
        async with house() as at:
            guesses = [at.pop.authenticate(f"u{n}", "wrong", service="pop", host="192.0.2.1") for n in range(100)]
            answers = await asyncio.gather(*guesses, return_exceptions=True)
            assert at.directory.checking < 2 * doorkeeper.AT_ONCE
            assert {type(answer) for answer in answers} == {AuthenticationFailed, Transient}

    asyncio.run(main())


def test_right_passwords_from_an_address_that_guessed_follow_each_other() -> None:
    """Once the last wait is over, a success makes room for the next one at once."""

    async def main() -> None:
        async with house() as at:
            for number in range(20):
                await at.fails(login=f"u{number}")
            assert await at.succeeds("192.0.2.1") == LONGEST_DELAY_S
            assert [await at.succeeds("192.0.2.1") for _ in range(5)] == [0] * 5

    asyncio.run(main())


def test_failures_for_one_name_make_it_wait_wherever_they_come_from() -> None:
    """A little, so that nobody is kept out by others; a name is the same in any spelling, and if nobody has it."""

    async def main() -> None:
        for login in (ALICE, "nobody@example.test"):
            async with house() as at:
                delays = [await at.fails(f"192.0.2.{number}", login) for number in range(10)]
                assert delays == [0, 0, 0, 0, 0, 0.25, 0.5, 1, 1, 1]
                local, _, domain = login.partition("@")
                assert await at.fails("192.0.2.99", f'"{local.upper()}"@{domain.upper()}.') == 1

    asyncio.run(main())


def test_the_right_password_is_not_held_back_by_guesses_from_elsewhere() -> None:
    """For a second at most; and not at all where it came from lately."""

    async def main() -> None:
        async with house() as at:
            assert await at.succeeds("192.0.2.200") == 0
            for number in range(100):
                await at.fails(f"192.0.2.{number}")
            assert await at.succeeds("192.0.2.201") == doorkeeper.LONGEST_DELAY_OF_NAME_S
            assert await at.succeeds("192.0.2.201") == 0
            assert await at.succeeds("192.0.2.200") == 0

    asyncio.run(main())


def test_who_mistyped_and_then_got_it_right_is_free_again() -> None:
    """A success takes back what this address failed for this name; nothing that it failed for others."""

    async def main() -> None:
        async with house() as at:
            for _ in range(8):
                await at.fails()
            await at.succeeds("192.0.2.1")
            assert [await at.fails() for _ in range(5)] == [0] * 5

            for number in range(9):
                await at.fails("192.0.2.2", f"u{number}")
            await at.fails("192.0.2.2")
            await at.succeeds("192.0.2.2")
            await at.fails("192.0.2.2", "u10")
            assert await at.fails("192.0.2.2", "u11") >= 4

    asyncio.run(main())


def test_an_ipv6_network_of_one_host_is_one_address() -> None:
    """Who has a /64 does not begin anew with each of its addresses."""

    async def main() -> None:
        async with house() as at:
            delays = [await at.fails(f"2001:db8::{number}", f"u{number}") for number in range(6)]
            assert delays[-1] == 0.25
            assert await at.fails("2001:db8:0:1::1", "other") == 0

    asyncio.run(main())


@pytest.mark.parametrize("host", ["192.0.2.{}", "2001:db8:0:{}::1"])
def test_who_comes_from_elsewhere_finds_room(host: str) -> None:
    """Passwords from one network have their share of the process, and no more; a /48 of IPv6 is one network."""

    async def main() -> None:
        async with house() as at:
            many = doorkeeper.AT_ONCE + doorkeeper.MOST_WAITING
            at.directory.open.clear()
            here = [host.format(number if ":" in host else 1) for number in range(many)]
            guesses = [
                asyncio.create_task(at.pop.authenticate(f"u{address}", "wrong", service="pop", host=address))
                for address in here
            ]
            while at.directory.checking < doorkeeper.AT_ONCE:
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            assert at.directory.checking == doorkeeper.AT_ONCE
            with pytest.raises(Transient):
                await at.pop.authenticate(ALICE, PASSWORD, service="pop", host=host.format(1))
            elsewhere = asyncio.create_task(at.succeeds("198.51.100.1"))
            while at.directory.checking <= doorkeeper.AT_ONCE:
                await asyncio.sleep(0)
            at.directory.open.set()
            await elsewhere
            answers = await asyncio.gather(*guesses, return_exceptions=True)
            assert {type(answer) for answer in answers} <= {AuthenticationFailed, Transient}
            await at.succeeds(host.format(1))

    asyncio.run(main())


class Full(MemoryPenalties):
    """Cannot write."""

    async def failed(self, address: str, name: str) -> None:
        raise StoreFull("no space")

    async def succeeded(self, address: str, name: str) -> None:
        raise StoreFull("no space")


def test_failures_that_cannot_be_counted_are_answered_late(capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody is kept out when the memory of failures cannot be written, and guessing is slow all the same."""

    async def main() -> None:
        async with house(Full()) as at:
            assert [await at.fails() for _ in range(3)] == [doorkeeper.UNNOTED_DELAY_S] * 3
            assert await at.succeeds("192.0.2.1") == 0

    asyncio.run(main())
    assert "no space" in capfd.readouterr().err


def test_a_wait_is_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """With the address, for whoever wants to keep it out altogether."""

    async def main() -> None:
        async with house() as at:
            for number in range(6):
                await at.fails(login=f"u{number}@example.test")

    asyncio.run(main())
    line = capfd.readouterr().err
    assert "login-slowed user=u5@example.test peer=192.0.2.1 wait_s=0.250" in line
