"""APPEND: messages from a client into a mailbox, one or several in one command. RFC 9051 §6.3.12, RFC 3502, RFC 7889.

Guarantees: all messages of a command are added, or none; what cannot be taken is refused before its octets come where
the client waits for that; small messages are in memory up to HELD_OCTETS, of larger ones a piece, and no more than
MOST_MESSAGES wait for the end; of an APPEND that is given up or broken off nothing stays.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from maillib.errors import MailError, NotFound
from maillib.ports.blobs import BlobRef, Blobs, WholeBody
from maillib.ports.index import Mailbox, NewMessage
from maillib.protocols.imap import replies
from maillib.protocols.imap.events import AppendMessage
from maillib.sessions.imap_client import Client, Done, check_flags
from maillib.sessions.imap_mailboxes import described, quota_octets
from maillib.sessions.imap_replies import Refused

SMALL_OCTETS = 256 * 1024
"""Messages up to this are held until they are whole, others are stored as they come."""

HELD_OCTETS = 512 * 1024
"""Of small messages: then they are stored, several in one go."""

MOST_MESSAGES = 1000
"""Of one APPEND."""


class Appending:
    """One APPEND, from its mailbox to its end. Methods raise Refused, TemporaryError, PermanentError; then `abort`."""

    def __init__(self, client: Client, tag: str) -> None:
        self._client = client
        self.tag = tag
        self._blobs = client.shared.blobs
        self._mailbox: Mailbox | None = None
        self._refused: MailError | None = None
        """Why no message is taken; said where the client listens."""
        self._coming: _Coming | None = None
        """What is stored as it comes."""
        self._announced: AppendMessage | None = None
        """The message that comes."""
        self._pieces: list[bytes] = []
        """What has come of it, where it is small."""
        self._held: list[_Whole] = []
        self._held_octets = 0
        self._messages: list[NewMessage] = []
        self._waiting_octets = 0
        """Of all messages so far: they are added at the end."""

    async def begin(self, mailbox: str) -> None:
        """Raises nothing."""
        try:
            self._mailbox = await described(self._client, mailbox)
        except NotFound:
            self._refused = Refused("there is no such mailbox", code="TRYCREATE")
        except MailError as error:
            self._refused = error

    async def announce(self, message: AppendMessage) -> None:
        """The next message comes."""
        if self._refused is not None:
            raise self._refused
        await self._complete()
        if message.octets == 0:
            raise Refused("given up")  # RFC 3502 §6.3.11
        most = self._client.settings.max_message_size
        if message.octets > most:
            raise Refused(f"at most {most} octets are taken", code="TOOBIG")
        if len(self._messages) >= MOST_MESSAGES:
            raise Refused(f"at most {MOST_MESSAGES} messages at a time are taken", code="LIMIT")
        check_flags(message.flags)
        if message.utf8 and not self._client.utf8:
            raise Refused("UTF8=ACCEPT has to be enabled first")
        self._announced = message
        if message.octets > SMALL_OCTETS or self._waiting_octets:  # one small message: the index says it early enough
            await self._find_room(message.octets)
        if message.octets > SMALL_OCTETS:
            self._coming = _Coming(self._blobs)
        self._waiting_octets += message.octets

    async def _find_room(self, octets: int) -> None:
        """Nobody sends much in vain, nor fills the disk with what is not added in the end. Raises Refused."""
        limit = await quota_octets(self._client)
        if limit is None:
            return
        stored = (await self._client.index.usage(self._client.account.id)).octets
        if stored + self._waiting_octets + octets > limit:
            raise Refused("the quota does not allow it", code="OVERQUOTA")

    async def feed(self, data: bytes) -> None:
        assert self._announced is not None, "a message was announced"
        if b"\0" in data and not self._announced.binary:
            raise Refused("NUL comes in a literal8 only", code="CANNOT")  # RFC 3516 §4.4
        if self._coming is not None:
            await self._coming.feed(data)
        else:
            self._pieces.append(data)

    async def _complete(self) -> None:
        """The message that came last, if any."""
        announced, self._announced = self._announced, None
        if announced is None:
            return
        date, flags = announced.date or datetime.now(UTC), frozenset(announced.flags) - {"\\Recent"}
        if self._coming is not None:
            await self._store_held()  # the order is the client's
            body = await self._coming.finish()
            self._coming = None
            self._messages.append(_message(body, date, flags))
        else:
            octets = b"".join(self._pieces)
            self._pieces = []
            self._held.append(_Whole(WholeBody(octets, date), flags))
            self._held_octets += len(octets)
            if self._held_octets >= HELD_OCTETS:
                await self._store_held()

    async def _store_held(self) -> None:
        if self._held:
            bodies = await self._blobs.put_all([whole.body for whole in self._held])
            self._messages += [
                _message(body, whole.body.date, whole.flags) for body, whole in zip(bodies, self._held, strict=True)
            ]
            self._held, self._held_octets = [], 0

    async def finish(self) -> Done:
        """Add the messages."""
        await self._complete()
        await self._store_held()
        assert self._mailbox is not None, "no message is taken without"
        account = self._client.account.id
        try:
            added = await self._client.index.append(account, self._mailbox.id, self._messages)
        except NotFound:
            raise Refused("the mailbox was deleted", code="TRYCREATE") from None
        self._give_up_bodies()
        code = replies.append_uid(self._mailbox.uid_validity, [one.uid for one in added])
        return Done("appended", code=code, has_changed=True)

    async def abort(self) -> None:
        """Keep nothing. Idempotent, raises nothing."""
        if self._coming is not None and (body := await self._coming.abort()) is not None:
            self._client.shared.leftovers.give_up(body)
        self._coming = self._announced = None
        self._held, self._pieces = [], []
        self._give_up_bodies()

    def _give_up_bodies(self) -> None:
        """Messages that were added have them by other names."""
        messages, self._messages = self._messages, []
        self._client.shared.leftovers.give_up(*(message.body for message in messages))


@dataclass(frozen=True, slots=True)
class _Whole:
    body: WholeBody
    flags: frozenset[str]


def _message(body: BlobRef, date: datetime, flags: frozenset[str]) -> NewMessage:
    return NewMessage(delivery_key=None, prefix=b"", body=body, internal_date=date, flags=flags)


class _Coming:
    """The octets of a large message on their way into a body."""

    def __init__(self, blobs: Blobs) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._put = asyncio.create_task(blobs.put(self._queued()))

    async def feed(self, data: bytes | None) -> None:
        """None: that was all. Raises StoreFull, Transient."""
        handing = asyncio.create_task(self._queue.put(data))
        await asyncio.wait((handing, self._put), return_when=asyncio.FIRST_COMPLETED)
        if not handing.done():  # nobody takes it: the writing has failed
            handing.cancel()
            self._put.result()

    async def _queued(self) -> AsyncIterator[bytes]:
        while (data := await self._queue.get()) is not None:
            yield data

    async def finish(self) -> BlobRef:
        """Raises StoreFull, Transient."""
        await self.feed(None)
        return await self._put

    async def abort(self) -> BlobRef | None:
        """What was stored already."""
        self._put.cancel()
        await asyncio.wait((self._put,))
        return None if self._put.cancelled() or self._put.exception() else self._put.result()
