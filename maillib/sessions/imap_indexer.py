"""Derives beforehand what clients will ask for, when a hint tells that messages have come; nobody waits for it.

It goes to work a moment after the hint, when whoever has delivered or is told of it has gone on; it works in small
steps, and rests for longer than it works. One process at a time has an account in hand. A hint may be lost, and a
process may end: what is missing then is derived when it is asked for (`imap_derive`), or after the next hint of the
same mailbox.
"""

import asyncio
import time
from collections import OrderedDict

from maillib import maillog
from maillib.errors import Conflict, NotFound, TemporaryError
from maillib.ports.derived import Where
from maillib.ports.directory import AccountId
from maillib.ports.hints import Hint, Hints
from maillib.ports.index import FIRST_UID, LAST_UID, Index, MailboxId, Uid
from maillib.ports.leases import Leases
from maillib.sessions.imap_derive import Deriving

GATHER_S = 0.1
"""From the first hint on: several messages often come together, and their readers are told first."""

QUIET_S = 1.0
"""Without a hint: then there is time for what makes searches quicker, and nothing else (`Index.settle`)."""

RESTS = 3
"""Between two steps, so many times as long as the first has taken: others want the processor, too."""


ROWS_AT_ONCE = 1000
"""Messages that are compared with what is known in one go: a millisecond."""

_REMEMBERED = 10_000
"""Mailboxes of which it is known up to where nothing is missing; others are looked through from their first message."""


class Indexer:
    """One for each process of a service."""

    def __init__(self, index: Index, deriving: Deriving, hints: Hints, leases: Leases) -> None:
        self._index = index
        self._deriving = deriving
        self._hints = hints
        self._leases = leases
        self._next: OrderedDict[tuple[AccountId, MailboxId], Uid] = OrderedDict()
        """Where to go on; the one that was not used for longest first."""
        self._unsettled: dict[AccountId, None] = {}

    async def run(self) -> None:
        """Until cancelled, or the hints are closed."""
        wait_s: float | None = None
        with self._hints.watch(None) as watch:
            while True:
                try:
                    async with asyncio.timeout(wait_s):
                        hint = await anext(watch)
                except TimeoutError:
                    wait_s = await self._settle()
                except StopAsyncIteration:
                    return
                else:
                    await asyncio.sleep(GATHER_S)
                    await self._take(hint)
                    wait_s = QUIET_S

    async def _take(self, hint: Hint) -> None:
        try:
            lease = await self._leases.acquire(f"derive-{hint.account}")
            try:
                await self.catch_up(hint.account, hint.mailbox)
            finally:
                await lease.release()
        except (Conflict, NotFound):  # another process is at it; the mailbox has been deleted
            return
        except TemporaryError as error:
            maillog.problem(what=f"account {hint.account}: searches derive what they need", error=str(error))
        self._unsettled[hint.account] = None

    async def _settle(self) -> float | None:
        """One step; how long to rest then. None: nothing is left to do."""
        account = next(iter(self._unsettled), None)
        if account is None:
            return None
        begun = time.monotonic()
        left = False
        try:
            left = await self._index.settle(account)
        except NotFound:  # it has been removed
            pass
        except TemporaryError as error:
            maillog.problem(what=f"account {account}: searches take longer", error=str(error))
        if not left:
            del self._unsettled[account]
        return (time.monotonic() - begun) * RESTS

    async def catch_up(self, account: AccountId, mailbox: MailboxId) -> None:
        """Derive what is missing. Raises NotFound, TemporaryError."""
        here = account, mailbox
        since = self._next.pop(here, FIRST_UID)
        while rows := await self._index.rows(account, mailbox, range(since, LAST_UID + 1), limit=ROWS_AT_ONCE):
            uids = [row.uid for row in rows]
            among = range(uids[0], uids[-1] + 1)
            known = frozenset((await self._index.containing(account, mailbox, among, Where.SUBJECT, "")).known)
            await self._derive(account, mailbox, [uid for uid in uids if uid not in known])
            since = Uid(uids[-1] + 1)
        self._next[here] = since
        while len(self._next) > _REMEMBERED:
            self._next.popitem(last=False)

    async def _derive(self, account: AccountId, mailbox: MailboxId, uids: list[Uid]) -> None:
        begun = time.monotonic()
        async for some in self._deriving.in_groups(account, mailbox, uids):
            for uid, made in some.items():
                if isinstance(made, Exception):
                    maillog.problem(what=f"message {uid} of mailbox {mailbox} of account {account}", error=str(made))
            await asyncio.sleep((time.monotonic() - begun) * RESTS)
            begun = time.monotonic()
