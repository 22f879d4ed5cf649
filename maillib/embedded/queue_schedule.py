"""Which message is next: what one spool process knows of the messages that wait. In memory; loses nothing when it ends.

It is filled from folder listings and by who queues something, so a message costs a name and a time until its turn
comes. What another process has claimed meanwhile is found out at the claim.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

from maillib.ports.queue import QueueId, QueueState


class Schedule:
    """For one thread at a time."""

    def __init__(self) -> None:
        self._incoming: deque[QueueId] = deque()
        self._deferred: list[tuple[float, QueueId]] = []
        """A heap. An entry whose time is not the one in `_due` is out of date."""
        self._due: dict[QueueId, float] = {}
        self._was_new = False
        """The last one taken was."""

    @property
    def has_incoming(self) -> bool:
        return bool(self._incoming)

    def add_incoming(self, ids: Sequence[QueueId]) -> None:
        """New ones, younger than those that are known."""
        self._incoming.extend(ids)

    def merge_incoming(self, ids: Sequence[QueueId]) -> None:
        """What was found in incoming/, oldest first; what has been added since stays, after it."""
        found = set(ids)
        self._incoming = deque([*ids, *(one for one in self._incoming if one not in found)])

    def add_deferred(self, entries: Iterable[tuple[float, QueueId]]) -> None:
        """Due times (Unix time); each replaces what was known of that message."""
        news = [(due, queue_id) for due, queue_id in entries if self._due.get(queue_id) != due]
        self._due.update((queue_id, due) for due, queue_id in news)
        if len(news) > len(self._deferred):  # at a start
            self._deferred += news
            heapq.heapify(self._deferred)
        else:
            for entry in news:
                heapq.heappush(self._deferred, entry)

    def unknown(self, ids: Sequence[QueueId]) -> list[QueueId]:
        """Those of them that it does not have as deferred."""
        return [queue_id for queue_id in ids if queue_id not in self._due]

    def bring_forward(self, latest: float, now_s: float) -> None:
        """Let what is due after `latest` be due now."""
        self.add_deferred([(now_s, queue_id) for queue_id, due in self._due.items() if due > latest])

    def take(self, now_s: float) -> tuple[QueueId, QueueState] | None:
        """A message whose time has come, which is forgotten here; None: there is none.

        New and deferred ones in turn, oldest first: a backlog of the one kind does not hold up the other.
        """
        self._drop_outdated()
        is_due = bool(self._deferred) and self._deferred[0][0] <= now_s
        if self._incoming and not (is_due and self._was_new):
            self._was_new = True
            return self._incoming.popleft(), QueueState.INCOMING
        if not is_due:
            return None
        self._was_new = False
        _, queue_id = heapq.heappop(self._deferred)
        del self._due[queue_id]
        return queue_id, QueueState.DEFERRED

    def next_due(self) -> float | None:
        """Unix time of the next deferred message."""
        self._drop_outdated()
        return self._deferred[0][0] if self._deferred else None

    def _drop_outdated(self) -> None:
        while self._deferred and self._due.get(self._deferred[0][1]) != self._deferred[0][0]:
            heapq.heappop(self._deferred)
