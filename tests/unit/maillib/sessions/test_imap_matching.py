"""What SEARCH finds: every key, whatever has been derived before."""

import base64

import pytest

from maillib.memory.blobs import MemoryBlobs
from maillib.ports.derived import Shown
from maillib.ports.index import INBOX, Uid
from maillib.sessions.imap_derive import derive
from tests.support.imap_world import ImapWorld, Peer, run

MESSAGES = (
    b"From: Alice <alice@example.test>\r\nTo: bob@example.test\r\nDate: Mon, 2 Feb 2026 23:30:00 -0500\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_M=C3=BCnchen?=\r\nX-Tag: one\r\n\r\nHello there\r\n",
    b"From: carol@example.test\r\nCc: Bob <bob@example.test>\r\nBcc: dora@example.test\r\n"
    b"Date: Tue, 3 Feb 2026 01:00:00 +0900\r\nSubject: plain\r\nX-Tag: two\r\n"
    b"Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes("Привет и отчёт".encode("koi8-r")).replace(b"\n", b"\r\n"),
    b"From: alice@example.test\r\nSubject: nested\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n--b\r\nContent-Type: text/html\r\n\r\n'
    b"<p>caf&eacute; <b>no</b>ir</p>\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: inner\r\n\r\ndeep down\r\n--b--\r\n",
    b"\r\nno header at all",
)

SEARCHES = {
    "ALL": "1 2 3 4",
    "FROM alice": "1 3",
    "FROM ALICE": "1 3",
    'FROM ""': "1 2 3",
    "TO bob": "1",
    "CC bob": "2",
    "BCC dora": "2",
    "SUBJECT plain": "2",
    'HEADER X-TAG ""': "1 2",
    "HEADER x-tag two": "2",
    "HEADER x-tag x-tag": "",
    'HEADER "x-tag: o" ne': "",
    "HEADER message-id x": "",
    "BODY hello": "1",
    "BODY subject": "3",
    "BODY alice": "",
    "BODY preamble": "",
    "BODY noir": "3",
    "TEXT alice": "1 3",
    "TEXT deep": "3",
    "TEXT html": "3",
    "NOT FROM alice": "2 4",
    "NOT TEXT e": "",
    "OR FROM carol BODY hello": "1 2",
    "OR BODY hello FROM carol": "1 2",
    "NOT OR FROM carol BODY hello": "3 4",
    "(FROM alice SUBJECT nested)": "3",
    "FROM alice NOT SUBJECT nested": "1",
    "BODY hello 2:*": "",
    "1:2 TEXT bob": "1 2",
    "UID 2:3 TEXT bob": "2",
    "NOT 2:3": "1 4",
    "OR 1 4": "1 4",
    "OR UID 9 NOT UID 2": "1 3 4",
    "9": "",
    "*": "4",
    "SENTON 2-Feb-2026": "1",
    "SENTON 3-Feb-2026": "2",
    "SENTBEFORE 3-Feb-2026": "1",
    "SENTSINCE 2-Feb-2026": "1 2",
    "NOT SENTSINCE 1-Jan-1990": "3 4",
    "ON 3-Feb-2026": "1 2 3 4",
    "BEFORE 3-Feb-2026": "",
    "SINCE 3-Feb-2026": "1 2 3 4",
    "SINCE 4-Feb-2026": "",
    "FLAGGED": "2",
    "UNFLAGGED": "1 3 4",
    "KEYWORD $junk": "3",
    "UNKEYWORD $Junk": "1 2 4",
    "LARGER 150": "1 2 3",
    "SMALLER 19": "4",
    "LARGER 18": "1 2 3",
    "MODSEQ 1": "1 2 3 4 (MODSEQ 4)",
    "YOUNGER 1": "",
    "OLDER 1": "1 2 3 4",
    "RECENT": "",
    "OLD": "1 2 3 4",
    "NEW": "",
    "FLAGGED FROM carol BODY x": "",
}

