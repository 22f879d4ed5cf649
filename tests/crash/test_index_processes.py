"""One mailbox and four processes that append, flag, expunge and follow the changes, each killed several times.

What a client that only ever asks for changes has seen is what the server has, and nothing acknowledged is lost.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from maillib.address import Address
from maillib.embedded.blobs import path_of, spool_ref
from maillib.embedded.index import EmbeddedIndex
from maillib.ports.directory import Account, AccountId
from maillib.ports.index import INBOX, ModSeq, NewMessage, Row, Uid
from maillib.ports.queue import QueueId
from tests.support.stored_mail import wrong_with

ALICE = AccountId(1)
WHEN = datetime(2026, 3, 1, 7, 8, 9, tzinfo=UTC)
WRITERS = 4
MESSAGES = 40
"""Per writer."""
KILLS = 4
"""Of each writer."""

WRITER = """
    import asyncio, random, sys
    from pathlib import Path
    from maillib.embedded.index import EmbeddedIndex
    from maillib.ports.flags import DELETED, FLAGGED, SEEN, FlagChange
    from maillib.ports.index import INBOX, Uid
    from tests.crash.test_index_processes import ALICE, Replica, account_of, message

    async def main(state_dir, writer, first, last):
        chance = random.Random(f"{writer}-{first}")
        index = EmbeddedIndex(state_dir, account_of)
        replica = Replica()
        for number in range(first, last):
            (answer,) = await index.append(ALICE, INBOX, [message(writer, number)])
            print(number, answer.uid, flush=True)
            await replica.follow(index)
            known = sorted(replica.rows)
            some = chance.sample(known, min(len(known), 3))
            how, flags = chance.choice(list(FlagChange)), frozenset(chance.sample([SEEN, DELETED, FLAGGED, "$Work"], 2))
            changed = await index.set_flags(ALICE, INBOX, some, how, flags)
            careful = await index.set_flags(ALICE, INBOX, some, how, frozenset({SEEN}), unchanged_since=replica.modseq)
            assert not {row.uid for row in changed.rows} & {row.uid for row in careful.rows}
            if chance.random() < 0.3:
                await index.expunge(ALICE, INBOX, some[:1], only_deleted=chance.random() < 0.5)
        await index.close()

    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
"""


class Replica:
    """What a client knows that has only ever asked what has changed."""

    def __init__(self) -> None:
        self.modseq = ModSeq(0)
        self.rows: dict[Uid, Row] = {}

    async def follow(self, index: EmbeddedIndex) -> None:
        complete = False
        while not complete:
            changes = await index.changes(ALICE, INBOX, self.modseq, limit=7)
            for row in changes.rows:
                assert row.modseq > self.modseq
                self.rows[row.uid] = row
            for uid in changes.vanished:
                self.rows.pop(uid, None)
            self.modseq, complete = changes.modseq, changes.complete


async def account_of(account: AccountId) -> Account:
    return Account(account, Address.parse("alice@example.test"), "", True, None, None)


def message(writer: int, number: int) -> NewMessage:
    return NewMessage(
        delivery_key=f"{writer}Q{number}",
        prefix=f"X-Key: {writer}Q{number}\r\n".encode(),
        body=spool_ref(QueueId("BODY")),
        internal_date=WHEN,
    )


def spool_body(state_dir: Path) -> None:
    body = path_of(state_dir, spool_ref(QueueId("BODY")))
    body.parent.mkdir(parents=True)
    body.write_bytes(b"\r\nbody\r\n")
    os.utime(body, (WHEN.timestamp(), WHEN.timestamp()))


@contextmanager
def running(state_dir: Path, writer: int, first: int) -> Iterator["subprocess.Popen[str]"]:
    """A writer from its message `first` on, ended with the block at the latest."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), *map(str, (state_dir, writer, first, MESSAGES))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        try:
            yield process
        finally:
            process.kill()


def write_and_be_killed(state_dir: Path, writer: int) -> dict[int, int]:
    """All messages of one writer; number to UID. Its successor begins with the last that was acknowledged, as a spool
    does that died before it noted that it was done."""
    chance = random.Random(writer)
    acknowledged: dict[int, int] = {}
    for kills_left in range(KILLS, -1, -1):
        stop_after = chance.randint(4, 9) if kills_left else None
        with running(state_dir, writer, max(0, len(acknowledged) - 1)) as process:
            assert process.stdout is not None
            for count, line in enumerate(process.stdout, 1):
                number, uid = map(int, line.split())
                assert acknowledged.setdefault(number, uid) == uid, "a second copy"
                if count == stop_after:
                    process.send_signal(signal.SIGKILL)
                    break
            else:
                assert process.wait() == 0
    return acknowledged


def test_nothing_acknowledged_is_lost_and_a_replica_is_exact(tmp_path: Path) -> None:
    """Whatever is killed in between: each key has one UID, UIDs are without a gap, what is there is what was
    acknowledged and not expunged, counters agree, and who followed the changes has exactly what is there."""
    spool_body(tmp_path)

    async def main() -> None:
        index, replica = EmbeddedIndex(tmp_path, account_of), Replica()
        writers = asyncio.gather(
            *(asyncio.to_thread(write_and_be_killed, tmp_path, writer) for writer in range(WRITERS))
        )
        while not writers.done():
            await replica.follow(index)
            await asyncio.wait([writers], timeout=0.02)
        await replica.follow(index)
        keys = {
            (writer, number): uid
            for writer, acknowledged in enumerate(await writers)
            for number, uid in acknowledged.items()
        }
        assert len(keys) == WRITERS * MESSAGES
        assert sorted(keys.values()) == list(range(1, WRITERS * MESSAGES + 1))
        rows = await index.rows(ALICE, INBOX)
        assert list(rows) == [replica.rows[uid] for uid in sorted(replica.rows)]
        (inbox,) = await index.mailboxes(ALICE)
        assert replica.modseq == inbox.highest_modseq
        vanished = (await index.changes(ALICE, INBOX, ModSeq(0), limit=10_000)).vanished
        assert sorted([row.uid for row in rows] + list(vanished)) == sorted(keys.values())
        stored = await index.messages(ALICE, INBOX, [row.uid for row in rows])
        by_uid = {uid: message(*key).prefix for key, uid in keys.items()}
        assert {uid: one.prefix for uid, one in stored.items()} == {uid: by_uid[uid] for uid in stored}
        for (writer, number), uid in keys.items():
            (again,) = await index.append(ALICE, INBOX, [message(writer, number)])
            assert (again.uid, again.created) == (uid, False)
        assert wrong_with(tmp_path, ALICE) == []
        await index.close()

    asyncio.run(main())
