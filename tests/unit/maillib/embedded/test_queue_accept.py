"""Accepting and publishing: what is on disk when, whom a failure hurts, and that nothing half-written stays."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded import queue_publish, queue_room
from maillib.embedded.queue import EmbeddedQueue
from maillib.embedded.queue_accept import NewMessage, begin_body
from maillib.embedded.queue_envelope import StoredEnvelope
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_publish import publish
from maillib.embedded.queue_room import Room
from maillib.errors import StoreFull, Transient
from maillib.ports.queue import Envelope, QueueId, Recipient
from tests.support.accepting import accept

BODY = b"Subject: x\r\n\r\nbody\r\n"
ENVELOPE = Envelope(
    sender=None,
    recipients=(Recipient(address=Address.parse("bob@example.test")),),
    queued=datetime(2026, 3, 1, 12, 0, 7, 900_000, tzinfo=UTC),
    account=None,
    peer="local",
)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[SpoolFolders]:
    folders = SpoolFolders(tmp_path)
    yield folders
    folders.close()


def message(number: int, fd: int | None = None, *, again: bool = False) -> NewMessage:
    stored = StoredEnvelope(id=QueueId(f"M{number}"), envelope=ENVELOPE, size_octets=len(BODY))
    return NewMessage(stored=stored, octets=BODY, fd=fd, again=again)


def files(folders: SpoolFolders) -> list[str]:
    return sorted([*folders.messages.names(), *folders.incoming.names()])


def free(*, octets: int = 2**30, inodes: int = 1000, free_inodes: int = 1000, flags: int = 0) -> os.statvfs_result:
    """What a file system says of itself."""
    return os.statvfs_result((1, 1, octets, octets, octets, inodes, free_inodes, free_inodes, flags, 255))


class Calls:
    """The calls that matter for durability, by the file they are about, in their order; it can let one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.fails: Callable[[str], bool] = lambda call: False
        for name in ("fsync", "rename", "write"):
            monkeypatch.setattr(os, name, self._spied(name, getattr(os, name)))

    def _spied(self, name: str, original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **more: object) -> object:
            about = arguments[-1] if name == "rename" else Path(f"/proc/self/fd/{arguments[0]}").readlink().name
            self.made.append(f"{name} {about}")
            if self.fails(self.made[-1]):
                raise OSError(28, "No space left on device")
            return original(*arguments, **more)

        return call


