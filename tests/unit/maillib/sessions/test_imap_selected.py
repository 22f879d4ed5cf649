"""IMAP sessions with a mailbox selected: numbers, news, flags, what was missed."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from maillib.errors import PeerError, StoreFull
from maillib.memory.blobs import MemoryBlobs
from maillib.ports.blobs import BlobRef, WholeBody
from maillib.ports.index import Retention
from maillib.sessions import imap_blocks, imap_fetch, imap_view
from maillib.sessions.imap import ImapSession
from maillib.settings.imap import ImapSettings
from tests.support.imap_world import ImapWorld, Peer, run

MESSAGE = b"Subject: hello\r\nFrom: a@example.test\r\nX-Odd: 1\r\n\r\nfirst line\r\nsecond\r\n"


async def close(world: ImapWorld, *clients: Peer) -> None:
    for client in clients:
        await client.session.closed()
    await world.shared.close()


def test_what_fetch_answers() -> None:
    """Rows, octets, parts of them, sections; macros; old names."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(MESSAGE, prefix=b"Return-Path: <>\r\n")
        client = await world.logged_in("INBOX")
        size = len(MESSAGE) + 17
        assert await client.ok("FETCH 1 FAST") == [
            f'* 1 FETCH (FLAGS () INTERNALDATE " 3-Feb-2026 04:05:06 +0000" RFC822.SIZE {size})'
        ]
        assert await client.ok("UID FETCH 1 BODY.PEEK[]") == [
            f"* 1 FETCH (UID 1 BODY[] {{{size}}}\r\nReturn-Path: <>\r\n{MESSAGE.decode()})"
        ]
        assert await client.ok("FETCH 1 (BODY.PEEK[]<0.6> BODY.PEEK[TEXT]<6.2> BODY.PEEK[]<5000.1>)") == [
            "* 1 FETCH (BODY[]<0> {6}\r\nReturn BODY[TEXT]<6> {2}\r\nli BODY[]<5000> {0}\r\n)"
        ]
        assert await client.ok("FETCH 1 (RFC822.HEADER body.peek[header.fields (x-odd)] BODY.PEEK[7])") == [
            "* 1 FETCH (RFC822.HEADER {67}\r\n"
            "Return-Path: <>\r\nSubject: hello\r\nFrom: a@example.test\r\nX-Odd: 1\r\n\r\n"
            " BODY[HEADER.FIELDS (x-odd)] {12}\r\nX-Odd: 1\r\n\r\n BODY[7] NIL)"
        ]
        assert (await client.ok("FETCH 1 FULL"))[0].startswith("* 1 FETCH (FLAGS () INTERNALDATE ")
        assert (await client.refused("FETCH 2 FLAGS")).startswith("BAD")
        assert (await client.refused("FETCH 1:2 FLAGS")).startswith("BAD")
        assert await client.ok("UID FETCH 2:9 FLAGS") == []
        assert await client.ok("UID FETCH 9:* (UID)") == ["* 1 FETCH (UID 1)"]
        await close(world, client)

    run(main)


def test_all_flags_are_those_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one session has rendered serves others, and never after it has changed."""
    monkeypatch.setattr(imap_blocks, "LINES", 10)
    monkeypatch.setattr(imap_fetch, "BLOCK", 10)
    monkeypatch.setattr(imap_fetch, "LINES_AT_ONCE", 10)

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*[b"x"] * 35)
        client, other = await world.logged_in("INBOX"), await world.logged_in("INBOX")
        expected = dict.fromkeys(range(1, 36), "")

        async def look(at: Peer) -> None:
            lines = [line for line in await at.ok("FETCH 1:* (FLAGS)") if "FETCH" in line]
            assert lines == [f"* {number} FETCH (FLAGS ({flags}))" for number, flags in expected.items()]

        await look(client)
        await look(other)
        for number, flag in ((1, "\\Seen"), (10, "a"), (11, "b"), (35, "c")):
            await other.ok(f"STORE {number} +FLAGS.SILENT ({flag})")
            expected[number] = flag
        await look(other)
        await client.ok("NOOP")
        await look(client)
        await other.ok("STORE 5,30 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        expected = {number: expected[number + (number >= 5) + (number >= 29)] for number in range(1, 34)}
        await look(other)
        await client.ok("NOOP")
        await world.deliver(b"y")
        await client.ok("NOOP")
        expected[34] = ""
        await look(client)
        await close(world, client, other)

    run(main)


def test_select_names_the_mailbox_to_those_who_know_rev2() -> None:
    """RFC 9051 has LIST in the answer to SELECT, and no RECENT."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        client = await world.logged_in()
        lines = await client.ok("SELECT inbox")
        assert "* 0 RECENT" in lines
        assert "LIST" not in "".join(lines)
        await client.ok("ENABLE IMAP4rev2")
        lines = await client.ok("SELECT inbox")
        assert '* LIST () "/" INBOX' in lines
        assert "* 0 RECENT" not in lines
        await close(world, client)

    run(main)


