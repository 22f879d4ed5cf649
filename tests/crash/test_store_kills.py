"""SIGKILL before every single system call and statement of a delivery and of an expunge.

A forked child does the work and kills itself at its Nth step; then the same call is made again, as the spool or a POP
session would. N grows until the child gets through.
"""

import errno
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maillib.embedded.account_check import check_account
from maillib.embedded.account_index import AccountIndex
from maillib.embedded.blobs import path_of, spool_ref
from maillib.message.received import received_from_here
from maillib.ports.directory import AccountId
from maillib.ports.index import INBOX, Appended, NewMessage, Uid
from maillib.ports.queue import QueueId
from tests.support.kills import dies_at

ALICE = AccountId(1)
WHEN = datetime(2024, 2, 29, tzinfo=UTC)


@contextmanager
def opened(state_dir: Path) -> Iterator[AccountIndex]:
    index = AccountIndex(state_dir, ALICE)
    try:
        yield index
    finally:
        index.close()


def octets(queue_id: str) -> bytes:
    """As every body in the spool begins."""
    return received_from_here(hostname="mail.example.test", queue_id=queue_id, when=WHEN)


def spooled(state_dir: Path, *queue_ids: str) -> list[NewMessage]:
    """Bodies in the spool, one for each ID."""
    messages = []
    for queue_id in queue_ids:
        body = spool_ref(QueueId(queue_id))
        path = path_of(state_dir, body)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets(queue_id))
        messages.append(NewMessage(delivery_key=f"{queue_id}/alice", prefix=b"P", body=body, internal_date=WHEN))
    return messages


def append(index: AccountIndex, messages: list[NewMessage]) -> list[Appended]:
    return index.append(INBOX, messages, owner="alice", quota_octets=None)


def stored(index: AccountIndex) -> dict[Uid, bytes]:
    """Every message by its UID, with its octets, when nothing is wrong and no file is there that is nobody's."""
    assert check_account(index) == []
    bodies = {
        row.uid: path_of(index.path.parents[1], index.messages(INBOX, [row.uid])[row.uid].body).read_bytes()
        for row in index.rows(INBOX)
    }
    assert len(list((index.path / "1").iterdir())) == len(bodies)
    return bodies


@pytest.mark.parametrize("linking", [True, False], ids=["link", "copy"])
def test_delivery_killed_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linking: bool) -> None:
    """A delivery killed anywhere and tried again with the same keys is there exactly once, from a new account on."""
    if not linking:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(os, "link", refuse)
    for step in itertools.count(1):
        state_dir = tmp_path / str(step)
        (state_dir / "mail").mkdir(parents=True)
        messages = spooled(state_dir, "A", "B")
        acknowledged = state_dir / "acknowledged"

        def deliver(state_dir: Path = state_dir, messages: list[NewMessage] = messages) -> None:
            with opened(state_dir) as index:
                append(index, messages)
                (state_dir / "acknowledged").touch()

        killed = dies_at(step, deliver)
        with opened(state_dir) as index:
            assert check_account(index) == []
            seen = [row.uid for row in index.rows(INBOX)]
            assert seen in ([], [1, 2])
            again = append(index, messages)
            assert [answer.uid for answer in again] == [1, 2]
            assert {answer.created for answer in again} == {not seen}
            if acknowledged.exists():
                assert seen == [1, 2]
            assert stored(index) == {1: octets("A"), 2: octets("B")}
        if not killed:
            break
    assert step > 40


def test_second_delivery_after_a_killed_one(tmp_path: Path) -> None:
    """What a killed delivery left behind never shows up as somebody else's message."""
    for step in itertools.count(1):
        state_dir = tmp_path / str(step)
        (state_dir / "mail").mkdir(parents=True)
        killed_one, later = spooled(state_dir, "A", "B"), spooled(state_dir, "C", "D", "E")
        with opened(state_dir) as index:
            append(index, spooled(state_dir, "OLD"))

        def deliver(state_dir: Path = state_dir, messages: list[NewMessage] = killed_one) -> None:
            with opened(state_dir) as index:
                append(index, messages)

        killed = dies_at(step, deliver)
        with opened(state_dir) as index:
            append(index, later)
            found = stored(index)
            assert found.pop(Uid(1)) == octets("OLD")
            assert [*found.values()] in ([octets(one) for one in "CDE"], [octets(one) for one in "ABCDE"])
        if not killed:
            break
    assert step > 20


def test_move_killed_at_every_step(tmp_path: Path) -> None:
    """Of a message that was being moved no second copy comes up, also once it has gone from where it was."""
    for step in itertools.count(1):
        state_dir = tmp_path / str(step)
        (state_dir / "mail").mkdir(parents=True)
        with opened(state_dir) as index:
            index.create("Other", None)
            append(index, spooled(state_dir, "A", "B"))

        def move(state_dir: Path = state_dir) -> None:
            with opened(state_dir) as index:
                assert len(index.move(INBOX, [Uid(1), Uid(2)], "Other").uids) == 2

        for path in (state_dir / "spool" / "messages").iterdir():
            path.unlink()
        killed = dies_at(step, move)
        with opened(state_dir) as index:
            moved = [row.uid for row in index.rows("Other")]
            assert (moved, [row.uid for row in index.rows(INBOX)]) in (([], [1, 2]), ([1, 2], []))
            index.expunge(INBOX, [Uid(1), Uid(2)])
            assert check_account(index) == []
            assert len(list((index.path / "2").iterdir())) == len(moved)
        if not killed:
            break
    assert step > 20


def test_expunge_killed_at_every_step(tmp_path: Path) -> None:
    """An expunge killed anywhere removed all or nothing, and tried again leaves no file of what it removed."""
    for step in itertools.count(1):
        state_dir = tmp_path / str(step)
        (state_dir / "mail").mkdir(parents=True)
        with opened(state_dir) as index:
            append(index, spooled(state_dir, "A", "B", "C"))

        def expunge(state_dir: Path = state_dir) -> None:
            with opened(state_dir) as index:
                assert index.expunge(INBOX, [Uid(1), Uid(3)]).uids == [1, 3]

        killed = dies_at(step, expunge)
        with opened(state_dir) as index:
            assert stored(index) in ({1: octets("A"), 2: octets("B"), 3: octets("C")}, {2: octets("B")})
            index.expunge(INBOX, [Uid(1), Uid(3)])
            assert stored(index) == {2: octets("B")}
        if not killed:
            break
    assert step > 20