def test_order_of_syncs(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies, then their folder, then envelopes, then the renames that make messages of them, then that folder."""
    calls = Calls(monkeypatch)
    long = begin_body(folders, QueueId("M2"), again=False)
    assert accept(folders, message(1), message(2, long)) == [None, None]
    durable = [call for call in calls.made if not call.startswith("write") and not call.endswith(".eml")]
    assert durable[-5:] == [
        "fsync M1.json.tmp",
        "fsync M2.json.tmp",
        "rename M1.json",
        "rename M2.json",
        "fsync incoming",
    ]
    bodies = [
        call for call in calls.made if call.startswith(("fsync", "rename")) and call.endswith((".eml", "messages"))
    ]
    assert bodies == ["rename M1.eml", "rename M2.eml", "fsync M1.eml", "fsync M2.eml", "fsync messages"]
    assert calls.made.index("fsync messages") < calls.made.index("fsync M1.json.tmp")
    assert files(folders) == ["M1.eml", "M1.json", "M2.eml", "M2.json"]


@pytest.mark.parametrize(
    "failing",
    ["write M1.eml.tmp", "write M1.json.tmp", "rename M1.eml", "fsync M1.eml", "fsync M1.json.tmp", "rename M1.json"],
)
def test_a_failure_is_its_own(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """What fails one message of a batch leaves nothing of it and fails no other."""
    calls = Calls(monkeypatch)
    calls.fails = lambda call: call == failing
    errors = accept(folders, message(0), message(1), message(2))
    assert [type(error) for error in errors] == [type(None), StoreFull, type(None)]
    assert failing in calls.made
    assert files(folders) == ["M0.eml", "M0.json", "M2.eml", "M2.json"]


@pytest.mark.parametrize("failing", ["fsync messages", "fsync incoming"])
def test_a_folder_that_cannot_be_synced(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """When names may not be on disk, no message of the batch is ours and nothing of any stays."""
    calls = Calls(monkeypatch)
    calls.fails = lambda call: call == failing
    assert [type(error) for error in accept(folders, message(0), message(1))] == [StoreFull, StoreFull]
    assert files(folders) == []


def test_no_room_for_all(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch for which the room does not suffice, as many are taken as fit."""
    monkeypatch.setattr(queue_room, "RESERVE_OCTETS", 0)
    one = len(BODY) + 4096
    left = iter((2 * one, one, 0))
    monkeypatch.setattr(os, "statvfs", lambda _: free(octets=next(left)))
    errors = accept(folders, message(0), message(1), message(2))
    assert [type(error) for error in errors] == [type(None), type(None), StoreFull]
    assert files(folders) == ["M0.eml", "M0.json", "M1.eml", "M1.json"]


def test_no_inodes(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last inodes are kept too; a file system that does not count them is taken at its word."""
    counted = free(inodes=1000, free_inodes=queue_room.RESERVE_INODES + 1)
    monkeypatch.setattr(os, "statvfs", lambda _: counted)
    room = Room(folders.messages)
    room.look()
    with pytest.raises(StoreFull):
        room.ask(1)
    monkeypatch.setattr(os, "statvfs", lambda _: free(inodes=0, free_inodes=0))
    room.look()
    room.ask(1)


def test_read_only(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that can only be read is no matter of space: nothing is accepted, and the error says why."""
    monkeypatch.setattr(os, "statvfs", lambda _: free(flags=os.ST_RDONLY))
    errors = accept(folders, message(1, begin_body(folders, QueueId("M1"), again=False)), message(2))
    assert [type(error) for error in errors] == [Transient, Transient]
    assert all("read-only" in str(error) for error in errors)
    assert files(folders) == []


def test_time_of_a_body(folders: SpoolFolders) -> None:
    """The body's time is when the message was queued, in whole seconds: an index made anew finds it there."""
    accept(folders, message(1))
    assert folders.messages.status("M1.eml").st_mtime == int(ENVELOPE.queued.timestamp())


def test_taken_id(folders: SpoolFolders) -> None:
    """A second message under an ID is refused, in the same batch too, and the first one is unharmed."""
    errors = accept(folders, message(1), replace(message(1), octets=b"other"))
    assert [type(error) for error in errors] == [type(None), Transient]
    assert (folders.messages.path / "M1.eml").read_bytes() == BODY
    assert files(folders) == ["M1.eml", "M1.json"]


def test_again_after_a_broken_attempt(folders: SpoolFolders) -> None:
    """A given ID is accepted over the leftovers of an attempt that was broken off, and only once."""
    for name in ("M1.eml", "M1.eml.tmp"):
        (folders.messages.path / name).write_bytes(b"half")
    (folders.incoming.path / "M1.json.tmp").write_bytes(b"half")
    assert accept(folders, message(1, again=True)) == [None]
    assert accept(folders, replace(message(1, again=True), octets=b"other")) == [None]
    assert (folders.messages.path / "M1.eml").read_bytes() == BODY
    assert files(folders) == ["M1.eml", "M1.json"]


def test_only_the_folders(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a message that an earlier attempt has queued, the folders are synced, and nothing else."""
    assert accept(folders, message(1, again=True)) == [None]
    calls = Calls(monkeypatch)
    assert accept(folders, message(1, again=True)) == [None]
    assert calls.made == ["fsync messages", "fsync incoming"]


def test_commits_come_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages committed at the same moment are published together; a large one does not stay in memory."""
    sizes = tmp_path / "sizes"

    def noted(folders: SpoolFolders, ids: Sequence[str]) -> list[int]:
        with sizes.open("a") as file:
            file.write(f"{len(ids)}\n")
        return publish(folders, ids)

    async def main() -> None:
        queue = EmbeddedQueue(tmp_path)
        drafts = [queue.draft() for _ in range(16)]
        for draft in drafts:
            await draft.write(BODY)
        assert list((tmp_path / "spool" / "messages").iterdir()) == []
        large = queue.draft()
        await large.write(b"x" * 100_000)
        assert [path.name for path in (tmp_path / "spool" / "messages").iterdir()] == [f"{large.id}.eml.tmp"]
        await asyncio.gather(*(draft.commit(ENVELOPE) for draft in drafts))
        await large.commit(ENVELOPE)
        await queue.close()

    monkeypatch.setattr(queue_publish, "publish", noted)
    asyncio.run(main())
    assert sizes.read_text().split() == ["16", "1"]
