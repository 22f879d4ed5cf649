"""The spool directory: what lies where, what a start does with it, and what is refused."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded import queue_recovery, queue_room
from maillib.embedded.queue import EmbeddedQueue
from maillib.embedded.queue_check import GRACE_S
from maillib.embedded.queue_files import Folder
from maillib.embedded.queue_recovery import FREE_RECOVERIES
from maillib.errors import ConfigError, Conflict, StoreFull, StoreUnusable, Transient
from maillib.ports.queue import Claim, Envelope, QueueId, QueueItem, QueueState, Recipient

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BODY = b"Subject: x\r\n\r\nbody\r\n"


class Queue(EmbeddedQueue):
    """On a clock that stands still until told."""

    def __init__(self, state_dir: Path, now: datetime = START) -> None:
        self.now = now
        super().__init__(state_dir, clock=lambda: self.now.timestamp())


async def put(queue: EmbeddedQueue, body: bytes = BODY) -> QueueId:
    draft = queue.draft()
    await draft.write(body)
    await draft.commit(
        Envelope(
            sender=None,
            recipients=(Recipient(address=Address.parse("bob@example.test")),),
            queued=START,
            account=None,
            peer="local",
        )
    )
    return draft.id


async def states(queue: EmbeddedQueue) -> dict[QueueId, QueueState]:
    return {item.id: item.state async for item in queue.browse()}


def with_queue(state_dir: Path, promise: Callable[[Queue], Awaitable[None]]) -> None:
    async def main() -> None:
        queue = Queue(state_dir)
        try:
            await promise(queue)
        finally:
            await queue.close()

    asyncio.run(main())


def files(state_dir: Path) -> list[str]:
    """Every file under the spool but the FIFO and spare ones, owners and IDs made plain."""
    paths = [path for path in (state_dir / "spool").rglob("*") if path.is_file() and path.parent.name != "spare"]
    names = [str(path.relative_to(state_dir / "spool")) for path in paths]
    return sorted(re.sub(r"\d+-[0-9a-f]{12}", "OWNER", re.sub(r"[0-9A-Z]{16}", "ID", name)) for name in names)


def test_where_a_message_lies(tmp_path: Path) -> None:
    """The folder that holds ID.json is the state, ID.eml stays where it was, and modes keep others out."""

    async def promise(queue: Queue) -> None:
        await put(queue)
        assert files(tmp_path) == ["incoming/ID.json", "messages/ID.eml"]
        (claim,) = await queue.claim(1)
        assert files(tmp_path) == ["active/OWNER.lock", "active/OWNER/ID.json", "messages/ID.eml"]
        await queue.retry(claim, claim.envelope, START + timedelta(hours=1))
        assert files(tmp_path) == ["active/OWNER.lock", "deferred/ID.json", "messages/ID.eml"]
        (deferred,) = (tmp_path / "spool" / "deferred").iterdir()
        assert deferred.stat().st_mtime == (START + timedelta(hours=1)).timestamp()
        for path in [tmp_path / "spool", *(tmp_path / "spool").rglob("*")]:
            assert path.stat().st_mode & 0o027 == 0
        queue.now += timedelta(hours=1)
        (claim,) = await queue.claim(1)
        await queue.done(claim)
        assert files(tmp_path) == ["active/OWNER.lock"]

    with_queue(tmp_path, promise)
    assert files(tmp_path) == []


def test_a_draft_leaves_nothing(tmp_path: Path) -> None:
    """An aborted draft leaves no file, large or small."""

    async def promise(queue: Queue) -> None:
        for octets in (10, 1_000_000):
            draft = queue.draft()
            await draft.write(b"x" * octets)
            await draft.abort()
            assert files(tmp_path) == []

    with_queue(tmp_path, promise)


def test_claims_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    """A second spool takes nothing of what the first one still holds; once the first has let go, it does."""

    async def promise(first: Queue) -> None:
        await put(first)
        (claim,) = await first.claim(1)
        second = Queue(tmp_path)
        assert await second.claim(1) == []
        await first.release(claim)
        await second.wait(60)
        assert await second.claim(1) == [claim]
        await second.close()

    with_queue(tmp_path, promise)


CLAIMER = """
import asyncio, sys
from pathlib import Path
from maillib.embedded.queue import EmbeddedQueue

