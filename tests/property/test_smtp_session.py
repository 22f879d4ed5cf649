"""An SMTP session and any octets: cuts change nothing, and nothing is raised but the end of the session."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from maillib.dialog import Next
from maillib.errors import PeerError
from maillib.settings.smtp import SmtpSettings
from tests.support.smtp_world import SmtpWorld, furnish

COMMANDS = [
    b"EHLO me\r\n", b"HELO [127.0.0.1]\r\n", b"MAIL FROM:<a@b.test>\r\n", b"MAIL FROM:<> SIZE=9 BODY=8BITMIME\r\n",
    b"RCPT TO:<alice@example.test>\r\n", b"RCPT TO:<x@y.test>\r\n", b"RCPT TO:<\xe2\x80\xa8@y.test>\r\n", b"DATA\r\n",
    b"RSET\r\n", b"NOOP x\r\n", b"QUIT\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"VRFY a\r\n",
]  # fmt: skip
ODD = [b"\r", b"\n", b".", b"\r\n", b"\r\n.\r\n", b"\r\n..", b"\0", b"\xff", b"\xc2\x85", b" ", b"<", b">", b"x" * 3000]
OCTETS = st.lists(st.one_of(st.sampled_from(COMMANDS), st.sampled_from(ODD)), max_size=25).map(b"".join)
MESSAGE = b"".join(COMMANDS[at] for at in (0, 2, 4, 7))


class Heard:
    cipher = None

    def __init__(self) -> None:
        self.octets = b""

    async def send(self, data: bytes) -> None:
        assert data.endswith(b"\r\n")
        assert data[:3].isdigit()
        self.octets += data

    async def pause(self, delay_s: float) -> None:
        pass

    def wake(self) -> None:
        pass


async def hear(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    """All replies, and the bodies that were queued, without the field that says when."""
    world = SmtpWorld(settings=SmtpSettings(max_errors=8))
    await furnish(world.directory)
    session, heard = world.session(), Heard()
    step = await session.greet(heard)
    try:
        for piece in pieces:
            session.receive(piece)
            step = Next.AGAIN
            while step is Next.AGAIN:
                step = await session.advance(heard)
            if step in (Next.CLOSE, Next.START_TLS):
                break
            while await session.advance(heard) is not Next.NEED_DATA:
                pass
    except PeerError:
        pass
    await session.closed()
    assert world.queue.open_drafts == 0
    return heard.octets, [message.body.partition(b";\r\n")[2].partition(b"\r\n")[2] for message in world.queue.messages]


@given(OCTETS, st.booleans(), st.integers(1, 40))
def test_pieces_do_not_matter(octets: bytes, in_message: bool, cut: int) -> None:
    """The same octets get the same replies and become the same messages, whole or in pieces."""
    octets = MESSAGE * in_message + octets

    async def main() -> None:
        pieces = [octets[at : at + cut] for at in range(0, len(octets), cut)]
        assert await hear([octets]) == await hear(pieces)

    asyncio.run(main())
