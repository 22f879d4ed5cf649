"""SORT and THREAD in a session."""

import pytest

from maillib.ports.index import INBOX, Uid
from tests.support.imap_world import ImapWorld, run

MESSAGES = (
    b"Message-ID: <1@x>\r\nFrom: Zoe <alice@b.test>\r\nTo: x@b.test\r\nDate: Tue, 3 Feb 2026 01:00 +0900\r\n"
    b"Subject: beta\r\n\r\n1",
    b"Message-ID: <2@x>\r\nReferences: <1@x>\r\nFrom: bob@a.test\r\nTo: y@a.test\r\nCc: c@x\r\n"
    b"Date: Tue, 3 Feb 2026 00:00 +0000\r\nSubject: Re: [list] Beta\r\n\r\n22222",
    b"From: =?utf-8?q?=C3=84nne?= <carol@c.test>\r\nDate: Mon, 2 Feb 2026 17:00 +0000\r\nSubject: ALPHA\r\n\r\n3",
    b"Subject: fwd: alpha\r\n\r\n4",
)


@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        ("SUBJECT", "3 4 1 2"),
        ("REVERSE SUBJECT", "1 2 3 4"),
        ("DATE", "1 3 2 4"),
        ("REVERSE DATE", "4 2 3 1"),
        ("SUBJECT REVERSE DATE", "4 3 2 1"),
        ("SIZE", "4 3 1 2"),
        ("ARRIVAL", "1 2 3 4"),
        ("REVERSE ARRIVAL", "1 2 3 4"),
        ("FROM", "4 1 2 3"),
        ("DISPLAYFROM", "4 3 2 1"),
        ("TO", "3 4 1 2"),
        ("CC REVERSE FROM", "3 1 4 2"),
        ("DISPLAYTO", "3 4 1 2"),
    ],
)
def test_sort(criteria: str, numbers: str) -> None:
    """By each criterion; what is alike keeps its order; UIDs and numbers alike."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*MESSAGES)
        client = await world.logged_in(INBOX)
        assert await client.ok(f"SORT ({criteria}) UTF-8 ALL") == [f"* SORT {numbers}"]
        await world.index.expunge(world.account.id, INBOX, [Uid(1)])
        await client.ok("NOOP")
        left = " ".join(number for number in numbers.split() if number != "1")
        assert await client.ok(f"UID SORT ({criteria}) US-ASCII 1:*") == [f"* SORT {left}"]

    run(main)


def test_what_is_sorted_is_what_is_found() -> None:
    """Search keys count, an empty answer is one, and an unknown charset is refused."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*MESSAGES)
        client = await world.logged_in(INBOX)
        assert await client.ok("SORT (REVERSE DATE) UTF-8 NOT SUBJECT alpha") == ["* SORT 2 1"]
        assert await client.ok("SORT (DATE) UTF-8 TEXT nothing") == ["* SORT"]
        assert await client.ok("SORT (DATE) UTF-8 MODSEQ 1") == ["* SORT 1 3 2 4 (MODSEQ 2)"]
        assert (await client.refused("SORT (DATE) KLINGON ALL")).startswith("NO [BADCHARSET")
        assert (await client.refused("SORT (COLOUR) UTF-8 ALL")).startswith("BAD")
        (line,) = await client.ok("CAPABILITY")
        assert {"SORT", "SORT=DISPLAY", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES"} <= set(line.split())

    run(main)


def test_thread() -> None:
    """By references and by subject, of all or some, with numbers or UIDs."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*MESSAGES)
        client = await world.logged_in(INBOX)
        assert await client.ok("THREAD REFERENCES UTF-8 ALL") == ["* THREAD (1 2)(3 4)"]
        assert await client.ok("THREAD ORDEREDSUBJECT UTF-8 ALL") == ["* THREAD (1 2)(3 4)"]
        assert await client.ok("THREAD REFERENCES UTF-8 SUBJECT beta 2:*") == ["* THREAD (2)"]
        assert await client.ok("THREAD REFERENCES UTF-8 TEXT nothing") == ["* THREAD"]
        await world.index.expunge(world.account.id, INBOX, [Uid(3)])
        await client.ok("NOOP")
        assert await client.ok("UID THREAD REFERENCES UTF-8 ALL") == ["* THREAD (1 2)(4)"]
        assert (await client.refused("THREAD WOOLLY UTF-8 ALL")).startswith("BAD")

    run(main)