def test_nul_comes_in_a_literal8_only() -> None:
    """BINARY brings NUL as it is; elsewhere, where no NUL may be, another octet stands for it."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"A: b\r\n\r\na\0b", b"A: b\r\n\r\n" + b"a\0" * 200_000)
        client = await world.logged_in("INBOX")
        assert await client.ok("FETCH 1 (BODY.PEEK[TEXT] BINARY.PEEK[1])") == [
            "* 1 FETCH (BODY[TEXT] {3}\r\na\x80b BINARY[1] ~{3}\r\na\0b)"
        ]
        (line,) = await client.ok("FETCH 2 BODY.PEEK[]")
        assert len(line) == len("* 2 FETCH (BODY[] {400008}\r\n)") + 400_008
        assert "\0" not in line
        await close(world, client)

    run(main)


def test_message_after_message() -> None:
    """Who fetches one by one gets each as it is: small and large ones, forwards, backwards, with a gap."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        bodies = [b"%d " % number * (200_000 if number % 7 == 0 else 10) for number in range(1, 31)]
        await world.deliver(*bodies)
        client, other = await world.logged_in("INBOX"), await world.logged_in("INBOX")
        order = [*range(1, 21), 20, 5, *range(18, 0, -1), *range(15, 31)]
        for number in order:
            body = bodies[number - 1]
            assert await client.ok(f"FETCH {number} BODY.PEEK[]") == [
                f"* {number} FETCH (BODY[] {{{len(body)}}}\r\n{body.decode()})"
            ]
        await other.ok("STORE 3 +FLAGS.SILENT \\Deleted")
        await other.ok("EXPUNGE")
        lines, end = await client.command("FETCH 3 BODY.PEEK[]")
        assert (lines, end[:19]) == ([], "OK [EXPUNGEISSUED] ")
        await close(world, client, other)

    run(main)


def test_reading_a_text_sets_seen() -> None:
    """FETCH of text without PEEK sets \\Seen and says so once; not where the mailbox is read-only."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(MESSAGE)
        reader, writer = await world.logged_in(), await world.logged_in("INBOX")
        await reader.ok("EXAMINE INBOX")
        assert await reader.ok("FETCH 1 BODY[TEXT]<0.5>") == ["* 1 FETCH (BODY[TEXT]<0> {5}\r\nfirst)"]
        assert await writer.ok("FETCH 1 BODY[TEXT]<0.5>") == ["* 1 FETCH (BODY[TEXT]<0> {5}\r\nfirst FLAGS (\\Seen))"]
        assert await writer.ok("FETCH 1 BODY[TEXT]<0.5>") == ["* 1 FETCH (BODY[TEXT]<0> {5}\r\nfirst)"]
        assert await writer.ok("NOOP") == []
        assert await reader.ok("NOOP") == ["* 1 FETCH (UID 1 FLAGS (\\Seen))"]
        for command in ("STORE 1 +FLAGS x", "EXPUNGE", "MOVE 1 Trash", "UID EXPUNGE 1"):
            assert (await reader.refused(command)).startswith("NO [READ-ONLY]"), command
        await close(world, reader, writer)

    run(main)


def test_large_messages_pass_in_pieces() -> None:
    """A message larger than is held comes whole, in parts, by its header and by its structure all the same."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        message = MESSAGE + b"0123456789\r\n" * 50_000
        await world.deliver(message, prefix=b"P: 1\r\n")
        client = await world.logged_in("INBOX")
        whole = f"BODY[] {{{len(message) + 6}}}\r\nP: 1\r\n{message.decode()}"
        assert await client.ok("FETCH 1 (UID BODY.PEEK[])") == [f"* 1 FETCH (UID 1 {whole})"]
        assert max(map(len, client.pieces), default=0) < 100_000
        assert await client.ok("FETCH 1 (BODY[] RFC822.SIZE)") == [
            f"* 1 FETCH ({whole} RFC822.SIZE {len(message) + 6} FLAGS (\\Seen))"
        ]
        assert await client.ok("FETCH 1 BODY[]<4.10>") == ["* 1 FETCH (BODY[]<4> {10}\r\n\r\nSubject:)"]
        assert await client.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (P)]") == [
            "* 1 FETCH (BODY[HEADER.FIELDS (P)] {8}\r\nP: 1\r\n\r\n)"
        ]
        (line,) = await client.ok("FETCH 1 (BODYSTRUCTURE BODY.PEEK[TEXT]<0.5>)")
        assert line.endswith(" BODY[TEXT]<0> {5}\r\nfirst)")
        await close(world, client)

    run(main)


