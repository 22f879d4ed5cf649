"""The contract of Penalties: what `maillib.ports.penalties` says, held against every engine."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from maillib.embedded.penalties import EmbeddedPenalties
from maillib.memory.penalties import MemoryPenalties
from maillib.ports.penalties import FORGET_S, FREE_FAILURES, FUTURE_S, LONGEST_DELAY_S, MOST_FAILURES, Penalties

Promise = Callable[[Penalties, "Clock"], Awaitable[None]]
Keeps = Callable[[Promise], None]

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
ALICE, BOB = "alice@example.test", "bob@example.test"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["embedded", "memory"])
def keeps(request: pytest.FixtureRequest, tmp_path: Path) -> Keeps:
    """Runs a promise against fresh penalties of each engine."""

    def run(promise: Promise) -> None:
        async def main() -> None:
            clock = Clock()
            embedded = request.param == "embedded"
            penalties = EmbeddedPenalties(tmp_path, clock=clock) if embedded else MemoryPenalties(clock=clock)
            try:
                await promise(penalties, clock)
            finally:
                await penalties.close()

        asyncio.run(main())

    return run


async def fail(penalties: Penalties, count: int, address: str = HERE, name: str = ALICE) -> None:
    for _ in range(count):
        await penalties.failed(address, name)


def test_nothing_failed(keeps: Keeps) -> None:
    """Everybody may log in at once and at the same time, and a success changes nothing."""

    async def promise(penalties: Penalties, _: Clock) -> None:
        assert (penalties.failures(ALICE), penalties.wait_s(HERE)) == (0, 0)
        assert await penalties.take_turn(HERE) and await penalties.take_turn(HERE)
        await penalties.succeeded(HERE, ALICE)
        assert (penalties.failures(ALICE), penalties.wait_s(HERE)) == (0, 0)

    keeps(promise)


def test_failures_are_counted_apart(keeps: Keeps) -> None:
    """For the address and for the name; an address that is written like a name is not that name."""

    async def promise(penalties: Penalties, _: Clock) -> None:
        await fail(penalties, 3, HERE, ALICE)
        await fail(penalties, 2, ELSEWHERE, ALICE)
        await fail(penalties, 4, HERE, BOB)
        assert (penalties.failures(ALICE), penalties.failures(BOB), penalties.failures(HERE)) == (5, 4, 0)
        assert penalties.wait_s(HERE) == 0.5 * 2
        assert (penalties.wait_s(ELSEWHERE), penalties.wait_s(ALICE)) == (0, 0)

    keeps(promise)


def test_the_wait_grows_and_ends(keeps: Keeps) -> None:
    """It doubles to its longest, counts from the last failure, and is over when it is over."""

    async def promise(penalties: Penalties, clock: Clock) -> None:
        waits = []
        for _ in range(12):
            await fail(penalties, 1)
            waits.append(penalties.wait_s(HERE))
        assert waits == [0, 0, 0, 0, 0.25, 0.5, 1, 2, 4, 5, 5, 5]
        clock.now += LONGEST_DELAY_S - 1
        assert penalties.wait_s(HERE) == 1
        clock.now += 1
        assert penalties.wait_s(HERE) == 0

    keeps(promise)


def test_failures_are_forgotten(keeps: Keeps) -> None:
    """One after the other; however many there were, all in ten minutes."""

    async def promise(penalties: Penalties, clock: Clock) -> None:
        await fail(penalties, 3)
        clock.now += FORGET_S
        assert penalties.failures(ALICE) == 2
        await fail(penalties, 100)
        assert penalties.failures(ALICE) == MOST_FAILURES
        clock.now += MOST_FAILURES * FORGET_S
        assert penalties.failures(ALICE) == 0
        await fail(penalties, 1)
        assert penalties.wait_s(HERE) == 0

    keeps(promise)


def test_turns(keeps: Keeps) -> None:
    """From the last free failure on, one has the turn until it fails, succeeds, or does neither for long."""

    async def promise(penalties: Penalties, clock: Clock) -> None:
        await fail(penalties, FREE_FAILURES)
        assert await penalties.take_turn(HERE)
        assert not await penalties.take_turn(HERE)
        assert await penalties.take_turn(ELSEWHERE)
        assert penalties.wait_s(HERE) == LONGEST_DELAY_S
        clock.now += LONGEST_DELAY_S
        assert await penalties.take_turn(HERE)
        await penalties.succeeded(HERE, BOB)
        assert penalties.wait_s(HERE) == 0
        assert await penalties.take_turn(HERE)
        await fail(penalties, 1)
        assert 0 < penalties.wait_s(HERE) < 1

    keeps(promise)


def test_success_takes_back_own_failures(keeps: Keeps) -> None:
    """What the address failed for the name just before, of both; not what others failed, nor it for others."""

    async def promise(penalties: Penalties, _: Clock) -> None:
        await fail(penalties, 3, ELSEWHERE, ALICE)
        await fail(penalties, 2, HERE, BOB)
        await fail(penalties, 6, HERE, ALICE)
        await penalties.succeeded(HERE, ALICE)
        assert (penalties.failures(ALICE), penalties.failures(BOB), penalties.wait_s(HERE)) == (3, 2, 0)
        await fail(penalties, 2, HERE, BOB)
        assert penalties.wait_s(HERE) == 0
        await penalties.succeeded(HERE, ALICE)
        await fail(penalties, 1, HERE, BOB)
        assert penalties.wait_s(HERE) == 0.25

    keeps(promise)


def test_clock_set_back(keeps: Keeps) -> None:
    """A little: nothing is forgotten sooner for that. By much: what comes from the future counts for nothing."""

    async def promise(penalties: Penalties, clock: Clock) -> None:
        await fail(penalties, 10)
        clock.now -= 1
        assert (penalties.failures(ALICE), penalties.wait_s(HERE)) == (10, 0)
        clock.now -= FUTURE_S
        assert (penalties.failures(ALICE), penalties.wait_s(HERE)) == (0, 0)
        assert await penalties.take_turn(HERE) and await penalties.take_turn(HERE)
        await fail(penalties, 5)
        assert (penalties.failures(ALICE), penalties.wait_s(HERE)) == (5, 0.25)

    keeps(promise)


def test_clock_set_forward(keeps: Keeps) -> None:
    """What failed is forgotten, and failures count from then on."""

    async def promise(penalties: Penalties, clock: Clock) -> None:
        await fail(penalties, 10)
        clock.now += 86_400
        assert (penalties.failures(ALICE), penalties.wait_s(HERE)) == (0, 0)
        await fail(penalties, 5)
        assert penalties.wait_s(HERE) == 0.25

    keeps(promise)


@pytest.mark.parametrize("name", ["", "\udcff", "ä" * 400, "a\0b"])
def test_any_text_is_a_name(keeps: Keeps, name: str) -> None:
    """Whatever a client says."""

    async def promise(penalties: Penalties, _: Clock) -> None:
        await fail(penalties, 2, HERE, name)
        assert penalties.failures(name) == 2

    keeps(promise)
