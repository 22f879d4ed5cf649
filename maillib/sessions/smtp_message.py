"""One message on its way from an SMTP client into the queue.

Guarantees: at most a header and one piece of the body are in memory; nothing is kept of a message that is refused; the
client's octets follow ours (Received, and what a submission lacks) unchanged, and none of them continues a field of
ours. Whatever is wrong with a message is said after its end, so that the dialogue never loses its place.
"""

from collections.abc import Awaitable, Callable, Mapping

from maillib import maillog
from maillib.address import Address
from maillib.errors import AddressError, MailError, StoreFull, TemporaryError
from maillib.message import fields
from maillib.message.received import Hop, date_field, message_id_field, received
from maillib.ports.queue import Draft, Envelope
from maillib.protocols.smtp import Refused, Reply
from maillib.protocols.smtp_data import DataDecoder
from maillib.settings.smtp import SmtpSettings

MAX_HEADER_OCTETS = 256 * 1024
"""So much of a header is looked at, as a whole, before any of it is written. Some messages are no header at all, and
500 of these at once, in one process, are a quarter of its memory."""

PIECE_OCTETS = 64 * 1024
"""Octets of the body written in one go: most messages need one write."""

REPLIES: Mapping[type[MailError], Reply] = {  # the nearest class on the MRO wins
    StoreFull: Reply(452, "4.3.1", "No space for mail here now"),
    TemporaryError: Reply(451, "4.3.0", "That does not work now, try again later"),
}


def reply_to(error: TemporaryError) -> Reply:
    return next(REPLIES[kind] for kind in type(error).__mro__ if kind in REPLIES)


MaySayFrom = Callable[[Address], Awaitable[bool]]
"""Whether the account that submits a message may write as this address."""


class IncomingMessage:
    """From the 354 to the reply after the dot. `close` has to follow, whatever happens."""

    def __init__(
        self, draft: Draft, envelope: Envelope, hop: Hop, settings: SmtpSettings, may_say_from: MaySayFrom | None
    ) -> None:
        """`may_say_from` None: it is not a submission."""
        self._draft = draft
        self._envelope = envelope
        self._hop = hop
        self._settings = settings
        self._may_say_from = may_say_from
        self._decoder = DataDecoder()
        self._header: bytearray | None = bytearray()
        """None once it is written."""
        self._piece = bytearray()
        self._refusal: Reply | None = None
        """What is wrong with it; from then on octets are dropped as they come."""
        self.size_octets = 0

    @property
    def is_ambiguous(self) -> bool:
        """Others may find its end, and so commands, where we find text, or the other way round."""
        return self._decoder.has_bare_line_end

    async def receive(self, octets: bytes) -> bytes | None:
        """Take octets from the client; what follows the message's end, None: it has not come yet."""
        content, rest = self._decoder.feed(octets)
        self.size_octets += len(content)
        if self._refusal is None:
            try:
                await self._keep(content)
            except Refused as refused:
                await self._drop(refused.reply)
            except TemporaryError as error:
                maillog.problem(what="message", error=str(error))
                await self._drop(reply_to(error))
        return rest

    async def finish(self) -> Reply:
        """Make it ours, or say why not. Returns after the message is durable."""
        if self._refusal is None:
            try:
                if self._header is not None:  # a message that is nothing but a header
                    await self._take_header(len(self._header))
                await self._draft.write(bytes(self._piece))
                await self._draft.commit(self._envelope)
            except Refused as refused:
                await self._drop(refused.reply)
            except TemporaryError as error:
                maillog.problem(what="message", error=str(error))
                await self._drop(reply_to(error))
        return self._refusal or Reply(250, "2.0.0", f"Ok: queued as {self._draft.id}")

    async def close(self) -> None:
        await self._draft.abort()

    async def _drop(self, reply: Reply) -> None:
        self._refusal = reply
        self._header = None
        self._piece.clear()
        await self._draft.abort()

    async def _keep(self, content: bytes) -> None:
        if self.size_octets > self._settings.max_message_size:
            raise Refused(552, "5.3.4", f"At most {self._settings.max_message_size} octets are accepted")
        if self._decoder.has_bare_line_end:
            raise Refused(550, "5.6.0", "A CR or LF that stands alone is not accepted")
        if self._header is None:
            self._piece += content
        else:
            seen = len(self._header)
            self._header += content
            length = fields.header_length(self._header, seen)
            if length is not None:
                await self._take_header(length)
            elif len(self._header) > MAX_HEADER_OCTETS:
                if self._may_say_from is not None:  # a From further down would go unseen
                    raise Refused(552, "5.3.4", f"A header has at most {MAX_HEADER_OCTETS} octets")
                await self._take_header(len(self._header))
        if len(self._piece) >= PIECE_OCTETS:
            await self._draft.write(bytes(self._piece))
            self._piece.clear()

    async def _take_header(self, length: int) -> None:
        """Check the header, and let what is ours go before it."""
        assert self._header is not None
        content, self._header = self._header, None
        has_header = not content.startswith((b" ", b"\t"))
        header = bytes(content[:length]) if has_header else b""
        if fields.are_more(header, "received", self._settings.max_received):
            raise Refused(554, "5.4.6", "Too many hops, the message is going in circles")
        self._piece += received(self._hop)
        if self._may_say_from is not None:
            self._piece += await self._submitted(header, self._may_say_from)
        if not has_header:  # else its first line would go on with our last field
            self._piece += b"\r\n"
        self._piece += content

    async def _submitted(self, header: bytes, may_say_from: MaySayFrom) -> bytes:
        """What a submission lacks. RFC 6409 §8.2, §8.3. Raises Refused when it says that somebody else wrote it."""
        here = list(fields.fields(header))
        for field in ("From", "Sender"):
            values = [value for name, value in here if name == field.lower()]
            await self._check_author(field, values, may_say_from)
        names = [name for name, _ in here]
        date = b"" if "date" in names else date_field(self._hop.when)
        message_id = b"" if "message-id" in names else message_id_field(self._draft.id, self._hop.hostname)
        return date + message_id

    async def _check_author(self, field: str, values: list[bytes], allowed: MaySayFrom) -> None:
        """What a reader will see as the author, or as who sent it, is one of the account's own. RFC 6409 §6.1."""
        if len(values) > 1:
            raise Refused(550, "5.7.1", f"More than one {field} field")
        for value in values:
            try:
                authors = fields.mailboxes(value)
            except AddressError:
                raise Refused(550, "5.7.1", f"The {field} field is malformed") from None
            for author in authors:
                if not await allowed(author):
                    raise Refused(550, "5.7.1", f"An address in {field} is not yours")