def test_many_sections_of_a_large_message_pass_in_pieces() -> None:
    """However often a client asks for it, no more of a large message is in memory than a piece; nor is what is not
    there, or is decoded, told otherwise than of a small one.
    """

    async def main() -> None:
        world = await ImapWorld().furnish()
        text = b"0123456789\r\n" * 50_000
        await world.deliver(b"Subject: s\r\n\r\n" + text, b"Content-Transfer-Encoding: x\r\n\r\n" + text)
        client = _Measuring((await world.logged_in("INBOX")).session)
        partials = " ".join(f"BODY.PEEK[TEXT]<{offset}.1000000>" for offset in range(20))
        (line,) = await client.ok(f"FETCH 1 ({partials})")
        told = (f"BODY[TEXT]<{offset}> {{{600_000 - offset}}}\r\n{text[offset:].decode()}" for offset in range(20))
        assert line == f"* 1 FETCH ({' '.join(told)})"
        assert client.largest < 100_000
        assert await client.ok(
            "FETCH 1 (BODY.PEEK[1]<5.4> BODY.PEEK[2] UID BINARY.PEEK[1]<599990.99> BINARY.SIZE[1])"
        ) == [
            "* 1 FETCH (BODY[1]<5> {4}\r\n5678 BODY[2] NIL UID 1 "
            "BINARY[1]<599990> {10}\r\n23456789\r\n BINARY.SIZE[1] 600000)"
        ]
        assert (await client.refused("FETCH 2 (UID BODY.PEEK[1] BINARY.PEEK[1])")).startswith("NO [UNKNOWN-CTE]")
        await close(world, client)

    run(main)


def test_many_sections_of_a_small_message_pass_one_by_one() -> None:
    """A small message that a client asks for a thousand times over is not a thousand messages in memory."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"Content-Transfer-Encoding: x\r\n\r\n" + b"0123456789\r\n" * 5_000)
        client = _Measuring((await world.logged_in("INBOX")).session)
        items = [f"BODY[]<{offset}> {{1}}\r\n{octet}" for offset, octet in enumerate("Content-Tr")]
        wanted = " ".join(f"BODY[]<{offset}.1>" for offset in range(10))
        assert await client.ok(f"FETCH 1 ({wanted})") == [f"* 1 FETCH ({' '.join(items)} FLAGS (\\Seen))"]
        partials = " ".join(f"BODY.PEEK[TEXT]<{offset}.100000>" for offset in range(100))
        (line,) = await client.ok(f"FETCH 1 (UID {partials})")
        assert len(line) > 5_000_000
        assert client.largest < 100_000
        assert (await client.refused(f"FETCH 1 ({wanted} BINARY[1])")).startswith("NO [UNKNOWN-CTE]")
        await close(world, client)

    run(main)


class _Measuring(Peer):
    """Knows the largest piece that was sent."""

    largest = 0

    async def send(self, data: bytes) -> None:
        self.largest = max(self.largest, len(data))
        await super().send(data)


def test_who_reads_slowly_holds_up_nobody() -> None:
    """Clients that do not read what they have asked for keep none from reading parts of large messages."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"Subject: s\r\n\r\n" + b"0123456789\r\n" * 50_000)
        slow = [_Stuck((await world.logged_in("INBOX")).session) for _ in range(5)]
        fetches = [asyncio.create_task(client.ok("FETCH 1 BODY.PEEK[TEXT]")) for client in slow]
        for client in slow:
            await client.is_stuck.wait()
        other = await world.logged_in("INBOX")
        assert await other.ok("FETCH 1 BODY.PEEK[TEXT]<0.3>") == ["* 1 FETCH (BODY[TEXT]<0> {3}\r\n012)"]
        for client in slow:
            client.reads.set()
        assert len({line for lines in await asyncio.gather(*fetches) for line in lines}) == 1
        await close(world, other, *slow)

    run(main)


class _Stuck(Peer):
    """Does not read until `reads`."""

    def __init__(self, session: ImapSession) -> None:
        super().__init__(session)
        self.is_stuck = asyncio.Event()
        self.reads = asyncio.Event()

    async def send(self, data: bytes) -> None:
        self.is_stuck.set()
        await self.reads.wait()
        await super().send(data)