async def main():
    queue = EmbeddedQueue(Path(sys.argv[1]))
    claims = await queue.claim(10)
    print(*(claim.id for claim in claims), flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


def claim_and_die(state_dir: Path) -> list[str]:
    """What a process claimed that was then killed."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIMER, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        claimed = process.stdout.readline().split()
        process.kill()
    return claimed


def test_claims_die_with_their_process(tmp_path: Path) -> None:
    """What a killed process had is claimed by the next one, and nothing is left of the dead."""

    async def fill(queue: Queue) -> None:
        await put(queue)
        await put(queue)

    with_queue(tmp_path, fill)
    claimed = claim_and_die(tmp_path)
    assert len(claimed) == 2

    async def promise(queue: Queue) -> None:
        assert [claim.id for claim in await queue.claim(10)] == claimed
        assert files(tmp_path).count("active/OWNER.lock") == 1

    with_queue(tmp_path, promise)


def test_claims_whose_lock_was_removed(tmp_path: Path) -> None:
    """Claims of a dead process are found though somebody has removed its lock, and odd files in them stop no other."""

    async def fill(queue: Queue) -> None:
        await put(queue)

    with_queue(tmp_path, fill)
    claimed = claim_and_die(tmp_path)
    (lock,) = (tmp_path / "spool" / "active").glob("*.lock")
    lock.unlink()
    (tmp_path / "spool" / "active" / "0-000000000000" / "x").mkdir(parents=True)

    async def promise(queue: Queue) -> None:
        assert [claim.id for claim in await queue.claim(10)] == claimed

    with_queue(tmp_path, promise)


def test_message_that_kills_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some deaths a message waits, longer each time, and in the end it is set aside; others are not held up."""
    last = FREE_RECOVERIES + 2
    monkeypatch.setattr(queue_recovery, "LAST_RECOVERY", last)

    async def fill(queue: Queue) -> None:
        await put(queue)

    with_queue(tmp_path, fill)
    now, waits = START, []
    for death in range(1, last + 1):
        assert len(claim_and_die(tmp_path)) == 1

        async def look(queue: Queue) -> QueueItem:
            await queue.claim(0)
            (item,) = [item async for item in queue.browse()]
            await queue.close()
            return item

        item = asyncio.run(look(Queue(tmp_path, now)))
        if death <= FREE_RECOVERIES:
            assert item.state is QueueState.INCOMING
            continue
        assert item.next_attempt is not None
        waits.append(item.next_attempt - now)
        os.utime(tmp_path / "spool" / "deferred" / f"{item.id}.json", (0, 0))  # the wait is over
    assert waits == [timedelta(minutes=1), timedelta(minutes=2)]
    assert len(claim_and_die(tmp_path)) == 1

    async def promise(queue: Queue) -> None:
        assert await queue.claim(1) == []
        assert list((await states(queue)).values()) == [QueueState.CORRUPT]
        other = await put(queue)
        assert [claim.id for claim in await queue.claim(2)] == [other]

    with_queue(tmp_path, promise)


def test_progress_forgives_deaths(tmp_path: Path) -> None:
    """A message that was tried to the end is no suspect any more."""

    async def promise(queue: Queue) -> None:
        await put(queue)

    with_queue(tmp_path, promise)
    claim_and_die(tmp_path)

    async def again(queue: Queue) -> None:
        (claim,) = await queue.claim(1)
        (path,) = (tmp_path / "spool" / "active").glob("*/*.json")
        assert '"recoveries": 1' in path.read_text()
        await queue.update(claim, claim.envelope)
        assert '"recoveries": 0' in path.read_text()

    with_queue(tmp_path, again)


def damage_json(spool: Path, queue_id: QueueId) -> None:
    (spool / "incoming" / f"{queue_id}.json").write_bytes(b'{"version": 1, "id"')


def empty_json(spool: Path, queue_id: QueueId) -> None:
    (spool / "incoming" / f"{queue_id}.json").write_bytes(b"")


def link_json(spool: Path, queue_id: QueueId) -> None:
    path = spool / "incoming" / f"{queue_id}.json"
    path.rename(spool.parent / "elsewhere.json")
    path.symlink_to(spool.parent / "elsewhere.json")


def remove_body(spool: Path, queue_id: QueueId) -> None:
    (spool / "messages" / f"{queue_id}.eml").unlink()


def cut_body(spool: Path, queue_id: QueueId) -> None:
    os.truncate(spool / "messages" / f"{queue_id}.eml", 3)


def link_body(spool: Path, queue_id: QueueId) -> None:
    path = spool / "messages" / f"{queue_id}.eml"
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    "damage",
    [damage_json, empty_json, link_json, remove_body, cut_body, link_body],
    ids=lambda f: f.__name__,
)
def test_damaged_message_is_set_aside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: Callable[[Path, QueueId], None]
) -> None:
    """A damaged message is neither claimed nor lost: it is moved to corrupt/, the log says why, the rest goes on."""

    async def promise(queue: Queue) -> None:
        damaged, whole = await put(queue), await put(queue)
        damage(tmp_path / "spool", damaged)
        assert [claim.id for claim in await queue.claim(10)] == [whole]
        assert await states(queue) == {damaged: QueueState.CORRUPT, whole: QueueState.ACTIVE}
        assert f"set-aside queue_id={damaged}" in capfd.readouterr().err
        item = await queue.show(damaged)
        assert (item.id, item.state) == (damaged, QueueState.CORRUPT)
        with pytest.raises(StoreUnusable):
            await queue.retry_now(damaged)
        (finding,) = (await queue.check()).damaged
        assert finding.startswith(damaged)
        await queue.remove(damaged)
        assert await states(queue) == {whole: QueueState.ACTIVE}

    with_queue(tmp_path, promise)


