"""News: who looks at a mailbox is told when it may have changed, and nobody else."""

import asyncio

import pytest

from maillib.memory.hints import MemoryHints
from maillib.ports.directory import AccountId
from maillib.ports.index import MailboxId, ModSeq
from maillib.sessions import imap_news
from maillib.sessions.imap_news import News
from tests.support.imap_world import run

ALICE, BOB = AccountId(1), AccountId(2)
INBOX, SENT = MailboxId(1), MailboxId(2)


class Ear:
    def __init__(self) -> None:
        self.heard: asyncio.Queue[ModSeq | None] = asyncio.Queue()

    def tell(self, modseq: ModSeq | None) -> None:
        self.heard.put_nowait(modseq)


def test_each_mailbox_has_its_own_news() -> None:
    """A hint reaches all who look at that mailbox of that account, until they look away."""

    async def main() -> None:
        hints = MemoryHints()
        news = News(hints)
        ears = [Ear() for _ in range(4)]
        first = news.about(ALICE, INBOX, ears[0].tell)
        news.about(ALICE, INBOX, ears[1].tell)
        news.about(ALICE, SENT, ears[2].tell)
        news.about(BOB, INBOX, ears[3].tell)
        hints.publish(ALICE, INBOX, ModSeq(7))
        assert await ears[0].heard.get() == 7
        assert await ears[1].heard.get() == 7
        first.end()
        first.end()
        hints.publish(ALICE, INBOX, ModSeq(8))
        hints.publish(BOB, INBOX, ModSeq(3))
        assert await ears[1].heard.get() == 8
        assert await ears[3].heard.get() == 3
        assert ears[0].heard.empty()
        assert ears[2].heard.empty()
        await news.close()
        await news.close()

    run(main)


def test_nobody_listens_for_nobody() -> None:
    """When the last one looks away the watch ends; who looks later is told again."""

    async def main() -> None:
        hints = MemoryHints()
        news = News(hints)
        before = len(asyncio.all_tasks())
        interests = [news.about(ALICE, mailbox, Ear().tell) for mailbox in (INBOX, SENT)]
        assert len(asyncio.all_tasks()) == before + 1
        for interest in interests:
            interest.end()
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0)
        ear = Ear()
        news.about(ALICE, SENT, ear.tell)
        hints.publish(ALICE, SENT, ModSeq(2))
        assert await ear.heard.get() == 2
        await news.close()

    run(main)


def test_lost_hints_cost_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks is told to look again from time to time, whether or not there was a hint."""
    monkeypatch.setattr(imap_news, "LOOK_AGAIN_S", 0.01)

    async def main() -> None:
        news = News(MemoryHints())
        ear = Ear()
        news.about(ALICE, INBOX, ear.tell)
        assert await ear.heard.get() is None
        assert await ear.heard.get() is None
        await news.close()

    run(main)