LITERALS = (
    ("UTF-8", "SUBJECT", "grüsse", "1"),
    ("UTF-8", "SUBJECT", "MÜNCHEN", "1"),
    ("UTF-8", "SUBJECT", "mu\N{COMBINING DIAERESIS}nchen", "1"),
    ("ISO-8859-1", "SUBJECT", "grüße", "1"),
    ("UTF-8", "BODY", "ПРИВЕТ", "2"),
    ("koi8-r", "TEXT", "отчёт", "2"),
    ("UTF-8", "BODY", "café", "3"),
    ("UTF-8", "SUBJECT", "plain\r\n", ""),
)


async def with_messages(known: set[int]) -> tuple[ImapWorld, Peer]:
    """A client of a mailbox; of some messages it is known beforehand what is derived from them."""
    world = await ImapWorld().furnish()
    await world.deliver(*MESSAGES)
    await world.index.put_derived(
        world.account.id, INBOX, [derive(Uid(uid), MESSAGES[uid - 1]) for uid in sorted(known)]
    )
    client = await world.logged_in(INBOX)
    await client.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")
    await client.ok("STORE 3 +FLAGS.SILENT ($Junk)")
    return world, client


@pytest.mark.parametrize("known", [set(), {2, 3}, {1, 2, 3, 4}], ids=["nothing", "some", "everything"])
def test_every_key(known: set[int]) -> None:
    """Each key finds what it should, whatever is known, and then once more, by what has been derived for it."""

    async def main() -> None:
        _, client = await with_messages(known)
        for keys, numbers in (*SEARCHES.items(), *SEARCHES.items()):
            assert await client.ok(f"SEARCH {keys}") == [f"* SEARCH {numbers}".strip()], keys

    run(main)


@pytest.mark.parametrize(("charset", "key", "text", "numbers"), LITERALS)
def test_text_of_any_charset(charset: str, key: str, text: str, numbers: str) -> None:
    """What is looked for is decoded and folded as the message is: case, umlauts and composition do not matter."""

    async def main() -> None:
        _, client = await with_messages({1, 3})
        octets = text.encode(charset)
        command = f"SEARCH CHARSET {charset} {key} {{{len(octets)}+}}\r\n".encode() + octets
        assert (await client.say(b"a " + command + b"\r\n")).startswith(
            f"* SEARCH {numbers}".strip().encode() + b"\r\n"
        )

    run(main)


def test_what_is_gone_is_not_found() -> None:
    """A message that another session has removed is not among the answers that its octets would be needed for."""

    async def main() -> None:
        world, client = await with_messages({1})
        await world.index.expunge(world.account.id, INBOX, [Uid(3), Uid(4)])
        assert await client.ok("UID SEARCH NOT SUBJECT plain") == ["* SEARCH 1", "* 4 EXPUNGE", "* 3 EXPUNGE"]

    run(main)


def test_an_unreadable_message_has_no_text() -> None:
    """A message whose octets are lost is found by what its row says, and by nothing else."""

    async def main() -> None:
        world, client = await with_messages(set())
        stored = (await world.index.messages(world.account.id, INBOX, [Uid(2)]))[Uid(2)]
        assert isinstance(world.blobs, MemoryBlobs)
        world.blobs.remove(stored.body)
        assert await client.ok("SEARCH TEXT plain") == ["* SEARCH"]
        assert await client.ok("SEARCH NOT TEXT alice") == ["* SEARCH 2 4"]

    run(main)


def test_what_a_search_derives_is_kept() -> None:
    """The octets of a message are read for the first search only."""

    async def main() -> None:
        world, client = await with_messages(set())
        await client.ok("SEARCH BODY hello")
        for message in await world.index.views(world.account.id, INBOX, range(1, 5), list(Shown)):
            assert message == derive(message[0], MESSAGES[message[0] - 1]).view
        assert len(await world.index.headings(world.account.id, INBOX, range(1, 5))) == 4

    run(main)
