"""Coroutines that begin at once and become a task only where they have to wait. Python 3.12 has it as eager tasks.

Most steps of most connections never wait. A task for each of them, and a turn of the event loop, would cost more than
the step itself; a task that lives as long as the connection would cost its memory while the connection is idle.

Until its first wait such a coroutine runs in whatever context its caller has, and in no task: what looks for the
current task (`asyncio.timeout`) raises RuntimeError there.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator


def start(coroutine: Coroutine[object, None, None]) -> asyncio.Task[None] | None:
    """Run it until it has to wait; the task that does the rest, None: there is no rest."""
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_carry_on(coroutine, awaited))


async def _carry_on(coroutine: Coroutine[object, None, None], awaited: object) -> None:
    await _rest(coroutine, awaited)


@types.coroutine
def _rest(coroutine: Coroutine[object, None, None], awaited: object) -> Generator[object, None, None]:
    """Hand on to the task what `coroutine` waits for, and back what comes of it."""
    try:
        while True:
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - the coroutine's own to handle: a cancellation
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(None)
    except StopIteration:
        return