def test_numbers_stay_until_an_expunge_is_told() -> None:
    """No command that uses numbers tells of an expunge, but the next one of another kind does."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a", b"b", b"c", b"d")
        client, other = await world.logged_in("INBOX"), await world.logged_in("INBOX")
        await client.ok("NOOP")
        await other.ok("STORE 1,3 +FLAGS (\\Deleted)")
        assert await other.ok("EXPUNGE") == ["* 3 EXPUNGE", "* 1 EXPUNGE"]
        await world.deliver(b"e")
        lines, end = await client.command("FETCH 1:4 (UID)")
        assert [line for line in lines if "EXPUNGE" in line] == []
        assert lines == ["* 2 FETCH (UID 2)", "* 4 FETCH (UID 4)", "* 5 EXISTS"]
        assert end.startswith("OK [EXPUNGEISSUED]")
        assert await client.ok("SEARCH ALL") == ["* SEARCH 2 4 5"]
        assert await client.ok("STORE 4 +FLAGS x") == [
            "* FLAGS (\\Answered \\Deleted \\Draft \\Flagged \\Seen x)",
            "* 4 FETCH (FLAGS (x))",
        ]
        assert await client.ok("UID FETCH 4 (UID)") == ["* 4 FETCH (UID 4)", "* 3 EXPUNGE", "* 1 EXPUNGE"]
        assert await client.ok("FETCH 1:* (UID)") == ["* 1 FETCH (UID 2)", "* 2 FETCH (UID 4)", "* 3 FETCH (UID 5)"]
        await close(world, client, other)

    run(main)


def test_own_changes_are_told_once() -> None:
    """What a client did is not told to it again, but what another did to the same message meanwhile is."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a")
        client, other = await world.logged_in("INBOX"), await world.logged_in("INBOX")
        await client.ok("NOOP")
        assert await client.ok("STORE 1 +FLAGS (\\Flagged)") == ["* 1 FETCH (FLAGS (\\Flagged))"]
        assert await client.ok("STORE 1 +FLAGS.SILENT (\\Answered)") == []
        assert await client.ok("NOOP") == []
        await other.ok("STORE 1 +FLAGS.SILENT (\\Draft)")
        await client.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
        assert await client.ok("NOOP") == ["* 1 FETCH (UID 1 FLAGS (\\Answered \\Draft \\Flagged \\Seen))"]
        assert await client.ok("UID STORE 1 FLAGS ()") == ["* 1 FETCH (UID 1 FLAGS ())"]
        await close(world, client, other)

    run(main)


def test_copy_and_move() -> None:
    """COPYUID pairs UIDs; a missing destination is to be created; MOVE takes the messages away in one step."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a", b"b", b"c")
        client = await world.logged_in("INBOX")
        await client.ok("STORE 2 +FLAGS (\\Seen mine)")
        assert (await client.refused("COPY 1 nowhere")).startswith("NO [TRYCREATE]")
        assert (await client.refused("UID MOVE 1 nowhere")).startswith("NO [TRYCREATE]")
        _, end = await client.command("COPY 1:2 Archive")
        assert end.startswith("OK [COPYUID ")
        assert end.split("]")[0].endswith(" 1:2 1:2")
        lines, end = await client.command("UID MOVE 1,3 Archive")
        assert lines[0].split("]")[0].endswith(" 1,3 3:4")
        assert lines[1:] == ["* 3 EXPUNGE", "* 1 EXPUNGE"]
        assert (await client.command("UID COPY 77 Archive")) == ([], "OK nothing to copy")
        assert (await client.ok("COPY 1 INBOX")) == ["* 2 EXISTS"]
        await client.ok("SELECT Archive")
        assert (await client.ok("FETCH 2 FLAGS"))[-1] == "* 2 FETCH (FLAGS (\\Seen mine))"
        await close(world, client)

    run(main)


def test_close_removes_and_unselect_does_not() -> None:
    """CLOSE expunges silently, but not after EXAMINE; UNSELECT and another SELECT leave all as it is."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a", b"b")
        client = await world.logged_in("INBOX")
        await client.ok("STORE 1 +FLAGS.SILENT \\Deleted")
        assert await client.ok("UNSELECT") == []
        await client.ok("EXAMINE INBOX")
        await client.ok("CLOSE")
        lines = await client.ok("SELECT INBOX")
        assert "* 2 EXISTS" in lines
        assert (await client.ok("SELECT INBOX"))[0].startswith("* OK [CLOSED]")
        assert await client.ok("CLOSE") == []
        assert (await client.refused("CLOSE")).startswith("BAD")
        assert "* 1 EXISTS" in await client.ok("SELECT INBOX")
        await client.refused("SELECT nothing")
        assert (await client.refused("CHECK")).startswith("BAD")
        await close(world, client)

    run(main)


