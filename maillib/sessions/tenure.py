"""The right to a maildrop, for as long as its session is alive.

RFC 1939 §4 wants a maildrop locked from log-in to QUIT, and §3 lets an idle session live for ten minutes and more. A
client that vanishes without a word (a phone that changes its network) would keep its user out for all that time. So a
session that has been silent for a while lets go of its lock without a word, and takes it again when its client speaks.
When somebody else has had the maildrop meanwhile, which the fencing number of the lease tells, the session has ended:
nothing that it would say about the maildrop, and no deletion of its, can be trusted any more. Somebody else is one who
knows the password, as log-in comes before the lease.

Guarantees: `confirm` returns only while this session has the right and nobody had it since the session began.
"""

import asyncio

from maillib.errors import Conflict
from maillib.ports.leases import Lease, Leases


class Tenure:
    """One session's right to `name`."""

    def __init__(self, leases: Leases, name: str, lease: Lease, silence_s: float) -> None:
        self._leases = leases
        self._name = name
        self._lease = lease
        self._fencing = lease.fencing
        self._silence_s = silence_s
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._pausing: asyncio.Task[None] | None = None
        """Lets go, or has let go."""
        self._timer = self._loop.call_later(silence_s, self._look)

    @classmethod
    async def begin(cls, leases: Leases, name: str, silence_s: float) -> "Tenure":
        """`silence_s`: after so long without `heard` others may have it. Raises Conflict, StoreFull, Transient."""
        return cls(leases, name, await leases.acquire(name), silence_s)

    @property
    def is_held(self) -> bool:
        """Nobody else can have it now."""
        return self._pausing is None or not self._pausing.done()

    def heard(self) -> bool:
        """The client is there: it speaks, or takes some of what it asked for. False: `confirm` before answering."""
        self._heard = self._loop.time()
        return self._pausing is None

    async def confirm(self) -> None:
        """The client speaks and wants an answer. Raises Conflict when the right is lost; Transient, StoreFull."""
        if self.heard():
            return
        assert self._pausing is not None
        await self._pausing
        lease = await self._leases.acquire(self._name)
        if lease.fencing != self._fencing + 1:
            await lease.release()
            raise Conflict(f"{self._name!r} was somebody else's meanwhile")
        self._lease, self._fencing = lease, lease.fencing
        self._pausing = None
        self._timer = self._loop.call_later(self._silence_s, self._look)

    async def keep(self) -> None:
        """As `confirm`, and from now on until `end`, however long that takes."""
        await self.confirm()
        self._timer.cancel()

    async def end(self) -> None:
        """Idempotent."""
        self._timer.cancel()
        if self._pausing is not None:
            await self._pausing
        await self._lease.release()

    def _look(self) -> None:
        """One timer a session, not one a command: it looks when the last command was."""
        left = self._heard + self._silence_s - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._pausing = self._loop.create_task(self._lease.release())
