"""The right to a maildrop: kept by who is there, lost by who is silent while others want it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from maillib.errors import Conflict
from maillib.memory.leases import MemoryLeases
from maillib.ports.leases import Leases
from maillib.sessions.tenure import Tenure

NAME = "maildrop"
SOON_S = 0.01


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(limited())


async def given_up(leases: Leases) -> None:
    """Return when the right can be had; nobody has it then, but somebody had."""
    while True:
        try:
            await (await leases.acquire(NAME)).release()
        except Conflict:
            await asyncio.sleep(0)
        else:
            return


async def paused(tenure: Tenure) -> None:
    """Return when the right is not held any more."""
    while tenure.is_held:
        await asyncio.sleep(0)


def test_it_excludes_others_until_its_end() -> None:
    """Nobody else gets in while it lasts; afterwards anybody does, and a second end is none."""

    async def main() -> None:
        leases = MemoryLeases()
        tenure = await Tenure.begin(leases, NAME, 60)
        with pytest.raises(Conflict):
            await Tenure.begin(leases, NAME, 60)
        await tenure.confirm()
        await tenure.end()
        await tenure.end()
        await (await Tenure.begin(leases, NAME, 60)).end()

    run(main)


def test_who_comes_back_to_an_untouched_maildrop_goes_on() -> None:
    """Silence alone costs nothing: the right is taken again, as often as need be, and excludes others again."""

    async def main() -> None:
        leases = MemoryLeases()
        tenure = await Tenure.begin(leases, NAME, SOON_S)
        for _ in range(3):
            await paused(tenure)
            await tenure.confirm()
            with pytest.raises(Conflict):
                await leases.acquire(NAME)
        await tenure.end()

    run(main)


@pytest.mark.parametrize("ended", [False, True], ids=["in use", "used"])
def test_who_comes_back_after_another_has_lost_it(ended: bool) -> None:
    """Whether the other one is still there or has left: the right is lost for good, and theirs is not touched."""

    async def main() -> None:
        leases = MemoryLeases()
        first = await Tenure.begin(leases, NAME, SOON_S)
        await paused(first)
        second = await Tenure.begin(leases, NAME, 60)
        if ended:
            await second.end()
        for _ in range(2):
            with pytest.raises(Conflict):
                await first.confirm()
        await first.end()
        await second.confirm()
        await second.end()

    run(main)


def test_a_kept_right_outlasts_any_silence() -> None:
    """An update that takes long is not disturbed."""

    async def main() -> None:
        leases = MemoryLeases()
        tenure = await Tenure.begin(leases, NAME, SOON_S)
        await tenure.keep()
        await asyncio.sleep(5 * SOON_S)  # nothing is waited for: nothing may happen
        assert tenure.is_held
        await tenure.end()

    run(main)


def test_a_tenure_may_end_in_its_silence() -> None:
    """An end right when the right is being given up, or after it, leaves nothing behind."""

    async def main() -> None:
        leases = MemoryLeases()
        tenure = await Tenure.begin(leases, NAME, SOON_S)
        await given_up(leases)
        await tenure.end()
        tenure = await Tenure.begin(leases, NAME, 0)
        await asyncio.sleep(0)
        await tenure.end()
        await (await leases.acquire(NAME)).release()

    run(main)