def test_uid_expunge_takes_only_what_is_named() -> None:
    """RFC 4315 §2.1."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a", b"b", b"c")
        client = await world.logged_in("INBOX")
        await client.ok("STORE 1:3 +FLAGS.SILENT \\Deleted")
        assert await client.ok("UID EXPUNGE 2:2") == ["* 2 EXPUNGE"]
        assert await client.ok("UID EXPUNGE 77") == []
        assert await client.ok("EXPUNGE") == ["* 2 EXPUNGE", "* 1 EXPUNGE"]
        await close(world, client)

    run(main)


def test_conditional_store() -> None:
    """UNCHANGEDSINCE leaves alone what others have changed, and says which; MODSEQ is told from then on."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a", b"b")
        client, other = await world.logged_in("INBOX"), await world.logged_in("INBOX")
        assert await client.ok("FETCH 1:2 (MODSEQ)") == ["* 1 FETCH (MODSEQ (2))", "* 2 FETCH (MODSEQ (2))"]
        await other.ok("STORE 2 +FLAGS \\Flagged")
        lines, end = await client.command("STORE 1:2 (UNCHANGEDSINCE 2) +FLAGS.SILENT (\\Seen)")
        assert end.startswith("OK [MODIFIED 2]")
        assert lines == [
            "* 1 FETCH (UID 1 MODSEQ (4))",
            "* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (4))",
            "* 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ (3))",
        ]
        lines, end = await client.command("UID STORE 1:2 (UNCHANGEDSINCE 0) -FLAGS (\\Seen)")
        assert (lines, end[:17]) == ([], "OK [MODIFIED 1:2]")
        assert await client.ok("FETCH 1:* (FLAGS) (CHANGEDSINCE 3)") == ["* 1 FETCH (MODSEQ (4) FLAGS (\\Seen))"]
        assert await client.ok("SEARCH MODSEQ 4") == ["* SEARCH 1 (MODSEQ 4)"]
        await close(world, client, other)

    run(main)


async def _seen_state(client: Peer) -> tuple[int, int]:
    """UIDVALIDITY and highest modseq of INBOX."""
    lines = await client.ok("EXAMINE INBOX")
    codes = {line.split("[")[1].split(" ")[0]: line.split("[")[1] for line in lines if "[" in line}
    return (
        int(codes["UIDVALIDITY"].split(" ")[1].rstrip("]").split("]")[0]),
        int(codes["HIGHESTMODSEQ"].split(" ")[1].split("]")[0]),
    )


@pytest.mark.parametrize("tombstones", [10_000, 0], ids=["remembered", "forgotten"])
def test_who_comes_back_is_told_what_has_changed(tombstones: int) -> None:
    """QRESYNC: what vanished and what is new or changed, nothing else; also when expunges are not remembered."""

    async def main() -> None:
        world = await ImapWorld(retention=Retention(tombstones=tombstones)).furnish()
        await world.deliver(*[b"%d" % number for number in range(10)])
        client, other = await world.logged_in(), await world.logged_in("INBOX")
        validity, modseq = await _seen_state(client)
        await client.ok("UNSELECT")
        assert (await client.refused(f"SELECT INBOX (QRESYNC ({validity} {modseq}))")).startswith("BAD")
        await client.ok("ENABLE QRESYNC")
        await other.ok("STORE 2:3,9 +FLAGS.SILENT \\Deleted")
        await other.ok("EXPUNGE")
        await other.ok("STORE 1 +FLAGS.SILENT \\Flagged")
        await world.deliver(b"new")
        news = ["* 1 FETCH (UID 1 FLAGS (\\Flagged) MODSEQ (5))", "* 8 FETCH (UID 11 FLAGS () MODSEQ (6))"]
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq}))")
        assert "* 8 EXISTS" in lines
        assert lines[-3:] == ["* VANISHED (EARLIER) 2:3,9", *news]
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq} 3:11))")
        assert lines[-2:] == ["* VANISHED (EARLIER) 3,9", news[1]]
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq} 1:10 (1,2,4 1,2,4)))")
        assert lines[-2:] == ["* VANISHED (EARLIER) 2:3,9", news[0]]
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({validity + 1} {modseq}))")
        assert "VANISHED" not in "".join(lines)
        assert await client.ok(f"UID FETCH 1:8 (FLAGS) (CHANGEDSINCE {modseq} VANISHED)") == [
            "* VANISHED (EARLIER) 2:3",
            "* 1 FETCH (UID 1 MODSEQ (5) FLAGS (\\Flagged))",
        ]
        await other.ok("STORE 1 +FLAGS.SILENT \\Deleted")
        await other.ok("EXPUNGE")
        lines, end = await client.command("EXPUNGE")
        assert lines == ["* VANISHED 1"]
        assert end.startswith("OK [HIGHESTMODSEQ 8]")
        await close(world, client, other)

    run(main)


def test_matched_numbers_shorten_what_has_vanished() -> None:
    """Where expunges are forgotten a client that names numbers and UIDs is told nothing from before these."""

    async def main() -> None:
        world = await ImapWorld(retention=Retention(tombstones=0)).furnish()
        await world.deliver(*[b"%d" % number for number in range(10)])
        client, other = await world.logged_in(), await world.logged_in("INBOX")
        await other.ok("STORE 2 +FLAGS.SILENT \\Deleted")
        await other.ok("EXPUNGE")
        validity, modseq = await _seen_state(client)
        await other.ok("STORE 8 +FLAGS.SILENT \\Deleted")
        await other.ok("EXPUNGE")
        await client.ok("ENABLE QRESYNC")
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq} 1:10 (2,5,9 3,6,10)))")
        assert lines[-1] == "* VANISHED (EARLIER) 9"
        await close(world, client, other)

    run(main)


