"""Who begins when many want to."""

import asyncio

from maillib.runtime.turns import IN_A_ROUND, Turns


def test_one_of_each_address_after_the_other() -> None:
    """Whoever comes last, from an address of its own, waits for one of each other's and not for all of them."""

    async def main() -> None:
        turns, begun = Turns(), list[str]()
        all_begun = asyncio.Event()

        def begin(client: str) -> None:
            begun.append(client)
            if len(begun) == 4 * IN_A_ROUND + 2:
                all_begun.set()

        for client in ["flood"] * 4 * IN_A_ROUND + ["other", "another"]:
            turns.take(client, lambda client=client: begin(client))  # type: ignore[misc]
        assert begun == ["flood"] * IN_A_ROUND  # nobody else was there yet
        await all_begun.wait()
        assert begun[IN_A_ROUND : IN_A_ROUND + 3] == ["flood", "other", "another"]
        assert begun[IN_A_ROUND + 3 :] == ["flood"] * (3 * IN_A_ROUND - 1)

    asyncio.run(main())


def test_a_round_is_followed_by_the_work_of_others() -> None:
    """However many wait, the loop comes round to everything else after a few of them."""

    async def main() -> None:
        turns, begun = Turns(), list[int]()
        for number in range(10 * IN_A_ROUND):
            turns.take(number, lambda number=number: begun.append(number))  # type: ignore[misc]
        rounds = 0
        while len(begun) < 10 * IN_A_ROUND:
            before = len(begun)
            await asyncio.sleep(0)
            assert len(begun) - before <= IN_A_ROUND
            rounds += 1
        assert rounds >= 9

    asyncio.run(main())


def test_who_is_alone_begins_at_once() -> None:
    """And does so again in each later round."""

    async def main() -> None:
        turns, begun = Turns(), list[int]()
        for number in range(3):
            turns.take("client", lambda number=number: begun.append(number))  # type: ignore[misc]
            assert begun[-1] == number
            for _ in range(3):
                await asyncio.sleep(0)

    asyncio.run(main())
