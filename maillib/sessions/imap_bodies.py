"""Octets of messages for FETCH and SEARCH, and what is derived from them: ENVELOPE and BODY as a client gets them.

Guarantees: of messages up to WHOLE_OCTETS a session holds at most BATCH_OCTETS at a time, of larger ones one, and a
process so many as LARGE_AT_ONCE; what was derived is kept for the next who asks, within KEPT_OCTETS.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from maillib.errors import MailError
from maillib.message.envelope import envelope
from maillib.message.mime import header_end, structure
from maillib.ports.blobs import Blobs
from maillib.ports.directory import AccountId
from maillib.ports.index import MailboxId, StoredMessage, Uid
from maillib.protocols.imap.rendering import render_body, render_envelope
from maillib.sessions import octets

BATCH_MESSAGES = 128
BATCH_OCTETS = 512 * 1024
"""Of messages that are read in one go."""

WHOLE_OCTETS = 256 * 1024
"""Larger messages are read one at a time, or in pieces where that is enough."""

LARGE_AT_ONCE = 2

KEPT_OCTETS = 16 * 1024 * 1024
"""Of what was derived: some 10,000 messages."""

_KEY_OCTETS = 300
"""That a kept message costs besides its octets."""


@dataclass(frozen=True, slots=True)
class Derived:
    """Of one message, ready to be sent."""

    envelope: bytes
    body: bytes
    """Without extension data."""
    structure: bytes

    @property
    def cost(self) -> int:
        return len(self.envelope) + len(self.body) + len(self.structure) + _KEY_OCTETS


def derive(message: bytes) -> Derived:
    """Linear in the octets, and never raises."""
    tree = structure(message)
    return Derived(
        render_envelope(envelope(message[: header_end(message)])),
        render_body(message, tree, extended=False),
        render_body(message, tree, extended=True),
    )


class Bodies:
    """One for all sessions of a process."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._kept: OrderedDict[tuple[AccountId, MailboxId, Uid], Derived] = OrderedDict()
        """The least recently used one first: a message never changes, and its UID means no other."""
        self._cost = 0

    def known(self, account: AccountId, mailbox: MailboxId, uid: Uid) -> Derived | None:
        found = self._kept.get((account, mailbox, uid))
        if found is not None:
            self._kept.move_to_end((account, mailbox, uid))
        return found

    def derived(self, account: AccountId, mailbox: MailboxId, uid: Uid, message: bytes) -> Derived:
        found = self.known(account, mailbox, uid)
        if found is None:
            found = self._kept[account, mailbox, uid] = derive(message)
            self._cost += found.cost
            while self._cost > KEPT_OCTETS:
                _, oldest = self._kept.popitem(last=False)
                self._cost -= oldest.cost
        return found

    async def read(self, stored: Sequence[StoredMessage]) -> Sequence[bytes | MailError]:
        """Of one of `groups`, but for large messages; for one that cannot be read, why."""
        return await octets.read(self._blobs, stored)

    @asynccontextmanager
    async def large(self, stored: StoredMessage) -> AsyncIterator[bytes | MailError]:
        """All of a message of any size, as long as the block lasts."""
        async with self._large:
            (message,) = await octets.read(self._blobs, [stored])
            yield message

    def pieces(self, stored: StoredMessage, offset: int, length: int) -> AsyncIterator[bytes]:
        """As `octets.pieces`."""
        return octets.pieces(self._blobs, stored, offset, length)


def is_large(stored: StoredMessage) -> bool:
    return stored.size_octets > WHOLE_OCTETS


def groups(stored: Mapping[Uid, StoredMessage]) -> Iterator[list[Uid]]:
    """In order, what may be read in one go; a large message is alone."""
    group, size = list[Uid](), 0
    for uid, message in stored.items():
        if group and (is_large(message) or len(group) >= BATCH_MESSAGES or size + message.size_octets > BATCH_OCTETS):
            yield group
            group, size = [], 0
        group.append(uid)
        size += message.size_octets
        if is_large(message):
            yield group
            group, size = [], 0
    if group:
        yield group