def test_what_was_removed_before_numbers_were_needed() -> None:
    """Messages that go between SELECT and the first need of numbers keep their numbers until their expunge is told."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*[b"%d" % number for number in range(6)])
        client, other = await world.logged_in("INBOX"), await world.logged_in("INBOX")
        await other.ok("STORE 1:3,6 +FLAGS.SILENT \\Deleted")
        await other.ok("EXPUNGE")
        await world.deliver(b"new")
        lines = await client.ok("FETCH 1:6 (UID)")
        assert sorted(line.split("(")[1] for line in lines if "FETCH" in line) == ["UID 4)", "UID 5)"]
        assert lines[-1] == "* 7 EXISTS"
        assert len([line for line in await client.ok("NOOP") if "EXPUNGE" in line]) == 4
        assert [line.split("(")[1] for line in await client.ok("FETCH 1:* (UID)")] == ["UID 4)", "UID 5)", "UID 7)"]
        await close(world, client, other)

    run(main)


@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_the_first_of_many(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large mailbox the first messages are had without the rest, and have the same numbers when that is read."""
    monkeypatch.setattr(imap_view, "LARGE", 20)
    monkeypatch.setattr(imap_view, "FIRST", 10)

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*[b"%d" % number for number in range(1, 31)])
        client, other = await world.logged_in("INBOX"), await world.logged_in("INBOX")
        if when != "after":
            await other.ok("UID STORE 2,15,29 +FLAGS.SILENT \\Deleted")
            await other.ok("EXPUNGE")
        assert (await client.ok("FETCH 3 (UID)"))[0].startswith("* 3 FETCH (UID ")
        picture = Picture()
        picture.count = 30
        picture.hear(await client.ok("FETCH 1,4:5 (UID)"))
        if when != "before":
            await other.ok("UID STORE 1,4,16,30 +FLAGS.SILENT \\Deleted")
            await other.ok("EXPUNGE")
        await world.deliver(b"new")
        picture.hear(await client.ok("FETCH 1:10 (UID FLAGS)"))
        picture.hear(await client.ok("FETCH 11:30 (UID)"))
        picture.hear(await client.ok("NOOP"))
        lines = await client.ok("FETCH 1:* (UID)")
        picture.hear(lines)
        rows = await world.index.rows(world.account.id, "INBOX")
        assert [picture.uids[number] for number in range(1, picture.count + 1)] == [row.uid for row in rows]
        await close(world, client, other)

    run(main)


