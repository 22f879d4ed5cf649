"""What of the embedded Index does not show through the port: files, rights, open databases, damage."""

import asyncio
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.index import EmbeddedIndex
from maillib.errors import NotFound, StoreDamaged
from maillib.ports.directory import Account, AccountId
from maillib.ports.index import INBOX, NewMessage, Uid
from tests.support.stored_mail import wrong_with

ALICE = AccountId(1)


async def account_of(account: AccountId) -> Account:
    if account > 100:
        raise NotFound(f"no account {account}")
    return Account(account, Address.parse("alice@example.test"), "", True, None, None)


async def deliver(state_dir: Path, index: EmbeddedIndex, account: AccountId, *keys: str) -> None:
    blobs = EmbeddedBlobs(state_dir)

    async def octets() -> AsyncIterator[bytes]:
        yield b"body"

    body = await blobs.put(octets())
    when = datetime.now(UTC)
    await index.append(
        account, INBOX, [NewMessage(delivery_key=key, prefix=b"", body=body, internal_date=when) for key in keys]
    )
    await blobs.close()


def open_databases() -> set[str]:
    """Databases that this process has open."""
    targets = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            targets.add(str(link.readlink()))
        except FileNotFoundError:
            continue  # the descriptor of this very listing
    return {target for target in targets if target.endswith("index.sqlite3")}


def test_few_databases_stay_open(tmp_path: Path) -> None:
    """More accounts than may stay open are served all the same, also at once; close leaves none open."""

    async def main() -> None:
        index = EmbeddedIndex(tmp_path, account_of, open_accounts=2)
        accounts = [AccountId(number) for number in range(1, 8)]
        await asyncio.gather(*(deliver(tmp_path, index, account, "a", "b") for account in accounts))
        for account in [*accounts, *reversed(accounts)]:
            assert len(await index.rows(account, INBOX)) == 2
        assert len(open_databases()) == 2
        await index.close()
        await index.close()
        assert open_databases() == set()

    asyncio.run(main())


def test_rights(tmp_path: Path) -> None:
    """Nothing that an account has on disk is for others, and only its owner can write it."""

    async def main() -> None:
        index = EmbeddedIndex(tmp_path, account_of)
        await deliver(tmp_path, index, ALICE, "k")
        for path in (tmp_path / "mail").rglob("*"):
            forbidden = 0o027 if path.is_dir() else 0o137
            assert stat.S_IMODE(path.stat().st_mode) & forbidden == 0, path
        await index.close()

    asyncio.run(main())


def test_unknown_account_gets_no_folder(tmp_path: Path) -> None:
    """Nothing is appended, or made, for an account that the Directory does not know."""

    async def main() -> None:
        index = EmbeddedIndex(tmp_path, account_of)
        with pytest.raises(NotFound):
            await deliver(tmp_path, index, AccountId(101), "k")
        assert not (tmp_path / "mail" / "101").exists()
        await index.close()

    asyncio.run(main())


def test_a_damaged_index_is_named_and_hurts_nobody_else(tmp_path: Path) -> None:
    """A damaged database is a temporary error that names the file; other accounts go on."""

    async def main() -> None:
        index = EmbeddedIndex(tmp_path, account_of)
        (tmp_path / "mail/1").mkdir()
        (tmp_path / "mail/1/index.sqlite3").write_bytes(b"no database" * 1000)
        for _ in range(2):
            with pytest.raises(StoreDamaged, match=r"mail/1/index\.sqlite3.*mailbox rebuild alice@example\.test"):
                await index.rows(ALICE, INBOX)
        await deliver(tmp_path, index, AccountId(2), "k")
        await index.close()

    asyncio.run(main())


def test_a_damaged_page_is_named_and_hurts_nobody_else(tmp_path: Path) -> None:
    """A page that was overwritten is a temporary error that names file and remedy, each time; the mail of others, and
    the worker, go on."""

    async def main() -> None:
        index = EmbeddedIndex(tmp_path, account_of)
        await deliver(tmp_path, index, ALICE, "k")
        await index.close()
        file = tmp_path / "mail/1/index.sqlite3"
        octets = bytearray(file.read_bytes())
        octets[2048:] = b"\xff" * (len(octets) - 2048)
        file.write_bytes(octets)
        index = EmbeddedIndex(tmp_path, account_of)
        for _ in range(3):
            with pytest.raises(StoreDamaged, match=r"mail/1/index\.sqlite3.*mailbox rebuild alice@example\.test"):
                await deliver(tmp_path, index, ALICE, "l")
            await deliver(tmp_path, index, AccountId(2), "l")
        assert len(await index.rows(AccountId(2), INBOX)) == 1
        await index.close()

    asyncio.run(main())


def test_check_finds_what_is_wrong(tmp_path: Path) -> None:
    """Missing, changed and unknown files are told by name; what the next append replaces anyway is not."""

    async def main() -> None:
        index = EmbeddedIndex(tmp_path, account_of)
        await deliver(tmp_path, index, ALICE, "a")
        await deliver(tmp_path, index, ALICE, "b", "c")
        assert wrong_with(tmp_path, ALICE) == []
        folder = tmp_path / "mail/1/1"
        (folder / "0000000001.eml").unlink()
        (folder / "0000000002.eml").unlink()
        (folder / "0000000002.eml").write_bytes(b"changed")
        (tmp_path / "mail/loose" / f"{'1' * 32}.eml").write_bytes(b"of an append that was broken off")
        (folder / "0000000009.eml").hardlink_to(tmp_path / "mail/loose" / f"{'1' * 32}.eml")
        (folder / "notes.txt").write_bytes(b"")
        assert wrong_with(tmp_path, ALICE) == [
            "message 1 of mailbox 1 has no body",
            "message 2 of mailbox 1 has a body of 7 octets, not 4",
            f"{folder}/notes.txt belongs to no message",
        ]
        await index.close()

    asyncio.run(main())


def test_a_missing_body_does_not_stop_an_expunge(tmp_path: Path) -> None:
    """A message whose file somebody removed can still be removed itself."""

    async def main() -> None:
        index = EmbeddedIndex(tmp_path, account_of)
        await deliver(tmp_path, index, ALICE, "a")
        (tmp_path / "mail/1/1/0000000001.eml").unlink()
        assert (await index.expunge(ALICE, INBOX, [Uid(1)])).uids == [1]
        assert wrong_with(tmp_path, ALICE) == []
        await index.close()

    asyncio.run(main())
