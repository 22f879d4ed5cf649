"""A queue, a directory and mailboxes of the memory engine, a clock that stands still, and deliveries between them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

from maillib.address import Address
from maillib.memory.blobs import MemoryBlobs
from maillib.memory.directory import MemoryDirectory
from maillib.memory.index import MemoryIndex
from maillib.memory.queue import MemoryQueue
from maillib.ports.directory import AccountId, Alias, Domain, PutAccount
from maillib.ports.index import EVERY_UID, INBOX, Appended, MailboxKey, NewMessage
from maillib.ports.queue import Envelope, QueueId, QueueItem, Recipient, RecipientState
from maillib.sessions.delivery import Delivery
from maillib.sessions.delivery_ports import Ports
from maillib.sessions.retrying import RetryPolicy

HEADER = b"Received: from client\r\n\tby mail.example.test; Sun, 1 Mar 2026 12:00:00 +0000\r\nSubject: x\r\n"
BODY = HEADER + b"\r\nbody\r\n"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy((timedelta(minutes=5), timedelta(hours=1)), timedelta(days=5))


class BrokenIndex(MemoryIndex):
    """An Index that fails for some accounts as it is told."""

    broken: dict[AccountId, Exception]

    async def append(
        self, account: AccountId, mailbox: MailboxKey, messages: Sequence[NewMessage]
    ) -> Sequence[Appended]:
        if account in self.broken:
            raise self.broken[account]
        return await super().append(account, mailbox, messages)


class SpoolWorld:
    """Make it with `await SpoolWorld.made()`: example.test with alice (its postmaster) and bob."""

    def __init__(self) -> None:
        self.now = START
        self.blobs = MemoryBlobs()
        self.directory = MemoryDirectory()
        self.index = BrokenIndex(self.blobs, self.directory.account)
        self.index.broken = {}
        self.queue = MemoryQueue(self.blobs, clock=lambda: self.now.timestamp())

    @classmethod
    async def made(cls) -> "SpoolWorld":
        world = cls()
        await world.directory.edit([Domain(name="example.test", postmaster="alice"), Domain(name="other.test")])
        for user in ("alice@example.test", "bob@example.test", "carol@other.test"):
            await world.directory.edit([PutAccount(address=Address.parse(user))])
        return world

    async def alias(self, address: str, *targets: str) -> None:
        await self.directory.edit(
            [Alias(address=Address.parse(address), targets=tuple(Address.parse(target) for target in targets))]
        )

    async def put(
        self,
        *recipients: str,
        sender: str | None = "stranger@elsewhere.test",
        submitted: bool = False,
        body: bytes = BODY,
    ) -> QueueId:
        draft = self.queue.draft()
        await draft.write(body)
        await draft.commit(
            Envelope(
                sender=None if sender is None else Address.parse(sender),
                recipients=tuple(Recipient(address=Address.parse(address)) for address in recipients),
                queued=self.now,
                account=AccountId(1) if submitted else None,
                peer="192.0.2.1",
            )
        )
        return draft.id

    async def deliveries(self) -> list[Delivery]:
        """One for each message whose time has come."""
        ports = Ports(directory=self.directory, index=self.index, blobs=self.blobs, queue=self.queue)
        return [
            Delivery(claim, ports, POLICY, hostname="mail.example.test", clock=lambda: self.now, chance=lambda: 0.5)
            for claim in await self.queue.claim(100)
        ]

    async def deliver(self) -> None:
        """Everything whose time has come, and what comes of it."""
        while deliveries := await self.deliveries():
            for delivery in deliveries:
                await delivery.run()

    async def inbox(self, user: str) -> list[bytes]:
        """Every message of a user, with its prefix."""
        (account,) = (await self.directory.resolve(Address.parse(user))).accounts
        stored = await self.index.messages(account.id, INBOX, EVERY_UID)
        return [one.prefix + self.blobs.octets(one.body) for one in stored.values()]

    async def break_index(self, user: str, error: Exception) -> None:
        (account,) = (await self.directory.resolve(Address.parse(user))).accounts
        self.index.broken[account.id] = error

    async def queued(self) -> list[QueueItem]:
        return [item async for item in self.queue.browse()]

    async def states(self) -> dict[str, RecipientState]:
        """Of the recipients of the one message that is queued."""
        (item,) = await self.queued()
        assert item.envelope is not None
        return {str(one.address): one.state for one in item.envelope.recipients}


def parsed(octets: bytes) -> EmailMessage:
    message = message_from_bytes(octets, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message
