"""What a process does that takes messages from the spool: finds them, claims them, ends them, keeps house.

Guarantees: a start reads names and times only, and what a message costs does not grow with the number of those that
wait; what a claimer looks for beside its work (`LOOK_S`, `SWEEP_S`) holds up no claim; a clock that is set back or
forward makes no message wait longer than `longest_wait_s` from then on.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

from maillib import maillog
from maillib.embedded import queue_check, queue_recovery
from maillib.embedded.batches import Batches
from maillib.embedded.queue_claims import Claims
from maillib.embedded.queue_envelope import StoredEnvelope
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_schedule import Schedule
from maillib.embedded.queue_wake import Bell
from maillib.embedded.threads import Threads
from maillib.errors import TemporaryError
from maillib.ports.queue import QueueId, QueueState

LOOK_S = 60.0
"""How often a claimer looks for what nobody told it of: files put there by hand, processes that died."""

SWEEP_S = 3600.0
"""How often it removes leftovers of crashes."""

_CLOCK_GRAIN_S = 0.001
"""File times are integers of their own scale: equal ones may differ by less than this."""

_MOST = 64
"""Messages that end with one sync. As many as any process works on are served at once."""


class Claimer:
    """For one event loop."""

    def __init__(
        self,
        folders: SpoolFolders,
        bell: Bell,
        threads: Threads,
        *,
        clock: Callable[[], float],
        longest_wait_s: float,
    ) -> None:
        """Blocks: lists the folders, and gives back what dead processes had. Raises StoreFull, Transient."""
        self._folders = folders
        self._bell = bell
        self._threads = threads
        self._clock = clock
        self._longest_wait_s = max(longest_wait_s, queue_recovery.LONGEST_WAIT_S)
        self.claims = Claims(folders)
        self._endings = Batches[QueueId, None](self._finish_all, most=_MOST)
        self._schedule = Schedule()
        self._lock = threading.Lock()
        """For the schedule."""
        self._may_have_more = False
        """Something is in incoming/ that the schedule may not know."""
        self._news = asyncio.Event()
        """Since the last claim, or housekeeping has found something."""
        self._housekeeping: asyncio.Task[None] | None = None
        self._sweep_at = 0.0
        """By the monotonic clock, like `_look_at`."""
        self._ears = bell.listen()  # before the first look: no commit falls between
        try:
            self._look()
        except BaseException:
            self._ears.close()
            self.claims.leave()
            raise

    async def claim(self, limit: int) -> Sequence[StoredEnvelope]:
        self._keep_house()
        return await self._threads.run(self._claim, limit)

    async def wait(self, timeout_s: float) -> None:
        with self._lock:
            due = self._schedule.next_due()
        waits = [timeout_s, self._look_at - time.monotonic(), *([] if due is None else [due - self._clock()])]
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ears.fd, self._news.set)
        try:
            async with asyncio.timeout(max(0.0, min(waits))):
                await self._news.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(self._ears.fd)
            self._news.clear()

    async def finish(self, queue_id: QueueId) -> None:
        await self._endings.call(queue_id)

    async def _finish_all(self, ids: Sequence[QueueId]) -> list[TemporaryError | None]:
        return await self._threads.run(self.claims.finish, ids)

    async def defer(self, stored: StoredEnvelope, until_s: float) -> None:
        await self._threads.run(self._defer, stored, until_s)
        self._news.set()  # who waits already does not know of this time

    async def close(self) -> None:
        """Return when what was begun, in the threads too, has ended and nothing is claimed any more."""
        if self._housekeeping is not None:
            await self._housekeeping
        await self._endings.close()
        await self._threads.close()
        self._ears.close()
        await asyncio.to_thread(self.claims.leave)

    # In a thread

    def _defer(self, stored: StoredEnvelope, until_s: float) -> None:
        self.claims.defer(stored, until_s)
        with self._lock:
            self._schedule.add_deferred([(until_s, stored.id)])

    def _claim(self, limit: int) -> list[StoredEnvelope]:
        now_s = self._clock()
        claimed: list[StoredEnvelope] = []
        try:
            while len(claimed) < limit and (candidate := self._candidate(now_s, limit - len(claimed))) is not None:
                queue_id, state = candidate
                if state is QueueState.DEFERRED and not self._is_due(queue_id, now_s):
                    continue
                if (stored := self.claims.claim(queue_id, state)) is not None:
                    claimed.append(stored)
        except TemporaryError as error:
            self._may_have_more = True  # what was about to be claimed is still there
            if not claimed:
                raise
            maillog.problem(what="claiming messages", error=str(error))
        return claimed

    def _candidate(self, now_s: float, most: int) -> tuple[QueueId, QueueState] | None:
        if not self._schedule.has_incoming:
            self._listen(most)
        with self._lock:
            return self._schedule.take(now_s)

    def _listen(self, most: int) -> None:
        """Take up what has come; what is known already goes first."""
        heard = self._ears.hear(most)
        if heard.has_more or self._may_have_more:  # once for all that lies there, however much
            self._may_have_more = False
            incoming = self._folders.incoming_ids()
            with self._lock:
                self._schedule.merge_incoming(incoming)
        else:
            with self._lock:
                self._schedule.add_incoming(heard.ids)

    def _is_due(self, queue_id: QueueId, now_s: float) -> bool:
        """Whether it still is: another process may have tried it meanwhile."""
        until_s = self._folders.deferred_until(queue_id)
        if until_s is None:
            return False
        if now_s + _CLOCK_GRAIN_S < until_s <= now_s + self._longest_wait_s:
            with self._lock:
                self._schedule.add_deferred([(until_s, queue_id)])
            return False
        return True

    # Keeping house

    def _keep_house(self) -> None:
        if self._housekeeping is None and time.monotonic() >= min(self._look_at, self._sweep_at):
            self._housekeeping = asyncio.create_task(self._keep_house_once())

    async def _keep_house_once(self) -> None:
        try:
            now = time.monotonic()
            if now >= self._look_at:
                await self._threads.run(self._look)
                self._news.set()
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_S
                await self._threads.run(queue_check.sweep, self._folders, self._clock())
        except TemporaryError as error:  # mail that is known of goes on
            maillog.problem(what="looking after the spool", error=str(error))
        finally:
            self._housekeeping = None

    def _look(self) -> None:
        now_s = self._clock()
        self._look_at = time.monotonic() + LOOK_S
        queue_recovery.recover(self._folders, now_s)
        incoming, deferred = self._folders.incoming_ids(), self._folders.deferred_ids()
        with self._lock:
            self._schedule.merge_incoming(incoming)
            unknown = self._schedule.unknown(deferred)
        times = [(until_s, one) for one in unknown if (until_s := self._folders.deferred_until(one)) is not None]
        with self._lock:
            self._schedule.add_deferred(times)
            self._schedule.bring_forward(now_s + self._longest_wait_s, now_s)
