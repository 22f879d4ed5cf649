"""The right to a maildrop: kept by who is there, lost by who is silent while others want it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from maillib.errors import Conflict
from maillib.memory.leases import MemoryLeases
from maillib.sessions.tenure import Tenure

NAME = "maildrop"
SILENCE_S = 30.0

Pass = Callable[[float], Awaitable[None]]


def run(main: Callable[[MemoryLeases, Pass], Awaitable[None]]) -> None:
    """Run `main` with leases, and with what lets so many seconds pass; no other time does."""

    async def with_clock() -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        loop.time = lambda: now  # type: ignore[method-assign]

        async def pass_time(seconds: float) -> None:
            nonlocal now
            now += seconds
            for _ in range(5):  # a timer, the task that it starts, and the end of that
                await asyncio.sleep(0)

        await main(MemoryLeases(), pass_time)

    asyncio.run(with_clock())


async def is_free(leases: MemoryLeases) -> bool:
    """Whether somebody else could have it; looking is not having."""
    try:
        await (await leases.acquire(NAME)).release()
    except Conflict:
        return False
    return True


def test_it_excludes_others_until_its_end() -> None:
    """Nobody else gets in while it lasts; afterwards anybody does, and a second end is none."""

    async def main(leases: MemoryLeases, pass_time: Pass) -> None:
        tenure = await Tenure.begin(leases, NAME, SILENCE_S)
        with pytest.raises(Conflict):
            await Tenure.begin(leases, NAME, SILENCE_S)
        await tenure.confirm()
        await tenure.end()
        await tenure.end()
        assert await is_free(leases)

    run(main)


def test_who_is_heard_of_keeps_it() -> None:
    """Commands, and signs of life during a long answer, count alike; the silence is counted from the last one."""

    async def main(leases: MemoryLeases, pass_time: Pass) -> None:
        tenure = await Tenure.begin(leases, NAME, SILENCE_S)
        for _ in range(10):
            await pass_time(SILENCE_S - 1)
            tenure.heard()
            await pass_time(SILENCE_S - 1)
            await tenure.confirm()
        await pass_time(SILENCE_S - 1)
        assert not await is_free(leases)
        await pass_time(1)
        assert await is_free(leases)
        await tenure.end()

    run(main)


def test_who_comes_back_to_an_untouched_maildrop_goes_on() -> None:
    """Silence alone costs nothing: the right is taken again, as often as need be, and excludes others again."""

    async def main(leases: MemoryLeases, pass_time: Pass) -> None:
        tenure = await Tenure.begin(leases, NAME, SILENCE_S)
        for _ in range(3):
            await pass_time(SILENCE_S)
            assert not tenure.is_held
            await tenure.confirm()
            assert not await is_free(leases)
        await tenure.end()

    run(main)


@pytest.mark.parametrize("ended", [False, True], ids=["in use", "used"])
def test_who_comes_back_after_another_has_lost_it(ended: bool) -> None:
    """Whether the other one is still there or has left: the right is lost for good, and theirs is not touched."""

    async def main(leases: MemoryLeases, pass_time: Pass) -> None:
        first = await Tenure.begin(leases, NAME, SILENCE_S)
        await pass_time(SILENCE_S)
        second = await Tenure.begin(leases, NAME, SILENCE_S)
        if ended:
            await second.end()
        for _ in range(2):
            with pytest.raises(Conflict):
                await first.confirm()
        await first.end()
        if not ended:
            await second.confirm()
            await second.end()

    run(main)


def test_a_kept_right_outlasts_any_silence() -> None:
    """An update that takes long is not disturbed."""

    async def main(leases: MemoryLeases, pass_time: Pass) -> None:
        tenure = await Tenure.begin(leases, NAME, SILENCE_S)
        await tenure.keep()
        await pass_time(100 * SILENCE_S)
        assert not await is_free(leases)
        await tenure.end()
        assert await is_free(leases)

    run(main)


def test_a_tenure_may_end_in_its_silence() -> None:
    """An end in the moment when the right is being given up, or later, leaves nothing behind."""

    async def main(leases: MemoryLeases, pass_time: Pass) -> None:
        for passed in (0.0, SILENCE_S):
            tenure = await Tenure.begin(leases, NAME, 0)
            await pass_time(passed)
            await tenure.end()
            assert await is_free(leases)

    run(main)
