"""Both event loops: what is promised over sockets holds on asyncio's own and on uvloop, which the workers use."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

Run = Callable[[Callable[[], Awaitable[None]]], None]
"""Runs a coroutine function, with a limit."""

LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)
NAMES = ("asyncio", "uvloop")


@pytest.fixture(params=LOOPS, ids=NAMES)
def run(request: pytest.FixtureRequest) -> Run:
    """A test that takes it runs on each of the loops."""

    async def limited(main: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.timeout(30):
            await main()

    def runs(main: Callable[[], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(limited(main))

    return runs
