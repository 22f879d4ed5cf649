"""APPEND: messages from a client into a mailbox, one or several in one command. RFC 9051 §6.3.12, RFC 3502, RFC 7889.

Guarantees: all messages of a command are added, or none; what cannot be taken is refused before its octets come where
the client waits for that; at most SMALL_OCTETS of a message are in memory, of larger ones a piece, and no more than
MOST_MESSAGES wait for the end; of an APPEND that is given up or broken off nothing stays.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

from maillib import maillog
from maillib.errors import MailError, NotFound, TemporaryError
from maillib.ports.blobs import BlobRef, Blobs
from maillib.ports.index import Mailbox, NewMessage
from maillib.protocols.imap import replies
from maillib.protocols.imap.events import AppendMessage
from maillib.sessions.imap_client import Client, Done
from maillib.sessions.imap_mailboxes import described, quota_octets
from maillib.sessions.imap_replies import Refused

SMALL_OCTETS = 256 * 1024
"""Messages up to this are stored in one go, others as they come."""

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
        self._room: int | None = None
        """Octets that the quota leaves; None: no limit."""
        self._coming: _Coming | None = None
        self._announced: AppendMessage | None = None
        self._messages: list[NewMessage] = []

    async def begin(self, mailbox: str) -> None:
        """Raises nothing."""
        try:
            self._mailbox = await described(self._client, mailbox)
            limit = await quota_octets(self._client)
            if limit is not None:
                self._room = limit - (await self._client.index.usage(self._client.account.id)).octets
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
        if message.utf8 and not self._client.utf8:
            raise Refused("UTF8=ACCEPT has to be enabled first")
        if self._room is not None:
            self._room -= message.octets
            if self._room < 0:
                raise Refused("the quota does not allow it", code="OVERQUOTA")
        self._announced = message
        self._coming = _Coming(self._blobs, message.octets)

    async def feed(self, data: bytes) -> None:
        assert self._coming is not None and self._announced is not None, "a message was announced"
        if b"\0" in data and not self._announced.binary:
            raise Refused("NUL comes in a literal8 only", code="CANNOT")  # RFC 3516 §4.4
        await self._coming.feed(data)

    async def _complete(self) -> None:
        """The message that came last, if any."""
        coming, announced = self._coming, self._announced
        if coming is None or announced is None:
            return
        body = await coming.finish()
        self._coming = self._announced = None
        self._messages.append(
            NewMessage(
                delivery_key=None,
                prefix=b"",
                body=body,
                internal_date=announced.date or datetime.now(UTC),
                flags=frozenset(announced.flags) - {"\\Recent"},
            )
        )

    async def finish(self) -> Done:
        """Add the messages."""
        await self._complete()
        assert self._mailbox is not None, "no message is taken without"
        account = self._client.account.id
        try:
            added = await self._client.index.append(account, self._mailbox.id, self._messages)
        except NotFound:
            raise Refused("the mailbox was deleted", code="TRYCREATE") from None
        await self._give_up_bodies()
        code = replies.append_uid(self._mailbox.uid_validity, [one.uid for one in added])
        return Done("appended", code=code, has_changed=True)

    async def abort(self) -> None:
        """Keep nothing. Idempotent, raises nothing."""
        if self._coming is not None:
            await self._coming.abort()
        self._coming = self._announced = None
        await self._give_up_bodies()

    async def _give_up_bodies(self) -> None:
        """Messages that were added have them by other names."""
        messages, self._messages = self._messages, []
        for message in messages:
            await _give_up(self._blobs, message.body)


async def _give_up(blobs: Blobs, body: BlobRef) -> None:
    try:
        await blobs.delete(body)
    except TemporaryError as error:  # the sweeper of orphans finds it
        maillog.problem(what="a body that is not needed any more", error=str(error))


class _Coming:
    """The octets of one message on their way into a body."""

    def __init__(self, blobs: Blobs, octets: int) -> None:
        self._blobs = blobs
        self._is_small = octets <= SMALL_OCTETS
        self._pieces: list[bytes] = []
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._put: asyncio.Task[BlobRef] | None = None

    async def feed(self, data: bytes) -> None:
        if self._is_small:
            self._pieces.append(data)
            return
        if self._put is None:
            self._put = asyncio.create_task(self._blobs.put(self._queued()))
        await self._hand_over(data)

    async def _hand_over(self, data: bytes | None) -> None:
        """Raises what the body cannot be written for."""
        assert self._put is not None
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
        if self._put is None:
            return await self._blobs.put(_once(b"".join(self._pieces)))
        await self._hand_over(None)
        return await self._put

    async def abort(self) -> None:
        if self._put is None:
            return
        if not self._put.done():
            self._put.cancel()
        with suppress(MailError, asyncio.CancelledError):
            await _give_up(self._blobs, await self._put)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
