"""A store of the memory engine, IMAP sessions on it, and what they say."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from maillib.address import Address
from maillib.dialog import Next
from maillib.memory.blobs import MemoryBlobs
from maillib.memory.directory import MemoryDirectory
from maillib.memory.hints import MemoryHints
from maillib.memory.index import MemoryIndex
from maillib.memory.penalties import MemoryPenalties
from maillib.ports.blobs import Blobs
from maillib.ports.directory import PutAccount
from maillib.ports.index import INBOX, Index, NewMessage, Retention
from maillib.sessions.doorkeeper import Doorkeeper
from maillib.sessions.imap import ImapSession, Terms
from maillib.sessions.imap_client import Shared
from maillib.settings.imap import ImapSettings

LOGIN = "alice@example.test"
PASSWORD = "open sesame"


@dataclass
class ImapWorld:
    """Where sessions happen. Change what it consists of before the first one."""

    settings: ImapSettings = field(default_factory=ImapSettings)
    starttls: bool = True
    cleartext_login: bool = True
    quota_octets: int | None = None
    retention: Retention = field(default_factory=Retention)
    clock: Callable[[], float] = lambda: 0.0

    def __post_init__(self) -> None:
        self.directory = MemoryDirectory()
        self.doorkeeper = Doorkeeper(self.directory, MemoryPenalties())
        memory = MemoryBlobs()
        self.blobs: Blobs = memory
        self.hints = MemoryHints()
        self.index: Index = MemoryIndex(
            memory, self.directory.account, publish=self.hints.publish, retention=self.retention
        )
        self._shared: Shared | None = None

    async def furnish(self) -> "ImapWorld":
        """Give the world its one account."""
        await self.directory.add_domain("example.test")
        self.account = await self.directory.add_account(Address.parse(LOGIN), PASSWORD)
        await self.allow(self.quota_octets)
        return self

    async def allow(self, quota_octets: int | None) -> None:
        """So much may be stored from now on."""
        await self.directory.edit([PutAccount(address=self.account.address, quota_octets=quota_octets)])

    async def deliver(self, *bodies: bytes, mailbox: str = INBOX, prefix: bytes = b"") -> None:
        async def once(body: bytes) -> AsyncIterator[bytes]:
            yield body

        messages = []
        for body in bodies:
            ref = await self.blobs.put(once(body))
            date = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
            messages.append(NewMessage(delivery_key=None, prefix=prefix, body=ref, internal_date=date))
        await self.index.append(self.account.id, mailbox, messages)

    @property
    def shared(self) -> Shared:
        if self._shared is None:
            self._shared = Shared(
                doorkeeper=self.doorkeeper,
                directory=self.directory,
                index=self.index,
                blobs=self.blobs,
                hints=self.hints,
            )
        return self._shared

    def client(self, *, tls: bool = False) -> "Peer":
        terms = Terms(
            hostname="mail.example.test",
            tls=tls,
            starttls=self.starttls,
            cleartext_login=self.cleartext_login,
            peer_host="127.0.0.1",
        )
        return Peer(ImapSession(self.settings, self.shared, terms, clock=self.clock))

    async def logged_in(self, select: str | None = None) -> "Peer":
        client = self.client()
        await client.greeting()
        await client.ok(f'LOGIN {LOGIN} "{PASSWORD}"')
        if select is not None:
            await client.ok(f"SELECT {select}")
        return client


class Peer:
    """A client of one session, and a carrier that keeps what was sent."""

    cipher = None

    def __init__(self, session: ImapSession) -> None:
        self.session = session
        self.pieces: list[bytes] = []
        self.woken = asyncio.Event()
        self._tags = 0
        self.last = Next.AGAIN

    async def send(self, data: bytes) -> None:
        self.pieces.append(data)

    async def pause(self, delay_s: float) -> None:
        pass

    def wake(self) -> None:
        self.woken.set()

    def take(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data

    async def greeting(self) -> bytes:
        await self.session.greet(self)
        return self.take()

    async def say(self, octets: bytes) -> bytes:
        """All that is answered to them."""
        self.session.receive(octets)
        return await self.go_on()

    async def go_on(self) -> bytes:
        """All that is said as long as nothing comes."""
        while (step := await self.session.advance(self)) is Next.AGAIN:
            pass
        self.last = step
        return self.take()

    async def command(self, text: str) -> tuple[list[str], str]:
        """The untagged lines, and what follows the tag."""
        self._tags += 1
        tag = f"t{self._tags}"
        answer = (await self.say(f"{tag} {text}\r\n".encode())).decode("latin-1")
        before, found, end = answer.rpartition(f"{tag} ")
        assert found, f"no tagged answer: {answer!r}"
        assert end.endswith("\r\n")
        return _lines(before), end[:-2]

    async def ok(self, text: str) -> list[str]:
        """The untagged lines of a command that goes well."""
        lines, end = await self.command(text)
        assert end.startswith("OK"), f"{text}: {end}"
        return lines

    async def refused(self, text: str) -> str:
        """The tagged answer of one that does not."""
        _, end = await self.command(text)
        assert not end.startswith("OK"), f"{text}: {end}"
        return end

    async def append(self, mailbox: str, message: bytes, arguments: str = "") -> str:
        """The tagged answer."""
        self._tags += 1
        head = f"t{self._tags} APPEND {mailbox} {arguments}{{{len(message)}+}}\r\n".encode()
        answer = (await self.say(head + message + b"\r\n")).decode()
        return answer.rpartition(f"t{self._tags} ")[2].removesuffix("\r\n")

    async def news(self) -> list[str]:
        """What is said once the session has been woken."""
        await self.woken.wait()
        self.woken.clear()
        return _lines((await self.go_on()).decode("latin-1"))


def _lines(text: str) -> list[str]:
    """Responses, literals in place."""
    found, at = list[str](), 0
    while at < len(text):
        start = at
        while True:
            end = text.index("\r\n", at)
            literal = re.search(r"\{([0-9]+)\}\Z", text[start:end])
            if literal is None:
                break
            at = end + 2 + int(literal[1])
        found.append(text[start:end])
        at = end + 2
    return found


def run(main: Callable[[], Awaitable[None]]) -> None:
    """In a loop of its own, and not for ever."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(limited())
