"""References and paths of the embedded engine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from maillib.embedded.blobs import EmbeddedBlobs, mail_ref, path_of, spool_ref
from maillib.errors import NotFound, StoreUnusable, Transient
from maillib.ports.blobs import BlobRef
from maillib.ports.directory import AccountId
from maillib.ports.index import MailboxId, Uid
from maillib.ports.queue import QueueId

STATE = Path("/state")


def test_places() -> None:
    """Each kind of reference has its one place."""
    assert path_of(STATE, spool_ref(QueueId("0Ab9"))) == STATE / "spool/messages/0Ab9.eml"
    ref = mail_ref(AccountId(7), MailboxId(3), Uid(42))
    assert path_of(STATE, ref) == STATE / "mail/7/3/0000000042.eml"
    assert path_of(STATE, BlobRef("loose:" + "a" * 32)) == STATE / "mail/loose" / ("a" * 32 + ".eml")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spool:",
        "spool:..",
        "spool:a/b",
        "spool:a.b",
        "spool:é",
        "spool:" + "A" * 33,
        "spool:A\n",
        "spool:A\0",
        "SPOOL:A",
        " spool:A",
        "mail:1/2",
        "mail:1/2/3/4",
        "mail:0/1/1",
        "mail:01/1/1",
        "mail:-1/1/1",
        "mail:1/../1",
        "mail:١/1/1",
        "mail:1/1/99999999999",
        "loose:../x",
        "loose:" + "A" * 32,
        "/etc/passwd",
    ],
)
def test_no_other_text_is_a_reference(text: str) -> None:
    """Anything but the exact syntax is refused."""
    with pytest.raises(NotFound):
        path_of(STATE, BlobRef(text))


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """A body is a file, never a pointer to one elsewhere."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link = path_of(tmp_path, spool_ref(QueueId("A")))
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)

    async def main() -> None:
        blobs = EmbeddedBlobs(tmp_path)
        with pytest.raises(Transient):
            await blobs.get(spool_ref(QueueId("A")), 0, 6)
        with pytest.raises(StoreUnusable):
            await blobs.size(spool_ref(QueueId("A")))
        await blobs.close()

    asyncio.run(main())


def test_a_cancelled_put_leaves_nothing(tmp_path: Path) -> None:
    """A client that goes away in the middle leaves no file."""

    async def main() -> None:
        blobs = EmbeddedBlobs(tmp_path)
        asked = asyncio.Event()

        async def stalls() -> AsyncIterator[bytes]:
            yield b"half"
            asked.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(blobs.put(stalls()))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list((tmp_path / "mail/loose").iterdir()) == []
        await blobs.close()

    asyncio.run(main())
