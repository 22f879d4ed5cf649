"""A house with two users, a queue in memory, and live SMTP ports on loopback."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, cast

from maillib.address import Address
from maillib.errors import MailError, StoreFull
from maillib.memory.directory import MemoryDirectory
from maillib.memory.penalties import MemoryPenalties
from maillib.ports.directory import Domain, PutAccount
from maillib.ports.lists import MailingList, Post
from maillib.ports.queue import Envelope, Queue, QueueId
from maillib.runtime.service import ConnectionInfo, Registry
from maillib.runtime.stream import StreamConnection
from maillib.sessions.doorkeeper import Doorkeeper
from maillib.sessions.smtp import SmtpSession
from maillib.sessions.smtp_transaction import Terms
from maillib.settings.service import Listener
from maillib.settings.smtp import SmtpSettings
from tests.support import tls as tls_ends
from tests.support.live_port import LivePort

PASSWORD = "sesame, open"

Role = Literal["mx", "submission"]
Tls = Literal["none", "starttls", "implicit"]


async def furnish(directory: MemoryDirectory) -> None:
    """alice, who also is postmaster, bob, zoë, carol (disabled); aliases: sales of alice and a partner elsewhere,
    partner of that one, crew of the list team; lists: team of alice and that partner, news (owners write), open
    (anyone does), which all have alice and belong to bob, gone (disabled); caught.test, which alice gets mail for;
    off.test, which is disabled.
    """
    await directory.add_domain("example.test")
    for name in ("alice", "bob", "zoë"):
        await directory.add_account(Address(name, "example.test"), PASSWORD)
    await directory.add_alias(
        Address("sales", "example.test"), [Address("alice", "example.test"), Address("partner", "elsewhere.test")]
    )
    await directory.add_alias(Address("partner", "example.test"), [Address("partner", "elsewhere.test")])
    alice, bob, crew = Address("alice", "example.test"), Address("bob", "example.test"), Address("crew", "example.test")
    for name, members, post in (
        ("team", (alice, Address("partner", "example.test")), Post.MEMBERS),
        ("news", (alice,), Post.OWNER),
        ("open", (alice,), Post.ANYONE),
        ("gone", (alice,), Post.ANYONE),
    ):
        address = Address(name, "example.test")
        await directory.edit(
            [MailingList(address=address, members=members, post=post, owners=(bob,), enabled=name != "gone")]
        )
    await directory.add_alias(crew, [Address("team", "example.test")])
    await directory.edit(
        [
            PutAccount(address=Address("carol", "example.test"), enabled=False),
            Domain(name="caught.test", catch_all=(alice,)),
            PutAccount(address=Address("carol", "caught.test"), enabled=False),
            Domain(name="off.test", enabled=False),
        ]
    )


@dataclass
class Queued:
    id: QueueId
    body: bytes
    envelope: Envelope


@dataclass
class Shelf:
    """The half of a Queue that accepts."""

    messages: list[Queued] = field(default_factory=list)
    failure: MailError | None = None
    """What writing comes to."""
    room: int | None = None
    """Octets that a message may have; None: any."""
    gate: asyncio.Event | None = None
    """Commits wait for it."""
    open_drafts: int = 0

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    async def check_room(self, octets: int) -> None:
        if self.room is not None and octets > self.room:
            raise StoreFull("no room")

    def draft(self, queue_id: QueueId | None = None) -> "ShelfDraft":
        return ShelfDraft(self, queue_id or QueueId(f"Q{next(self._numbers)}"))


class ShelfDraft:
    def __init__(self, shelf: Shelf, queue_id: QueueId) -> None:
        self.id = queue_id
        self._shelf = shelf
        self._body = bytearray()
        self._open = True
        shelf.open_drafts += 1

    async def write(self, data: bytes) -> None:
        if self._shelf.failure:
            raise self._shelf.failure
        self._body += data

    async def commit(self, envelope: Envelope) -> None:
        if self._shelf.gate is not None:
            await self._shelf.gate.wait()
        self._shelf.messages.append(Queued(self.id, bytes(self._body), envelope))
        await self.abort()

    async def abort(self) -> None:
        if self._open:
            self._open = False
            self._shelf.open_drafts -= 1


@dataclass
class SmtpWorld:
    """Where sessions happen. Change what it consists of before `serve`."""

    settings: SmtpSettings = field(default_factory=SmtpSettings)
    delay_step_s: float = 0.0

    def __post_init__(self) -> None:
        self.directory = MemoryDirectory()
        self.queue = Shelf()
        self.doorkeeper = Doorkeeper(self.directory, MemoryPenalties())

    def session(self, role: Role = "mx", tls: Tls = "starttls", *, cleartext_login: bool = False) -> SmtpSession:
        terms = Terms(
            hostname="mail.example.test",
            submission=role == "submission",
            tls=tls == "implicit",
            starttls=tls == "starttls",
            cleartext_login=cleartext_login,
            peer_host="127.0.0.1",
        )
        queue = cast(Queue, self.queue)  # the half that a session needs
        return SmtpSession(self.settings, self.directory, queue, self.doorkeeper, terms, delay_step_s=self.delay_step_s)

    @asynccontextmanager
    async def serve(
        self,
        role: Role = "mx",
        *,
        tls: Tls = "starttls",
        cleartext_login: bool = False,
    ) -> AsyncIterator[LivePort]:
        """A live port until the block ends; then waits for the sessions, so that a test cannot leave one behind."""
        await furnish(self.directory)
        registry = Registry()
        server_context, _ = tls_ends.contexts()
        numbers = itertools.count(1)

        def protocol() -> asyncio.Protocol:
            number = next(numbers)
            info = ConnectionInfo(
                conn=f"test.{number:x}",
                peer_host="127.0.0.1",
                peer_port=number,
                listener=Listener(host="127.0.0.1", port=0, tls=tls, role=role, cleartext_login=cleartext_login),
                since=time.time(),
                tls=tls == "implicit",
                tls_context=server_context if tls == "starttls" else None,
                settings=self.settings,
            )
            session = self.session(role, tls, cleartext_login=cleartext_login)
            return StreamConnection(info, session, registry)

        sock = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(
            protocol, sock=sock, ssl=server_context if tls == "implicit" else None
        )
        try:
            yield LivePort(sock.getsockname()[1], registry)
        finally:
            server.close()
            async with asyncio.timeout(20):
                await registry.wait_idle()
