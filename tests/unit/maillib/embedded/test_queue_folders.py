"""The spool directory: what lies where, what is set aside, and what is refused."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from maillib.embedded.queue import EmbeddedQueue
from maillib.errors import ConfigError, StoreUnusable
from maillib.ports.queue import QueueId, QueueState
from tests.support.spool_on_disk import START, Queue, files, put, states, with_queue


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
