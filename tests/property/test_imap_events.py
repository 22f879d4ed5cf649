"""IMAP and any octets: cuts change nothing, nothing is raised but our errors, and what is written is what is read."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from maillib.errors import PeerError
from maillib.protocols.imap import names, quoting, replies
from maillib.protocols.imap.arguments import MONTHS, Arguments
from maillib.protocols.imap.commands import Authenticate, Command, Plain
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.events import AppendData, AppendMessage, Event, LiteralAnnounced, Tagged
from maillib.protocols.imap.sequences import SequenceSet, of_numbers, parse_set
from maillib.protocols.imap.server import ImapServer
from tests.support.imap_commands import STRINGS, Strings, Written, any_command, flag_lists, sequence_sets, texts

WORDS = [
    *b"a A1 NOOP LOGIN AUTHENTICATE PLAIN IDLE DONE APPEND INBOX FETCH UID 1:* BODY[] FLAGS SEARCH OR NOT".split(),
    *b'(FLAGS (\\Seen) "x" "7-Jul-2020 {3} {3+} ~{2} {0} {9000} {9000+} {70000+} UTF8 ( ) AGEAYg== * = $'.split(),
    *(b" ", b" ", b" ", b"\r", b"\n", b"\r\n", b"\r\n", b"\0", b"\xff", b"&AGE-", b"x" * 300, b"y" * 9000),
]
OCTETS = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(WORDS), max_size=40).map(b"".join))


def events(pieces: list[bytes], *, logged_in: bool, refuses: bool) -> list[Event | str]:
    """What a session would see; it says whatever the core expects of it. Pieces of a message are joined."""
    core, seen = ImapServer(), list[Event | str]()
    if logged_in:
        core.logged_in()
    for piece in pieces:
        core.receive(piece)
        try:
            while (event := core.next_event()) is not None:
                if isinstance(event, AppendData) and seen and isinstance(seen[-1], AppendData):
                    seen[-1] = AppendData(seen[-1].data + event.data)
                else:
                    seen.append(event)
                match event:
                    case Tagged(tag, Authenticate()):
                        core.expect_answer(tag)
                    case Tagged(tag, Plain.IDLE):
                        core.expect_done(tag)
                    case AppendMessage() if refuses:
                        core.refuse_literal()
                    case AppendMessage() | LiteralAnnounced():
                        core.go_ahead()
        except PeerError as error:
            return [*seen, str(error)]
    return seen


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(OCTETS, st.lists(st.integers(0, 100_000), max_size=8), st.booleans(), st.booleans())
def test_any_split_gives_the_same_events(data: bytes, cuts: list[int], logged_in: bool, refuses: bool) -> None:
    """However the octets arrive, the events are the same, and so is the error that ends them."""
    whole = events([data], logged_in=logged_in, refuses=refuses)
    assert events(pieces_of(data, cuts), logged_in=logged_in, refuses=refuses) == whole


@given(st.lists(any_command, min_size=1, max_size=3), st.sampled_from(STRINGS), st.booleans(), st.integers(1, 50))
def test_what_is_written_is_what_is_read(commands: list[Command], strings: Strings, utf8: bool, step: int) -> None:
    """A command comes out as it went in, however its strings are written, in whatever pieces it comes."""
    core = ImapServer()
    core.logged_in()
    if utf8:
        core.use_utf8_names()
    written = Written(strings, utf8_names=utf8)
    data = b"".join(b"A%d %b\r\n" % (number, written.command(command)) for number, command in enumerate(commands))
    seen = []
    for start in range(0, len(data), step):
        core.receive(data[start : start + step])
        while (event := core.next_event()) is not None:
            if isinstance(event, LiteralAnnounced):
                assert core.go_ahead()
            else:
                seen.append(event)
    assert seen == [Tagged(f"A{number}", command) for number, command in enumerate(commands)]


@given(st.lists(OCTETS, max_size=3), st.booleans())
def test_a_bad_command_never_costs_the_place(garbage: list[bytes], logged_in: bool) -> None:
    """Whatever the lines before it, a command that stands on a line of its own is understood."""
    core = ImapServer()
    if logged_in:
        core.logged_in()
    for octets in garbage:
        line = octets.replace(b"\n", b"").rstrip(b"}\r")
        core.receive(b"".join((line, b"\r\n")))
    core.receive(b"last NOOP\r\n")
    last = None
    while (event := core.next_event()) is not None:
        last = event
    assert last == Tagged("last", Plain.NOOP)


@given(texts)
def test_a_mailbox_name_comes_back(name: str) -> None:
    """In modified UTF-7 and in UTF-8, and as printable ASCII in the former."""
    for utf8 in (False, True):
        assert names.decode(names.encode(name, utf8=utf8), utf8=utf8) == name
    assert names.encode(name, utf8=False).decode("ascii").isprintable()


@given(st.binary(max_size=30) | st.text("&-,AQax+/=\x7f\xe4", max_size=12).map(str.encode), st.booleans())
def test_a_name_has_one_form(octets: bytes, utf8: bool) -> None:
    """What is read is written again in the same octets; all else is refused."""
    try:
        name = names.decode(octets, utf8=utf8)
    except Malformed:
        return
    assert names.encode(name, utf8=utf8) == octets


@given(sequence_sets, st.integers(0, 60))
def test_a_sequence_set_comes_back(found: SequenceSet, star: int) -> None:
    """As it was; and its ranges are those numbers, each once, in order."""
    assert parse_set(str(found).encode()) == found
    ranges = found.ranges(star, 60)
    assert all(one.stop < other.start for one, other in pairwise(ranges))
    wanted = set[int]()
    for interval in found.intervals:
        low, high = sorted(star if end > 2**32 - 1 else end for end in interval)
        wanted.update(range(max(low, 1), min(high, 60) + 1))
    assert [number for one in ranges for number in one] == sorted(wanted)


@given(st.sets(st.integers(1, 80), min_size=1))
def test_numbers_become_the_shortest_set(numbers: set[int]) -> None:
    """The set means these numbers, and no two of its intervals touch."""
    found = of_numbers(sorted(numbers))
    assert [number for one in found.ranges(80) for number in one] == sorted(numbers)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(found.intervals))


@given(st.binary(max_size=60))
def test_pieces_raise_nothing_else(octets: bytes) -> None:
    """Each piece of the grammar takes any octets, or says that they are malformed."""
    for piece in (
        Arguments.word,
        Arguments.number64,
        Arguments.messages,
        Arguments.flags,
        Arguments.attribute,
        Arguments.nstring,
        Arguments.text,
        Arguments.list_mailbox,
        Arguments.day,
        Arguments.moment,
    ):
        try:
            piece(Arguments(octets))
        except Malformed:
            pass


@given(texts, flag_lists, st.booleans())
def test_what_the_server_says_can_be_read(text: str, flags: tuple[str, ...], utf8: bool) -> None:
    """Names, strings and flags that the server writes are what a reader of the grammar finds."""
    assert Arguments(replies.mailbox(text, utf8=utf8), utf8_names=utf8).mailbox() == text
    assert Arguments(quoting.string(text.encode())).string() == text.encode()
    assert Arguments(quoting.nstring(text.encode())).nstring() == text.encode()
    assert Arguments(quoting.astring(text)).text() == text
    assert set(Arguments(replies.flags(frozenset(flags))).flags()) == set(flags)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439))
def test_an_internal_date_comes_back(moment: datetime, zone_minutes: int) -> None:
    """To the second, whatever zone it came with."""
    seconds = int(moment.replace(microsecond=0, tzinfo=UTC).timestamp())
    assert Arguments(replies.internal_date(seconds)).moment().timestamp() == seconds
    there = datetime.fromtimestamp(seconds, timezone(timedelta(minutes=zone_minutes)))
    written = f'"{there.day:2}-{MONTHS[there.month - 1]}-{there.year:04} {there:%H:%M:%S %z}"'
    assert Arguments(written.encode()).moment() == there
