"""IMAP sessions from COMPRESS on."""

import zlib

import pytest

from maillib.errors import PeerError
from tests.support.imap_world import ImapWorld, Peer, run


class Compressing:
    """A client's half of a compressed connection."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._compressor = zlib.compressobj(wbits=-15)
        self._decompressor = zlib.decompressobj(-15)

    def packed(self, octets: bytes) -> bytes:
        return self._compressor.compress(octets) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    async def say(self, octets: bytes) -> bytes:
        return self.read(await self._peer.say(self.packed(octets)))

    def read(self, octets: bytes) -> bytes:
        return self._decompressor.decompress(octets)


def test_everything_is_compressed_from_the_answer_on() -> None:
    """Commands, literals and answers; capabilities offer it once; a second time it is refused."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        client = await world.logged_in()
        assert "COMPRESS=DEFLATE" in (await client.ok("CAPABILITY"))[0].split()
        assert (await client.refused("COMPRESS LZ77")).startswith("NO")
        assert await client.say(b"a COMPRESS DEFLATE\r\n") == b"a OK compressed from here on\r\n"
        compressing = Compressing(client)
        assert b"COMPRESS" not in await compressing.say(b"b CAPABILITY\r\n")
        assert (await compressing.say(b"c COMPRESS DEFLATE\r\n")).startswith(b"c NO [COMPRESSIONACTIVE]")
        message = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 20_000
        answer = await compressing.say(b"d APPEND INBOX {%d+}\r\n%b\r\n" % (len(message), message))
        assert b"d OK [APPENDUID" in answer
        await compressing.say(b"e SELECT INBOX\r\n")
        assert message in await compressing.say(b"f FETCH 1 BODY.PEEK[]\r\n")

    run(main)


def test_what_follows_the_command_is_compressed() -> None:
    """A client that does not wait for the answer has compressed its next command already."""

    async def main() -> None:
        client = await (await ImapWorld().furnish()).logged_in()
        compressing = Compressing(client)
        answer = await client.say(b"a COMPRESS DEFLATE\r\n" + compressing.packed(b"b NOOP\r\n"))
        head, _, rest = answer.partition(b"\r\n")
        assert head.startswith(b"a OK")
        assert compressing.read(rest).startswith(b"b OK")

    run(main)


def test_last_words_are_compressed() -> None:
    """So are news in IDLE, the goodbye at a stop and the one after silence."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        client = await world.logged_in("INBOX")
        await client.say(b"a COMPRESS DEFLATE\r\n")
        compressing = Compressing(client)
        assert await compressing.say(b"b IDLE\r\n") == b"+ idling\r\n"
        await world.deliver(b"Subject: news\r\n\r\n")
        await client.woken.wait()
        assert b"* 1 EXISTS\r\n" in compressing.read(await client.go_on())
        goodbye = client.session.goodbye()
        assert goodbye is not None
        assert compressing.read(goodbye).startswith(b"* BYE [UNAVAILABLE]")
        assert compressing.read(client.session.timed_out()).startswith(b"* BYE")

    run(main)


def test_what_is_not_compressed_ends_the_session() -> None:
    """The client is told so, compressed."""

    async def main() -> None:
        client = await (await ImapWorld().furnish()).logged_in()
        await client.say(b"a COMPRESS DEFLATE\r\n")
        compressing = Compressing(client)
        client.session.receive(b"b NOOP\r\n" * 10)
        with pytest.raises(PeerError):
            await client.session.advance(client)
        assert compressing.read(client.take()).startswith(b"* BYE")

    run(main)
