"""What is in the mailboxes of a state directory, read by the engine itself while no service need run."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from maillib.address import Address
from maillib.embedded.account_check import check_account
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.index import EmbeddedIndex
from maillib.embedded.open_accounts import OpenAccounts
from maillib.ports.directory import AccountId
from maillib.ports.index import INBOX


@dataclass(frozen=True, slots=True)
class Copy:
    """A message in INBOX of a user."""

    user: str
    octets: bytes
    """Without the prefix: as they came into the spool."""


@dataclass(frozen=True, slots=True)
class StoredMail:
    copies: tuple[Copy, ...]
    damage: tuple[str, ...]
    """What `check` finds, by user."""

    def of(self, user: str) -> list[bytes]:
        return [copy.octets for copy in self.copies if copy.user == user]


def wrong_with(state_dir: Path, account: AccountId) -> list[str]:
    """What `mailbox check` says of an account, one sentence each; empty: all is well."""
    with closing(OpenAccounts(state_dir)) as opened, opened.use(account) as index:
        return check_account(index)


async def stored_mail(state_dir: Path, users: Sequence[str], *, most_octets: int = 1_000_000) -> StoredMail:
    """Of each message at most the first `most_octets`."""
    copies: list[Copy] = []
    damage: list[str] = []
    async with _engines(state_dir) as (directory, index, blobs):
        for user in users:
            (account,) = (await directory.resolve(Address.parse(user))).accounts
            damage += [f"{user}: {one}" for one in wrong_with(state_dir, account.id)]
            uids = [row.uid for row in await index.rows(account.id, INBOX)]
            for message in (await index.messages(account.id, INBOX, uids)).values():
                length = min(message.size_octets - len(message.prefix), most_octets)
                copies.append(Copy(user, await blobs.get(message.body, 0, length)))
    return StoredMail(tuple(copies), tuple(damage))


@asynccontextmanager
async def _engines(state_dir: Path) -> AsyncIterator[tuple[EmbeddedDirectory, EmbeddedIndex, EmbeddedBlobs]]:
    directory, blobs = EmbeddedDirectory(state_dir), EmbeddedBlobs(state_dir)
    index = EmbeddedIndex(state_dir, directory.account)
    try:
        yield directory, index, blobs
    finally:
        for engine in (index, blobs, directory):
            await engine.close()