def test_repaired_message_can_be_tried_again(tmp_path: Path) -> None:
    """What was set aside and is whole again is delivered after `retry_now`."""

    async def promise(queue: Queue) -> None:
        queue_id = await put(queue)
        body = tmp_path / "spool" / "messages" / f"{queue_id}.eml"
        body.rename(tmp_path / "aside")
        assert await queue.claim(1) == []
        (tmp_path / "aside").rename(body)
        await queue.retry_now(queue_id)
        await queue.wait(60)
        assert [claim.id for claim in await queue.claim(1)] == [queue_id]

    with_queue(tmp_path, promise)


def test_held_message(tmp_path: Path) -> None:
    """An envelope moved to hold/ by hand is listed, not tried, and released by `retry_now`."""

    async def promise(queue: Queue) -> None:
        queue_id = await put(queue)
        (tmp_path / "spool" / "incoming" / f"{queue_id}.json").rename(tmp_path / "spool" / "hold" / f"{queue_id}.json")
        assert await queue.claim(1) == []
        assert await states(queue) == {queue_id: QueueState.HOLD}
        await queue.retry_now(queue_id)
        await queue.wait(60)
        assert [claim.id for claim in await queue.claim(1)] == [queue_id]

    with_queue(tmp_path, promise)


def test_leftovers_are_removed_after_their_grace(tmp_path: Path) -> None:
    """What crashes left is removed once it is old and nobody's; queued messages and drafts are never touched."""

    async def promise(queue: Queue) -> None:
        spool = tmp_path / "spool"
        kept = [await put(queue), await put(queue)]
        (claim, _) = await queue.claim(2)
        await queue.retry(claim, claim.envelope, START + timedelta(hours=20))
        draft = queue.draft()
        await draft.write(b"x" * 100_000)
        orphans = ["messages/A1.eml", "messages/A2.eml.tmp", "incoming/A1.json.tmp", "active/1-00.lock.tmp"]
        for name in orphans:
            (spool / name).write_bytes(b"x")
        everything = files(tmp_path)
        assert (await queue.check()).removed == ()
        for path in (spool / "messages").iterdir():
            os.utime(path, (0, 0))
        for name in orphans:
            os.utime(spool / name, (0, 0))
        assert sorted((await queue.check()).removed) == sorted(orphans)
        assert set(everything) - set(files(tmp_path)) == set(orphans)
        assert set(await states(queue)) == set(kept)
        await draft.abort()

    with_queue(tmp_path, promise)
    assert GRACE_S == 3600


def test_start_reads_no_envelope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start with many deferred messages opens none of them, and a new message is claimed at once."""
    deferred = tmp_path / "spool" / "deferred"

    async def promise(queue: Queue) -> None:
        later = (START + timedelta(hours=1)).timestamp()
        for number in range(2000):
            path = deferred / f"{number:016d}.json"
            path.touch()
            os.utime(path, (later, later))
        read: list[str] = []
        whole = Folder.read

        def spy(folder: Folder, name: str) -> bytes:
            read.append(name)
            return whole(folder, name)

        monkeypatch.setattr(Folder, "read", spy)
        assert await queue.claim(10) == []
        queue_id = await put(queue)
        await queue.wait(60)
        assert [claim.id for claim in await queue.claim(10)] == [queue_id]
        assert len(read) == 1

    with_queue(tmp_path, promise)


def test_full_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the reserve a message is refused as StoreFull, nothing is left of it, and mail flows again with space."""

    async def promise(queue: Queue) -> None:
        monkeypatch.setattr(queue_room, "RESERVE_OCTETS", 2**70)
        with pytest.raises(StoreFull):
            await put(queue)
        assert files(tmp_path) == []
        monkeypatch.undo()
        await put(queue)
        assert files(tmp_path) == ["incoming/ID.json", "messages/ID.eml"]

    with_queue(tmp_path, promise)


