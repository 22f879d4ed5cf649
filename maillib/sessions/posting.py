"""The message that the members of a list get.

It is one of its own, with the owner's address as reverse-path, so that a notification about it is for the owner.

Guarantees: when `send` has returned, it is durable in the queue; its ID is made from that of the message and the list's
place among the recipients, so that an attempt repeated after a crash brings nobody a second copy. A message that has
been through the list before is not sent again.

Leaves to others: who may write to a list (`list_policy`).
"""

from datetime import datetime

from maillib.address import Address
from maillib.errors import MailLoop, NotFound
from maillib.message import fields
from maillib.message.listmail import has_come_through, list_fields, without_list_fields
from maillib.message.received import received_from_here
from maillib.ports.lists import MailingList, Post
from maillib.ports.queue import Claim, Draft, Envelope, QueueId, Recipient, list_mail_id
from maillib.sessions.delivery_ports import Ports

PIECE_OCTETS = 256 * 1024
"""Octets of the message in memory at once; the first of them hold every header that a submission may have."""


class Posting:
    """One message on its way to lists."""

    def __init__(self, claim: Claim, ports: Ports, *, hostname: str, now: datetime) -> None:
        self._claim = claim
        self._ports = ports
        self._hostname = hostname
        self._now = now

    async def send(self, mailing_list: MailingList, number: int) -> QueueId:
        """`number`: the list's place among the recipients. The ID of what the members get.

        Raises NotFound (there are no members), MailLoop, TemporaryError (nothing was sent).
        """
        members = await self._ports.directory.members(mailing_list.address)
        addresses = [*(account.address for account in members.accounts), *members.remote]
        if not addresses:
            raise NotFound(f"the list {mailing_list.address} has no members")
        start = await self._ports.blobs.get(self._claim.body, 0, PIECE_OCTETS)
        length = fields.header_length(start)
        header = start[: start.rfind(b"\r\n") + 2 if length is None else length]
        if has_come_through(header, mailing_list.address):
            raise MailLoop(f"the message has been through the list {mailing_list.address} before")
        draft = self._ports.queue.draft(list_mail_id(self._claim.id, number))
        try:
            await draft.write(self._fields(draft.id, mailing_list) + without_list_fields(header) + start[len(header) :])
            await self._copy_rest(draft, len(start))
            await draft.commit(self._envelope(mailing_list, addresses))
        finally:
            await draft.abort()
        return draft.id

    def _fields(self, queue_id: QueueId, mailing_list: MailingList) -> bytes:
        owner = mailing_list.owner_address
        return received_from_here(
            hostname=self._hostname, queue_id=queue_id, when=self._now, sender=str(owner)
        ) + list_fields(
            mailing_list.address, owner, name=mailing_list.name, takes_mail=mailing_list.post is not Post.OWNER
        )

    async def _copy_rest(self, draft: Draft, offset: int) -> None:
        while piece := await self._ports.blobs.get(self._claim.body, offset, PIECE_OCTETS):
            await draft.write(piece)
            offset += len(piece)

    def _envelope(self, mailing_list: MailingList, members: list[Address]) -> Envelope:
        envelope = self._claim.envelope
        return Envelope(
            sender=mailing_list.owner_address,
            recipients=tuple(Recipient(address=address, original=mailing_list.address) for address in members),
            queued=self._now,
            account=None,
            peer="local",
            body_8bit=envelope.body_8bit,
            smtputf8=envelope.smtputf8 or not mailing_list.address.is_ascii,
        )
