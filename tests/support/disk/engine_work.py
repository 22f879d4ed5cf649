"""What one engine does alone, to be traced: `python engine_work.py ENGINE STATE_DIR`.

Says `stored PATH` of what has to be safe. `prepare` makes what `index` finds, a spool with two bodies; `forget`
removes an alias.
"""

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs, spool_ref
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.index import EmbeddedIndex
from maillib.embedded.queue import EmbeddedQueue
from maillib.ports.directory import Account, AccountId, RemoveAlias
from maillib.ports.index import INBOX, NewMessage, Uid
from maillib.ports.queue import Envelope, QueueId, Recipient

ACCOUNT = AccountId(1)
GONE = "gone@example.test"
"""The alias that `forget` removes."""


def prepare(state_dir: Path) -> None:
    messages = state_dir / "spool" / "messages"
    messages.mkdir(parents=True)
    for name in ("LINKED", "COPIED"):
        body = messages / f"{name}.eml"
        body.write_bytes(b"Subject: x\r\n\r\nbody\r\n")
        os.utime(body, (0, 0))  # not the message's date, whenever this runs


def stored(path: str) -> None:
    os.write(1, f"stored {path}\n".encode())


def no_link(*_: object, **__: object) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


async def index(state_dir: Path) -> None:
    """Deliveries by a link and by a copy; a mailbox that is made, filled by COPY and MOVE, and deleted; an expunge."""

    async def account_of(account: AccountId) -> Account:
        address = Address.parse("alice@example.test")
        return Account(id=account, address=address, name="", enabled=True, protocols=None, quota_octets=None)

    engine = EmbeddedIndex(state_dir, account_of)
    for name in ("LINKED", "COPIED"):
        message = NewMessage(
            delivery_key=f"{name}:1", prefix=b"", body=spool_ref(QueueId(name)), internal_date=datetime.now(UTC)
        )
        await engine.append(ACCOUNT, INBOX, [message])
        stored(f"mail/{ACCOUNT}/index.sqlite3-wal")
        os.link = no_link
    made = await engine.create(ACCOUNT, "Archive")
    for change in (engine.copy, engine.move):
        await change(ACCOUNT, INBOX, [Uid(1)], made.id)
        stored(f"mail/{ACCOUNT}/index.sqlite3-wal")
    await engine.delete(ACCOUNT, "Archive")
    stored(f"mail/{ACCOUNT}/index.sqlite3-wal")
    await engine.expunge(ACCOUNT, INBOX, [row.uid for row in await engine.rows(ACCOUNT, INBOX)])
    stored(f"mail/{ACCOUNT}/index.sqlite3-wal")
    await engine.close()


async def blobs(state_dir: Path) -> None:
    """A body that comes in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number * 1000

    engine = EmbeddedBlobs(state_dir)
    reference = await engine.put(pieces())
    stored(f"mail/loose/{reference.removeprefix('loose:')}.eml")
    await engine.close()


async def directory(state_dir: Path) -> None:
    """A domain and an account."""
    engine = EmbeddedDirectory(state_dir)
    await engine.add_domain("example.test")
    await engine.add_account(Address.parse("alice@example.test"))
    for path in sorted((state_dir / "directory").glob("*.sqlite3-wal")):
        stored(str(path.relative_to(state_dir)))
    await engine.close()


async def queue(state_dir: Path) -> None:
    """A short message and a long one, and the removal of both by hand."""
    engine = EmbeddedQueue(state_dir)
    ids: list[QueueId] = []
    for size in (100, 200_000):
        draft = engine.draft()
        await draft.write(b"x" * size)
        recipient = Recipient(address=Address.parse("alice@example.test"))
        await draft.commit(
            Envelope(sender=None, recipients=(recipient,), queued=datetime.now(UTC), account=None, peer="local")
        )
        stored(f"spool/messages/{draft.id}.eml")
        stored(f"spool/incoming/{draft.id}.json")
        ids.append(draft.id)
    for queue_id in ids:
        await engine.remove(queue_id)
    await engine.close()


async def forget(state_dir: Path) -> None:
    engine = EmbeddedDirectory(state_dir)
    await engine.edit([RemoveAlias(address=Address.parse(GONE))])
    await engine.close()


ENGINES = {"queue": queue, "index": index, "blobs": blobs, "directory": directory}


def main() -> None:
    name, state_dir = sys.argv[1], Path(sys.argv[2])
    if name == "prepare":
        prepare(state_dir)
    elif name == "forget":
        asyncio.run(forget(state_dir))
    else:
        asyncio.run(ENGINES[name](state_dir))


if __name__ == "__main__":
    main()