@pytest.mark.parametrize("call", ["fsync", "write", "rename"])
def test_failing_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Whichever call fails in a commit, the client is told so and no half of the message is left or delivered."""
    original = getattr(os, call)
    calls = 0

    async def promise(queue: Queue) -> None:
        nonlocal calls
        for failing in range(1, 5):
            calls = 0

            def fail(*arguments: object, failing: int = failing, **more: object) -> object:
                nonlocal calls
                calls += 1
                if calls == failing:
                    raise OSError(28, "No space left on device")
                return original(*arguments, **more)

            monkeypatch.setattr(os, call, fail)
            draft = queue.draft()
            try:
                await draft.write(b"x" * 100_000)
                await draft.commit(
                    Envelope(
                        sender=None,
                        recipients=(Recipient(address=Address.parse("bob@example.test")),),
                        queued=START,
                        account=None,
                        peer="local",
                    )
                )
            except StoreFull:
                await draft.abort()
                assert files(tmp_path) == []
            else:
                assert calls < failing
                monkeypatch.undo()
                await queue.remove(draft.id)
            monkeypatch.undo()

    with_queue(tmp_path, promise)


def test_no_room_for_progress_keeps_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When an envelope cannot be rewritten, the message waits all the same, as it was."""

    async def promise(queue: Queue) -> None:
        await put(queue)
        (claim,) = await queue.claim(1)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        tried = Recipient(address=Address.parse("bob@example.test"), attempts=1)
        changed = Envelope(sender=None, recipients=(tried,), queued=START, account=None, peer="local")
        with pytest.raises(StoreFull):
            await queue.update(claim, changed)
        await queue.retry(claim, changed, START + timedelta(minutes=5))
        monkeypatch.undo()
        queue.now += timedelta(minutes=5)
        assert await queue.claim(1) == [claim]

    with_queue(tmp_path, promise)


def test_lost_owner_folder_is_no_silence(tmp_path: Path) -> None:
    """When somebody removes the folder of claims, the claimer says so instead of finding nothing for ever."""

    async def promise(queue: Queue) -> None:
        assert await queue.claim(1) == []
        for path in (tmp_path / "spool" / "active").glob("*-*"):
            if path.is_dir():
                path.rmdir()
        await put(queue)
        await queue.wait(60)
        with pytest.raises(Transient):
            await queue.claim(1)
        assert list((await states(queue)).values()) == [QueueState.INCOMING]
        for lock in (tmp_path / "spool" / "active").glob("*.lock"):
            lock.with_suffix("").mkdir()

    with_queue(tmp_path, promise)


