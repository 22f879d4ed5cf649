"""Messages that a client fetches one by one, in order: read some at a time and ahead of it.

Guarantees: a session holds at most AHEAD_OCTETS of them; a client that picks here and there has nothing read for it
that it did not ask for. A message that was read stays the same whatever happens, so it is still right when it is gone.
"""

from collections.abc import Mapping

from maillib.errors import MailError
from maillib.ports.index import StoredMessage, Uid
from maillib.sessions import imap_bodies
from maillib.sessions.imap_bodies import Bodies
from maillib.sessions.imap_view import Selected

AHEAD_MESSAGES = 128
"""A call into a thread then costs a message next to nothing."""

AHEAD_OCTETS = 256 * 1024


class Ahead:
    """Of one selected mailbox."""

    def __init__(self, selected: Selected, bodies: Bodies) -> None:
        self._selected = selected
        self._bodies = bodies
        self._messages: dict[Uid, bytes | MailError] = {}
        """Small ones, or why they cannot be read."""
        self._expected = 0
        """The place that the client asks for next if it goes on in order."""
        self._window = 1
        """Messages to look at; doubles as long as it does."""

    def forget(self) -> None:
        self._messages.clear()

    def at_hand(self, at: int) -> bytes | MailError | None:
        """The message at this place; None: `look` for it."""
        message = self._messages.pop(Uid(self._selected.uids[at]), None)
        if message is not None:
            self._expected = at + 1
        return message

    async def look(self, at: int) -> Mapping[Uid, StoredMessage]:
        """Where the message is, and those that may be asked for next."""
        self._window = min(2 * self._window, AHEAD_MESSAGES) if at == self._expected else 1
        self._expected = at + 1
        return await self._selected.stored(range(at, min(at + self._window, len(self._selected.uids))))

    async def read(self, stored: Mapping[Uid, StoredMessage]) -> None:
        """Those of them at the beginning that are small and fit; at least the first one."""
        uids, octets = list[Uid](), 0
        for uid, message in stored.items():
            octets += message.size_octets
            if uids and (octets > AHEAD_OCTETS or imap_bodies.is_large(message)):
                break
            uids.append(uid)
        messages = await self._bodies.read([stored[uid] for uid in uids])
        self._messages = dict(zip(uids, messages, strict=True))