def test_a_mailbox_that_is_renamed_goes_on_and_one_that_is_deleted_ends() -> None:
    """By another client: renamed, nothing happens; deleted, BYE. By the client itself: deleted, it is closed."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a", mailbox="INBOX")
        client, other = await world.logged_in("INBOX"), await world.logged_in()
        await client.ok("COPY 1 Archive")
        await client.ok("SELECT Archive")
        await other.ok("RENAME Archive Old")
        assert await client.ok("FETCH 1 (UID)") == ["* 1 FETCH (UID 1)"]
        await other.ok("DELETE Old")
        with pytest.raises(PeerError):
            await client.say(b"a NOOP\r\n")
        assert client.take().startswith(b"* BYE ")
        await other.ok("SELECT Trash")
        assert (await other.ok("DELETE Trash"))[0].startswith("* OK [CLOSED]")
        assert (await other.refused("CHECK")).startswith("BAD")
        await close(world, client, other)

    run(main)


def test_append() -> None:
    """Flags and date are kept; the size is bound before the octets come; several messages are one step."""

    async def main() -> None:
        world = await ImapWorld(settings=ImapSettings(max_message_size=1_000_000)).furnish()
        client = await world.logged_in("INBOX")
        end = await client.append("INBOX", MESSAGE, '(\\Seen x) " 1-Jan-2020 10:00:00 +0100" ')
        assert end.startswith("OK [APPENDUID ")
        assert await client.ok("FETCH 1 (FLAGS INTERNALDATE RFC822)") == [
            "* FLAGS (\\Answered \\Deleted \\Draft \\Flagged \\Seen x)",
            '* 1 FETCH (FLAGS (\\Seen x) INTERNALDATE " 1-Jan-2020 09:00:00 +0000"'
            f" RFC822 {{{len(MESSAGE)}}}\r\n{MESSAGE.decode()})",
        ]
        assert (await client.append("nowhere", MESSAGE)).startswith("NO [TRYCREATE]")
        assert (await client.say(b"a APPEND INBOX {1000001}\r\n")).startswith(b"a NO [TOOBIG]")
        assert (await client.append("INBOX", b"a\0b")).startswith("NO [CANNOT]")
        assert (await client.append("INBOX", b"")).startswith("NO")
        large = b"x" * 900_000
        assert (await client.append("Archive", large)).startswith("OK")
        await client.ok("SELECT Archive")
        assert (await client.ok("FETCH 1 (RFC822.SIZE)")) == ["* 1 FETCH (RFC822.SIZE 900000)"]
        answer = await client.say(b"a APPEND Archive {1+}\r\n1 (\\Draft) {2+}\r\n22\r\n")
        assert answer.splitlines()[0] == b"* 3 EXISTS"
        assert b"APPENDUID" in answer
        answer = await client.say(b"b APPEND Archive {1+}\r\n1 {0+}\r\n\r\n")
        assert answer.startswith(b"b NO")
        assert await client.ok("FETCH 1:* (UID)") == [f"* {number} FETCH (UID {number})" for number in (1, 2, 3)]
        await client.say(b"c APPEND Archive {700000}\r\n")
        await client.say(b"x" * 500_000)
        await close(world, client)
        assert [ref async for ref in world.blobs.list(older_than=datetime.max.replace(tzinfo=UTC))] == []

    run(main)


def test_append_of_several_messages_beyond_the_quota() -> None:
    """All messages of an APPEND count: the one that is too many is refused before it comes, and none is added."""

    async def main() -> None:
        for octets in (600_000, 60_000):
            world = await ImapWorld(quota_octets=octets + 1000).furnish()
            client = await world.logged_in("INBOX")
            answer = await client.say(b"a APPEND INBOX {%d+}\r\n%b {%d}\r\n" % (octets, b"x" * octets, octets))
            assert answer.startswith(b"a NO [OVERQUOTA] ")
            assert await client.ok("STATUS INBOX (MESSAGES)") == ["* STATUS INBOX (MESSAGES 0)"]
            await close(world, client)
            assert [ref async for ref in world.blobs.list(older_than=datetime.max.replace(tzinfo=UTC))] == []

    run(main)


class FullBlobs(MemoryBlobs):
    """Where no octet has room."""

    async def put(self, chunks: AsyncIterator[bytes]) -> BlobRef:
        await anext(chunks)
        raise StoreFull("no space")

    async def put_all(self, bodies: Sequence[WholeBody]) -> Sequence[BlobRef]:
        raise StoreFull("no space")


@pytest.mark.parametrize("octets", [10, 1_000_000])
def test_append_to_a_full_disk(octets: int) -> None:
    """It is refused, the rest of the message is passed over, and the session goes on."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        world.blobs = FullBlobs()
        client = await world.logged_in()
        message = b"x" * octets
        await client.say(b"a APPEND INBOX {%d+}\r\n" % octets)
        answer = b"".join([await client.say(message[at : at + 60_000]) for at in range(0, octets, 60_000)])
        answer += await client.say(b"\r\n")
        assert answer == b"a NO [UNAVAILABLE] no space is left here, try again later\r\n"
        assert await client.ok("NOOP") == []
        await close(world, client)

    run(main)


