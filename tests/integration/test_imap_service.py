"""The IMAP service as it runs, with two workers: many clients at once, news from other processes, the end at a stop."""

import asyncio
import random
import zlib
from collections.abc import Iterator

import pytest

from tests.support.imap_client import ImapClient, Value
from tests.support.imap_stress import stress
from tests.support.imap_suite import ImapSuite
from tests.support.mail_suite import ALICE, BOB, PASSWORD

pytestmark = pytest.mark.real

STRESS_S = 8.0
"""`python -m tests.support.imap_stress` goes on for longer."""

IDLERS = 8
"""So many that both workers have some."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapSuite]:
    found = ImapSuite(tmp_path_factory.mktemp("suite"))
    try:
        found.start()
        yield found
    finally:
        found.take_down()


async def connect(suite: ImapSuite, user: str = ALICE) -> ImapClient:
    client = await ImapClient.connect(suite.imap)
    await client.log_in(user, PASSWORD)
    return client


class Idler:
    """A client in IDLE, and all that it has heard."""

    def __init__(self, client: ImapClient) -> None:
        self._client = client
        self._heard: list[list[Value]] = []
        self._task: asyncio.Task[None]
        self._wanted: list[Value] = []

    @classmethod
    async def begin(cls, suite: ImapSuite, user: str) -> "Idler":
        client = await connect(suite, user)
        await client.ok("SELECT INBOX")
        idler = cls(client)
        client.hear = idler._heard.append
        return idler

    async def hears(self, *wanted: Value) -> None:
        """Wait for it, in an IDLE."""
        await self._client.idle(lambda: [*wanted] in self._heard, 30)
        assert [*wanted] in self._heard, self._heard
        self._heard.clear()

    async def end(self) -> None:
        await self._client.log_out()


def test_random_commands_from_many_connections(suite: ImapSuite) -> None:
    """No command is answered as it must not be, no message is lost or doubled, and all views agree in the end."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    ledger = asyncio.run(stress(lambda: connect(suite), connections=20, seconds=STRESS_S, seed=seed))
    assert ledger.commands.keys() > {"append", "expunge", "move", "store"}


def test_news_reach_every_client(suite: ImapSuite) -> None:
    """A delivery, APPEND, STORE, EXPUNGE and a deletion by POP are told in IDLE, whichever processes are concerned."""

    async def main() -> None:
        idlers = [await Idler.begin(suite, BOB) for _ in range(IDLERS)]
        other = await connect(suite, BOB)
        await other.ok("SELECT INBOX")

        async def all_hear(*wanted: Value) -> None:
            await asyncio.gather(*(idler.hears(*wanted) for idler in idlers))

        await asyncio.gather(all_hear(b"1", b"EXISTS"), asyncio.to_thread(suite.send, "delivered", BOB))
        await asyncio.gather(all_hear(b"2", b"EXISTS"), other.ok("APPEND INBOX {}", b"Subject: appended\r\n\r\n"))
        flags: Value = [b"UID", b"2", b"FLAGS", [b"\\Flagged"]]
        await asyncio.gather(all_hear(b"2", b"FETCH", flags), other.ok("STORE 2 +FLAGS.SILENT (\\Flagged)"))
        await other.ok("STORE 2 +FLAGS (\\Deleted)")
        await asyncio.gather(all_hear(b"2", b"EXPUNGE"), other.ok("EXPUNGE"))

        def delete_by_pop() -> None:
            pop = suite.login(BOB)
            pop.dele(1)
            pop.quit()

        await asyncio.gather(all_hear(b"1", b"EXPUNGE"), asyncio.to_thread(delete_by_pop))
        for idler in idlers:
            await idler.end()
        await other.log_out()

    asyncio.run(main())


def test_idle_clients_are_told_goodbye(suite: ImapSuite) -> None:
    """At the drain limit of a stop, in clear, under TLS and compressed; meanwhile a session goes on as before."""

    async def read_to_end(reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(30):
            return await reader.read()

    async def idling(port: int, *, tls: bool, compressed: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=suite.tls if tls else None, server_hostname="localhost" if tls else None
        )
        compressor = None
        commands = [f'a LOGIN {ALICE} "{PASSWORD}"', "b SELECT INBOX", *(["c COMPRESS DEFLATE"] if compressed else [])]
        for command in commands:
            writer.write(f"{command}\r\n".encode())
            while not (await reader.readline()).startswith(command[:1].encode() + b" OK"):
                pass
        idle = b"d IDLE\r\n"
        if compressed:
            compressor = zlib.compressobj(wbits=-15)
            idle = compressor.compress(idle) + compressor.flush(zlib.Z_SYNC_FLUSH)
        writer.write(idle)
        if not compressed:
            assert (await reader.readline()).startswith(b"+ ")
        return reader, writer

    async def main() -> None:
        clear = await idling(suite.imap, tls=False, compressed=False)
        secured = await idling(suite.imaps, tls=True, compressed=False)
        packed = await idling(suite.imaps, tls=True, compressed=True)
        busy = await connect(suite)
        await asyncio.to_thread(suite.ok, "stop", "imap", "--drain", "2s")
        with pytest.raises(ConnectionRefusedError):
            await connect(suite)
        await busy.ok("SELECT INBOX")
        await busy.ok("APPEND INBOX {}", b"Subject: while it stops\r\n\r\n")
        for reader, _ in (clear, secured):
            assert b"* BYE [UNAVAILABLE]" in await read_to_end(reader)
        assert b"* BYE [UNAVAILABLE]" in zlib.decompressobj(-15).decompress(await read_to_end(packed[0]))
        busy.cut()
        for _, writer in (clear, secured, packed):
            writer.close()

    asyncio.run(main())
    suite.ok("start", "imap", "--wait")
