"""A maildrop of the memory engine, POP sessions on it, and what they say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from maillib.address import Address
from maillib.dialog import Next
from maillib.memory.blobs import MemoryBlobs
from maillib.memory.directory import MemoryDirectory
from maillib.memory.index import MemoryIndex
from maillib.memory.leases import MemoryLeases
from maillib.memory.penalties import MemoryPenalties
from maillib.ports.blobs import Blobs
from maillib.ports.index import INBOX, Index, NewMessage
from maillib.ports.leases import Leases
from maillib.sessions.doorkeeper import Doorkeeper
from maillib.sessions.listing import Listings
from maillib.sessions.pop import PopSession, Shared, Terms
from maillib.settings.pop import PopSettings

LOGIN = "alice@example.test"
PASSWORD = "open sesame"
LOG_IN = f"USER {LOGIN}\nPASS {PASSWORD}\n"


@dataclass
class PopWorld:
    """Where sessions happen. Change what it consists of before the first one."""

    settings: PopSettings = field(default_factory=PopSettings)
    stls: bool = True
    cleartext_login: bool = True
    clock: Callable[[], float] = lambda: 0.0

    def __post_init__(self) -> None:
        self.directory = MemoryDirectory()
        self.doorkeeper = Doorkeeper(self.directory, MemoryPenalties())
        memory = MemoryBlobs()
        self.blobs: Blobs = memory
        self.index: Index = MemoryIndex(memory, self.directory.account)
        self.leases: Leases = MemoryLeases()
        self._listings: Listings | None = None
        self._delivered = 0

    async def furnish(self) -> "PopWorld":
        """Give the world its one account."""
        await self.directory.add_domain("example.test")
        self.account = await self.directory.add_account(Address.parse(LOGIN), PASSWORD)
        return self

    @property
    def lease_name(self) -> str:
        """Of the account's maildrop."""
        return f"pop-maildrop-{self.account.id}"

    async def deliver(self, *bodies: bytes, prefix: bytes = b"") -> None:
        async def once(body: bytes) -> AsyncIterator[bytes]:
            yield body

        messages = []
        for body in bodies:
            self._delivered += 1
            ref = await self.blobs.put(once(body))
            messages.append(
                NewMessage(delivery_key=str(self._delivered), prefix=prefix, body=ref, internal_date=datetime.now(UTC))
            )
        await self.index.append(self.account.id, INBOX, messages)

    async def sizes(self) -> list[int]:
        """Of what is in INBOX now."""
        return [row.size_octets for row in await self.index.rows(self.account.id, INBOX)]

    async def log_in_and_out(self) -> None:
        """One session from its beginning to its end."""
        session = self.session()
        await say(session, LOG_IN + "QUIT\n")
        await session.closed()

    def session(self, *, tls: bool = False) -> PopSession:
        self._listings = self._listings or Listings(self.index)
        shared = Shared(
            doorkeeper=self.doorkeeper,
            index=self.index,
            listings=self._listings,
            blobs=self.blobs,
            leases=self.leases,
        )
        terms = Terms(
            hostname="mail.example.test",
            tls=tls,
            stls=self.stls,
            cleartext_login=self.cleartext_login,
            peer_host="127.0.0.1",
        )
        return PopSession(self.settings, shared, terms, clock=self.clock)


class Sent:
    """An Output that keeps what was sent, and how."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def send(self, data: bytes) -> None:
        self.pieces.append(data)

    def take(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


async def say(session: PopSession, text: str, output: Sent | None = None) -> bytes:
    """All that is answered to the lines of `text`."""
    output = output or Sent()
    session.receive(text.replace("\n", "\r\n").encode())
    while await session.advance(output) is Next.AGAIN:
        pass
    return output.take()


async def logged_in(world: PopWorld) -> PopSession:
    """A session that has the maildrop."""
    session = world.session()
    assert (await say(session, LOG_IN)).count(b"+OK") == 2
    return session


def run(main: Callable[[], Awaitable[None]]) -> None:
    """In a loop of its own, and not for ever."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(limited())