def test_search() -> None:
    """Keys over rows and octets, what is returned, and what `$` means afterwards."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(MESSAGE, b"Subject: =?utf-8?q?Stra=C3=9Fe?=\r\nDate: 1 Jan 2020 00:00 +0000\r\n\r\nother")
        await world.deliver(b"\r\n" + b"large" * 60_000)
        client = await world.logged_in("INBOX")
        for keys, numbers in (
            ("ALL", "1 2 3"),
            ("SUBJECT HELLO", "1"),
            ("CHARSET UTF-8 SUBJECT {7+}\r\nstraße", "2"),
            ("SUBJECT STRASSE", "2"),
            ("BODY subject", ""),
            ("TEXT subject", "1 2"),
            ("BODY largelarge", "3"),
            ('NOT HEADER X-Odd ""', "2 3"),
            ("OR SENTON 1-Jan-2020 LARGER 1000", "2 3"),
            ("ON 3-Feb-2026 SMALLER 1000", "1 2"),
            ("SINCE 4-Feb-2026", ""),
            ("UNSEEN 2:* UID 1:2", "2"),
            ("7:9", ""),
            ("NEW", ""),
            ("OLD", "1 2 3"),
            ("YOUNGER 1", ""),
        ):
            assert await client.ok(f"SEARCH {keys}") == [f"* SEARCH {numbers}".strip()], keys
        assert await client.ok("UID SEARCH RETURN (MIN MAX COUNT) ALL") == [
            '* ESEARCH (TAG "t19") UID MIN 1 MAX 3 COUNT 3'
        ]
        assert await client.ok("SEARCH RETURN () 2:3") == ['* ESEARCH (TAG "t20") ALL 2:3']
        assert await client.ok("SEARCH RETURN (SAVE) 2:3") == []
        assert await client.ok("FETCH $ (UID)") == ["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)"]
        assert await client.ok("SEARCH RETURN (MAX SAVE) $") == ['* ESEARCH (TAG "t23") MAX 3']
        assert await client.ok("UID SEARCH $") == ["* SEARCH 3"]
        assert await client.ok("SEARCH RETURN (COUNT) FLAGGED") == ['* ESEARCH (TAG "t25") COUNT 0']
        assert (await client.refused("SEARCH CHARSET KLINGON ALL")).startswith("NO [BADCHARSET")
        await client.ok("ENABLE IMAP4rev2")
        assert await client.ok("SEARCH FLAGGED") == ['* ESEARCH (TAG "t28")']
        await close(world, client)

    run(main)


class Picture:
    """What a client believes from what it is told."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.count = 0
        self.flags: dict[int, str] = {}
        self.uids: dict[int, int] = {}

    def hear(self, lines: list[str]) -> None:
        for line in lines:
            words = line.split(" ")
            match words[2:3]:
                case ["EXISTS"]:
                    assert int(words[1]) >= self.count
                    self.count = int(words[1])
                case ["EXPUNGE"]:
                    gone = int(words[1])
                    assert 1 <= gone <= self.count
                    self.count -= 1
                    self.flags = {n - (n > gone): value for n, value in self.flags.items() if n != gone}
                    self.uids = {n - (n > gone): value for n, value in self.uids.items() if n != gone}
                case ["FETCH"]:
                    number = int(words[1])
                    assert 1 <= number <= self.count
                    if "UID " in line:
                        uid = int(line.split("UID ")[1].split(" ")[0].rstrip(")"))
                        assert self.uids.setdefault(number, uid) == uid
                    if "FLAGS (" in line:
                        self.flags[number] = line.split("FLAGS (")[1].split(")")[0]


@pytest.mark.parametrize("tombstones", [10_000, 1])
def test_random_commands_leave_all_with_the_same_picture(tombstones: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever several clients do to one mailbox, what each was told adds up to what is there."""
    monkeypatch.setattr(imap_blocks, "LINES", 3)  # so that some blocks change and others do not
    monkeypatch.setattr(imap_fetch, "BLOCK", 3)
    monkeypatch.setattr(imap_fetch, "LINES_AT_ONCE", 4)
    monkeypatch.setattr(imap_view, "LARGE", 4)
    monkeypatch.setattr(imap_view, "FIRST", 3)

    async def main() -> None:
        chance = random.Random(tombstones)
        world = await ImapWorld(retention=Retention(tombstones=tombstones)).furnish()
        await world.deliver(b"0")
        clients = [(await world.logged_in(), Picture()) for _ in range(4)]
        for client, picture in clients:
            picture.hear(await client.ok("SELECT INBOX"))
        for _ in range(600):
            client, picture = chance.choice(clients)
            if chance.random() < 0.1:
                await client.ok("UNSELECT")
                picture.forget()
                picture.hear(await client.ok("SELECT INBOX"))
            number = chance.randint(1, max(1, picture.count))
            flag = chance.choice(["\\Deleted", "\\Seen", "a", "b"])
            command = chance.choice(
                [
                    f"STORE {number} {chance.choice('+-')}FLAGS{chance.choice(['', '.SILENT'])} ({flag})",
                    f"UID STORE {number}:* +FLAGS ({flag})",
                    "FETCH 1:* (UID FLAGS)",
                    f"UID FETCH {number}:* (FLAGS)",
                    f"FETCH {number} BODY[]<0.1>",
                    f"COPY {number} INBOX",
                    f"UID MOVE {number} INBOX",
                    "SEARCH ALL",
                    "EXPUNGE",
                    "NOOP",
                ]
            )
            lines, end = await client.command(command)
            assert end.startswith("OK") or (end.startswith("BAD") and picture.count == 0), (command, end)
            silent = ".SILENT" in command and number in picture.flags
            if silent:
                before = set(picture.flags.pop(number).split())
                after = before | {flag} if "+" in command else before - {flag}
                picture.flags[number] = " ".join(sorted(after, key=lambda each: (each[0] != "\\", each)))
            picture.hear(lines)
            if chance.random() < 0.2:
                await world.deliver(b"x")
        rows = await world.index.rows(world.account.id, "INBOX")
        for client, picture in clients:
            picture.hear(await client.ok("NOOP"))
            known = dict(picture.flags)
            picture.hear(await client.ok("UID FETCH 1:* (FLAGS)"))
            assert known.items() <= picture.flags.items()
            assert picture.count == len(rows)
            assert [picture.uids[number] for number in range(1, picture.count + 1)] == [row.uid for row in rows]
        await close(world, *(client for client, _ in clients))

    run(main)
