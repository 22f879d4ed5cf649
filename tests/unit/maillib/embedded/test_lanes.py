"""Which calls are served together, which side by side, and what each caller gets."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from maillib.embedded.lanes import Lanes
from maillib.embedded.threads import Threads
from maillib.errors import Conflict, Transient


class Served:
    """What was served, in what batches; each waits until it may end."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gate = threading.Event()

    def serve(self, key: str, items: Sequence[int]) -> Sequence[str | Exception]:
        self.batches.append((key, list(items)))
        self.gate.wait()
        if key == "broken":
            raise Transient(key)
        return [Conflict(str(item)) if item < 0 else f"{key}{item}" for item in items]


def with_lanes(
    promise: Callable[[Lanes[str, int, str], Served], Awaitable[None]], *, most: int = 3, lanes: int = 2
) -> None:
    async def main() -> None:
        served, threads = Served(), Threads("lanes", lanes)
        try:
            await promise(Lanes(threads, served.serve, most=most, lanes=lanes), served)
        finally:
            served.gate.set()
            await threads.close()

    asyncio.run(main())


def test_calls_about_one_thing_are_served_together() -> None:
    """What comes while a thing is being served waits, and is served in order, in batches of bounded size."""

    async def promise(lanes: Lanes[str, int, str], served: Served) -> None:
        calls = asyncio.gather(*(lanes.call("a", number) for number in range(8)))
        await asyncio.sleep(0)
        served.gate.set()
        assert await calls == [f"a{number}" for number in range(8)]
        assert served.batches[0] == ("a", [0])
        assert [number for _, batch in served.batches for number in batch] == list(range(8))
        assert max(len(batch) for _, batch in served.batches) == 3

    with_lanes(promise)


def test_things_are_served_side_by_side_and_several_at_once() -> None:
    """Every lane is used; of a crowd of things each lane takes its share, none twice at the same time."""

    async def promise(lanes: Lanes[str, int, str], served: Served) -> None:
        calls = asyncio.gather(*(lanes.call(f"k{number}", number) for number in range(20)))
        served.gate.set()
        assert await calls == [f"k{number}{number}" for number in range(20)]
        assert sorted(served.batches) == sorted((f"k{number}", [number]) for number in range(20))

    with_lanes(promise)


def test_a_failure_is_its_own() -> None:
    """One item's error is raised to its caller, what serving raises to all callers of that thing, to nobody else."""

    async def promise(lanes: Lanes[str, int, str], served: Served) -> None:
        served.gate.set()
        answers = await asyncio.gather(
            *(lanes.call("a", number) for number in (1, -2, 3)),
            *(lanes.call("broken", number) for number in (1, 2)),
            return_exceptions=True,
        )
        assert answers[0] == "a1"
        assert answers[2] == "a3"
        assert [type(answers[number]) for number in (1, 3, 4)] == [Conflict, Transient, Transient]

    with_lanes(promise)


def test_a_cancelled_call_ends_first() -> None:
    """Who cancels a call hears of it when the call has ended; others about the same thing get their answers."""

    async def promise(lanes: Lanes[str, int, str], served: Served) -> None:
        cancelled, other = (asyncio.create_task(lanes.call("a", number)) for number in (1, 2))
        await asyncio.sleep(0)
        for _ in range(3):
            cancelled.cancel()
            await asyncio.sleep(0)
        assert not cancelled.done()
        served.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await other == "a2"
        assert sorted(item for _, batch in served.batches for item in batch) == [1, 2]

    with_lanes(promise)


def test_closing_waits_for_what_was_begun() -> None:
    """Close returns when every call, also one that waits for its turn, has its answer."""

    async def promise(lanes: Lanes[str, int, str], served: Served) -> None:
        calls = [asyncio.create_task(lanes.call("a", number)) for number in range(9)]
        await asyncio.sleep(0)
        served.gate.set()
        await lanes.close()
        assert sum(len(batch) for _, batch in served.batches) == 9
        await asyncio.gather(*calls)
        await lanes.close()

    with_lanes(promise)