def test_taken_ids_are_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should an ID come up twice, the second message is refused and the first one unharmed."""
    monkeypatch.setattr("maillib.embedded.queue.new_id", lambda now_s: QueueId("SAME"))

    async def promise(queue: Queue) -> None:
        await put(queue)
        with pytest.raises(Transient):
            await put(queue, b"other")
        assert (tmp_path / "spool" / "messages" / "SAME.eml").read_bytes() == BODY
        draft = queue.draft()
        with pytest.raises(Transient):
            await draft.write(b"x" * 100_000)
        await draft.abort()
        claims: list[Claim] = list(await queue.claim(2))
        assert [claim.size_octets for claim in claims] == [len(BODY)]

    with_queue(tmp_path, promise)


def test_several_queues_share_the_work(tmp_path: Path) -> None:
    """Two claimers never get the same message, and between them they get all."""

    async def promise(first: Queue) -> None:
        second = Queue(tmp_path)
        ids = [await put(first) for _ in range(30)]
        batches = [await asyncio.gather(first.claim(5), second.claim(5)) for _ in range(8)]
        claims = [claim.id for pair in batches for batch in pair for claim in batch]
        assert sorted(claims) == sorted(ids)
        with pytest.raises(Conflict):
            await second.remove(ids[0])
        await second.close()

    with_queue(tmp_path, promise)


def test_foreign_spool_is_refused(tmp_path: Path) -> None:
    """A spool that others may write to, or that is a link, is not used."""
    with_queue(tmp_path, put)  # type: ignore[arg-type]
    for folder in ("spool", "spool/incoming", "spool/messages"):
        for mode in (0o770, 0o757):
            (tmp_path / folder).chmod(mode)
            with pytest.raises(ConfigError):
                EmbeddedQueue(tmp_path)
            (tmp_path / folder).chmod(0o750)
    (tmp_path / "spool" / "deferred").rename(tmp_path / "elsewhere")
    (tmp_path / "spool" / "deferred").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        EmbeddedQueue(tmp_path)


def test_wake_is_a_fifo_or_nothing(tmp_path: Path) -> None:
    """A file in place of the FIFO is refused and not written to."""
    with_queue(tmp_path, put)  # type: ignore[arg-type]
    wake = tmp_path / "spool" / "wake"
    wake.unlink()
    wake.write_bytes(b"")
    with pytest.raises(ConfigError):
        EmbeddedQueue(tmp_path)
    assert wake.read_bytes() == b""


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    """Files that are no messages, and a message that is in two folders, are named; a message that moves is not."""

    async def promise(queue: Queue) -> None:
        spool = tmp_path / "spool"
        twice, whole = await put(queue), await put(queue)
        assert len(await queue.claim(2)) == 2
        (active,) = (spool / "active").glob(f"*/{twice}.json")
        (spool / "deferred" / active.name).write_bytes(active.read_bytes())
        (spool / "incoming" / f"{whole}.json~").touch()
        (spool / "notes.txt").touch()
        (spool / "messages" / "core").touch()
        (spool / "active" / "x.json").touch()
        damaged = (await queue.check()).damaged
        assert sorted(damaged) == sorted(
            [
                f"{twice} is in {active.parent.relative_to(spool)} and in deferred: remove one of the two",
                f"incoming/{whole}.json~ is no file of the spool",
                "notes.txt is no file of the spool",
                "messages/core is no file of the spool",
                "active/x.json is no file of the spool",
            ]
        )

    with_queue(tmp_path, promise)


def test_sweep_spares_what_is_being_made_again(tmp_path: Path) -> None:
    """The body of a notification whose message is still queued is left alone: it may be in the making just now."""

    async def promise(queue: Queue) -> None:
        queue_id = await put(queue)
        orphan = tmp_path / "spool" / "messages" / f"{queue_id}B1.eml"
        orphan.touch()
        os.utime(orphan, (0, 0))
        assert (await queue.check()).removed == ()
        await queue.remove(queue_id)
        assert (await queue.check()).removed == (f"messages/{orphan.name}",)

    with_queue(tmp_path, promise)


def test_sweep_follows_no_link(tmp_path: Path) -> None:
    """Old links and folders under the names of bodies are neither followed nor a reason to stop."""
    target = tmp_path / "target"
    target.touch()
    os.utime(target, (0, 0))

    async def promise(queue: Queue) -> None:
        messages = tmp_path / "spool" / "messages"
        (messages / "A1.eml").symlink_to(target)
        (messages / "A2.eml").mkdir()
        (messages / "A3.eml").touch()
        for name in ("A1.eml", "A2.eml", "A3.eml"):
            os.utime(messages / name, (0, 0), follow_symlinks=False)
        assert (await queue.check()).removed == ("messages/A3.eml",)
        assert target.exists()

    with_queue(tmp_path, promise)


def test_folders_cannot_be_exchanged(tmp_path: Path) -> None:
    """What is put in the place of a folder while a process works is not written to."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    async def promise(queue: Queue) -> None:
        for name in ("messages", "incoming"):
            folder = tmp_path / "spool" / name
            folder.rename(tmp_path / name)
            folder.symlink_to(elsewhere)
        queue_id = await put(queue)
        assert list(elsewhere.iterdir()) == []
        assert (tmp_path / "incoming" / f"{queue_id}.json").exists()

    with_queue(tmp_path, promise)


def test_a_folder_that_cannot_be_made() -> None:
    """A state directory that cannot be written is a clear error about the configuration, not one worth a retry."""
    with pytest.raises(ConfigError, match=r"^/sys/spool: "):  # not even root makes a folder there
        EmbeddedQueue(Path("/sys"))
