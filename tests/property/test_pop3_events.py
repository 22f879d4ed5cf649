"""POP3 and any octets: cuts change nothing, and nothing is raised but our errors."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from maillib.dialog import Next
from maillib.errors import PeerError
from maillib.message.downgrade import Downgrade
from maillib.message.wire import CrlfLines, DotStuffer
from maillib.protocols.pop3 import Auth, BadCommand, Command, Pop3Server, TopFilter
from tests.support.pop_world import LOGIN, PASSWORD, PopWorld

KEYWORDS = (
    b"USER PASS AUTH PLAIN LOGIN UTF8 LANG en LIST retr TOP STLS DELE QUIT 1 2 -1 99999999999 = * AGEAYg==".split()
)
ODD = [b" ", b"  ", b"\r", b"\n", b"\r\n", b"\r\n", b"\0", b"\xff", b"\xc3\xa4", b"x" * 300, b"y" * 5000]
WORDS = st.sampled_from([*KEYWORDS, *ODD])
OCTETS = st.one_of(st.binary(max_size=200), st.lists(WORDS, max_size=30).map(b"".join))


def events(pieces: list[bytes]) -> list[Command | BadCommand | str]:
    """What a session would see that begins every AUTH PLAIN exchange."""
    core, seen = Pop3Server(), list[Command | BadCommand | str]()
    for piece in pieces:
        core.receive(piece)
        try:
            while (event := core.next_event()) is not None:
                seen.append(event)
                if event == Auth("PLAIN", None):
                    core.expect_answer()
        except PeerError as error:
            return [*seen, str(error)]
    return seen


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(OCTETS, st.lists(st.integers(0, 10_000)))
def test_any_split_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    """However the octets arrive, the commands are the same, and so is the error that ends them."""
    assert events(pieces_of(data, cuts)) == events([data])


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\r\n.\r\n"])).map(b"".join),
    st.lists(st.integers(0, 99)),
)
def test_wire_form_is_safe_and_reversible(message: bytes, cuts: list[int]) -> None:
    """A reader that takes CR, LF or CRLF for a line end finds the end of data at our end only, and the same lines."""
    lines, dots = CrlfLines(), DotStuffer()
    sent = b"".join(dots.feed(lines.feed(piece)) for piece in pieces_of(message, cuts))
    sent += dots.feed(lines.finish()) + dots.finish()
    assert sent.replace(b"\r\n", b"").count(b"\r") == sent.replace(b"\r\n", b"").count(b"\n") == 0
    received = sent.split(b"\r\n")
    assert received.index(b".") == len(received) - 2
    unstuffed = [line.removeprefix(b".") for line in received[:-2]]
    expected = message.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert unstuffed == expected


@given(
    st.lists(st.sampled_from([b"", b"a", b"."]), max_size=12),
    st.integers(0, 6),
    st.lists(st.integers(0, 99)),
)
def test_top_is_a_prefix_of_whole_lines(texts: list[bytes], body_lines: int, cuts: list[int]) -> None:
    """TOP passes the header, the empty line and that many lines of the body, over any cut."""
    message = b"".join(text + b"\r\n" for text in texts)
    top, lines = TopFilter(body_lines), CrlfLines()
    passed = b"".join(top.feed(lines.feed(piece)) for piece in pieces_of(message, cuts)) + top.feed(lines.finish())
    header = texts.index(b"") + 1 if b"" in texts else len(texts)
    assert passed == b"".join(text + b"\r\n" for text in texts[: header + body_lines])


COMMANDS = st.sampled_from(
    [f"{word} {number}\r\n" for word in ("RETR", "DELE", "LIST", "UIDL") for number in range(1, 7)]
    + ["TOP 1 0\r\n", "TOP 3 1\r\n", "LIST\r\n", "UIDL\r\n", "STAT\r\n", "RSET\r\n", "NOOP\r\n", "LANG\r\n"]
)


@given(st.lists(COMMANDS, max_size=40))
def test_a_flight_is_answered_as_its_commands_are(commands: list[str]) -> None:
    """Pipelined or one by one, in whatever order: the same octets come back. RFC 2449 §6.6."""

    class Heard:
        def __init__(self) -> None:
            self.octets = b""

        async def send(self, data: bytes) -> None:
            self.octets += data

    async def hear(flights: list[str]) -> bytes:
        world = await PopWorld().furnish()
        await world.deliver(*[b"Subject: %d\r\n\r\n.\r\nx\r\n" % number for number in range(5)])
        session, heard = world.session(), Heard()
        for flight in [f"USER {LOGIN}\r\nPASS {PASSWORD}\r\n", *flights]:
            session.receive(flight.encode())
            while await session.advance(heard) is Next.AGAIN:
                pass
        await session.closed()
        return heard.octets

    async def main() -> None:
        assert await hear(["".join(commands)]) == await hear(commands)

    asyncio.run(main())


@given(st.text(alphabet='aäö<>",;:@\\() =?', max_size=60), st.lists(st.integers(0, 200)))
def test_a_downgraded_header_is_ascii_and_ends_where_it_did(text: str, cuts: list[int]) -> None:
    """Whatever is in a header in UTF-8: it becomes ASCII, no line of it is empty, and cuts change nothing."""
    message = f"To: {text}\r\nSubject: {text}\r\nContent-Type: {text}\r\nX: y\r\n\r\n{text}\r\n".encode()
    filtered = Downgrade()
    pieces = [filtered.feed(piece) for piece in pieces_of(message, cuts)]
    header, _, body = (b"".join(pieces) + filtered.finish()).partition(b"\r\n\r\n")
    assert header.isascii()
    assert header.endswith(b"X: y")
    assert body.decode() == f"{text}\r\n"


@given(OCTETS, st.booleans())
def test_a_session_survives_any_octets(data: bytes, log_in: bool) -> None:
    """Whatever a client sends, it gets answers, or an end for breaking the protocol."""
    answers: list[bytes] = []

    class Nowhere:
        async def send(self, data: bytes) -> None:
            assert data.endswith(b"\r\n")
            answers.append(data)

    async def main() -> None:
        world = await PopWorld().furnish()
        await world.deliver(b"Subject: x\r\n\r\n.\r\n", b"")
        session = world.session()
        session.receive(f"USER {LOGIN}\r\nPASS {PASSWORD}\r\n".encode() * log_in + data)
        try:
            while True:
                begun = len(answers)
                step = await session.advance(Nowhere())
                assert b"".join(answers[begun:]).startswith((b"+", b"-ERR")) or step is not Next.AGAIN
                if step is not Next.AGAIN:
                    break
        except PeerError:
            pass
        await session.closed()

    asyncio.run(main())
