"""Who is told that recipients of a message will not get it, and the queueing of that notification.

The sender, when he logged in or has an address here. Anybody else's address may be forged: a notification to it would
be backscatter, so that the postmaster of the recipient's domain gets it. Nobody is told about a message with the null
reverse-path. RFC 5321 §4.5.5, §6.1.

Guarantees: when `send` has returned, the notification is durable in the queue. Its ID is made from that of the message
and the number of the attempt, so that an attempt repeated after a crash does not tell twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from maillib import maillog
from maillib.address import Address
from maillib.message import fields
from maillib.message.dsn import FailedRecipient, Failure, notification
from maillib.ports.queue import Claim, Envelope, Recipient, notification_id
from maillib.sessions.delivery_ports import Ports

MAX_HEADER_OCTETS = 64 * 1024
"""Of the original, returned with the notification; more than any reader shows."""


@dataclass(frozen=True, slots=True)
class Failed:
    recipient: Recipient
    reply: str
    """Begins with the status of RFC 3463."""


class Bounce:
    """The notification about one attempt for one message."""

    def __init__(self, claim: Claim, ports: Ports, *, hostname: str, now: datetime) -> None:
        self._claim = claim
        self._ports = ports
        self._hostname = hostname
        self._now = now

    async def send(self, failed: Sequence[Failed]) -> None:
        """Raises TemporaryError: nobody has been told."""
        sender = self._claim.envelope.sender
        to = await self._readers(failed)
        if sender is None or not to:
            return
        attempt = 1 + max(one.attempts for one in self._claim.envelope.recipients)
        draft = self._ports.queue.draft(notification_id(self._claim.id, attempt))
        failure = await self._failure(draft.id, sender, to, failed)
        octets = notification(failure)
        try:
            await draft.write(octets)
            await draft.commit(
                Envelope(
                    sender=None,
                    recipients=tuple(Recipient(address=address) for address in to),
                    queued=self._now,
                    account=None,
                    peer="local",
                    body_8bit=not octets.isascii(),
                    smtputf8=failure.is_global,
                )
            )
        finally:
            await draft.abort()
        for address in to:
            maillog.bounced(queue_id=self._claim.id, to=str(address), dsn_id=draft.id)

    async def _readers(self, failed: Sequence[Failed]) -> tuple[Address, ...]:
        envelope = self._claim.envelope
        if envelope.sender is None:
            return ()
        if envelope.account is not None or await self._ports.directory.is_local(envelope.sender.domain):
            return (envelope.sender,)
        addressed = [(one.recipient.original or one.recipient.address).domain for one in failed]
        domains = [domain for domain in dict.fromkeys(addressed) if await self._ports.directory.is_local(domain)]
        return tuple(Address("postmaster", domain) for domain in domains)

    async def _failure(
        self, dsn_id: str, sender: Address, to: tuple[Address, ...], failed: Sequence[Failed]
    ) -> Failure:
        return Failure(
            hostname=self._hostname,
            dsn_id=dsn_id,
            when=self._now,
            to=to,
            sender=sender,
            queue_id=self._claim.id,
            arrived=self._claim.envelope.queued,
            smtputf8=self._claim.envelope.smtputf8,
            header=await self._header(),
            failed=tuple(
                FailedRecipient(
                    address=one.recipient.address,
                    original=one.recipient.original,
                    status=one.reply.split(" ")[0],
                    reply=one.reply,
                )
                for one in failed
            ),
        )

    async def _header(self) -> bytes:
        octets = await self._ports.blobs.get(self._claim.body, 0, MAX_HEADER_OCTETS)
        length = fields.header_length(octets)
        if length is None:  # cut at a line's end
            length = octets.rfind(b"\r\n") + 2 if b"\r\n" in octets else 0
        return octets[:length]
