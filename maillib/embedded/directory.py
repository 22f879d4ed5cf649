"""The Directory over one SQLite database, STATE_DIR/directory/directory.sqlite3.

Guarantees: what the port says, for any number of processes at once. Nothing is cached here: each call reads one
snapshot, so every process answers by a change as soon as the call that made it has returned.

The database holds password hashes: 0640 or tighter. Services read it as an unprivileged user, and a reader of SQLite's
WAL writes to the file `-shm` beside it; so folder and files belong to the user of the services. When root makes the
database, it goes to the owner of the folder; SQLite gives `-wal` and `-shm` the owner and mode of the database.

Leaves to others: rows and statements (`directory_tables`), hashing (`passwords`), how addresses expand
(`ports.expansion`).
"""

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from maillib import maillog
from maillib.address import Address
from maillib.embedded.directory_tables import SCHEMA, Changes, Snapshot
from maillib.embedded.files import FILE_MODE, make_directory, os_errors, refuse_network_file_system
from maillib.embedded.passwords import Passwords, Stored, is_outdated
from maillib.embedded.sqlite import Database, Threads
from maillib.errors import AddressError, AuthenticationFailed, Conflict, NotFound, TemporaryError
from maillib.ports.credentials import check_password, check_password_hash
from maillib.ports.directory import (
    Account,
    AccountId,
    Alias,
    DirectoryEditor,
    Domain,
    Edit,
    Entries,
    Forget,
    PutAccount,
    RemoveAccount,
    RemoveAlias,
    RemoveDomain,
    Resolution,
    SetPassword,
)
from maillib.ports.expansion import expand

T = TypeVar("T")

_THREADS = 2
"""They share one connection: while one reads, the next is on its way."""


def database_path(state_dir: Path) -> Path:
    return state_dir / "directory" / "directory.sqlite3"


class EmbeddedDirectory(DirectoryEditor):
    """The Directory and DirectoryEditor ports; one object per process."""

    def __init__(self, state_dir: Path) -> None:
        """Opens or makes the database; blocks. Raises ConfigError (network file system), Transient, StoreUnusable."""
        path = database_path(state_dir)
        make_directory(path.parent)
        refuse_network_file_system(path.parent)
        _make_for_owner(path)
        self._database = Database(path, SCHEMA)
        self._threads = Threads("directory", _THREADS)
        self._passwords = Passwords()
        self._fingerprint_key: bytes | None = None

    async def is_local(self, domain: str) -> bool:
        return await self._read(lambda snapshot: snapshot.is_ours(domain))

    async def default_domain(self) -> str | None:
        return await self._read(Snapshot.default_domain)

    async def resolve(self, address: Address) -> Resolution:
        return await self._read(lambda snapshot: expand(address, snapshot))

    async def authenticate(self, login: str, password: str, *, service: str) -> Account:
        found = await self._read(lambda snapshot: _credentials(login, snapshot))
        account, stored = (None, None) if found is None else found
        if not await self._passwords.matches(stored, password) or account is None or stored is None:
            raise AuthenticationFailed(login)
        if account.protocols is not None and service not in account.protocols:
            raise AuthenticationFailed(login)
        if is_outdated(stored):
            await self._hash_again(account, stored, password)
        return account

    async def _hash_again(self, account: Account, seen: Stored, password: str) -> None:
        fresh = await self._passwords.hash(password)
        try:
            await self._write(lambda changes: changes.hash_again(account.id, seen, fresh))
        except TemporaryError as error:  # a full disk keeps nobody from reading mail
            maillog.password_not_rehashed(user=str(account.address), error=str(error))

    async def account(self, account: AccountId) -> Account:
        return await self._read(lambda snapshot: snapshot.account(account))

    async def may_send_as(self, account: AccountId, sender: Address) -> bool:
        try:
            resolution = await self.resolve(sender)
        except NotFound:
            return False
        return any(found.id == account for found in resolution.accounts)

    async def generation(self) -> int:
        return await self._read(Snapshot.generation)

    async def entries(self) -> Entries:
        return await self._read(Snapshot.entries)

    async def edit(self, edits: Sequence[Edit], *, expected: int | None = None, declared: str | None = None) -> None:
        passwords = {at: edit for at, edit in enumerate(edits) if isinstance(edit, SetPassword)}
        for edit in passwords.values():
            _check(edit)
        # Hashed before the transaction begins: nobody waits for it with a lock.
        stored = dict(zip(passwords, await asyncio.gather(*map(self._stored, passwords.values())), strict=True))

        def make(changes: Changes) -> None:
            if expected is not None and changes.generation() != expected:
                raise Conflict("the directory was changed meanwhile")
            for at, edit in enumerate(edits):
                _make(edit, changes, stored.get(at))
            changes.finish(declared)

        await self._write(make)

    async def _stored(self, edit: SetPassword) -> Stored:
        if edit.password is not None:
            return await self._passwords.hash(edit.password)
        return Stored(edit.password_hash or "", None)

    async def fingerprint(self, secret: str) -> str:
        if self._fingerprint_key is None:
            self._fingerprint_key = await self._read(Snapshot.fingerprint_key)
        if self._fingerprint_key is None:
            fresh = secrets.token_bytes()
            self._fingerprint_key = await self._write(lambda changes: changes.keep_fingerprint_key(fresh))
        return hmac.new(self._fingerprint_key, secret.encode(), hashlib.sha256).hexdigest()

    async def close(self) -> None:
        """Return when what was begun has ended and the database is closed. Idempotent."""
        await self._passwords.close()
        await self._threads.close()
        self._database.close()

    async def _read(self, call: Callable[[Snapshot], T]) -> T:
        def read() -> T:
            with self._database.read() as connection:
                return call(Snapshot(connection))

        return await self._threads.run(read)

    async def _write(self, call: Callable[[Changes], T]) -> T:
        def write() -> T:
            with self._database.write() as connection:
                return call(Changes(connection))

        return await self._threads.run(write)


def _credentials(login: str, snapshot: Snapshot) -> tuple[Account, Stored | None] | None:
    """The account that may log in as `login`, and what is kept of its password."""
    try:
        address = Address.parse(login)
    except AddressError:
        return None
    found = snapshot.entry(address) if snapshot.is_ours(address.domain) else None
    return (found, snapshot.stored(found.id)) if isinstance(found, Account) else None


def _check(edit: SetPassword) -> None:
    """Raises PermanentError."""
    if edit.password is not None:
        check_password(edit.password)
    else:
        check_password_hash(edit.password_hash or "")


def _make(edit: Edit, changes: Changes, stored: Stored | None) -> None:
    match edit:
        case Domain():
            changes.put_domain(edit)
        case RemoveDomain():
            changes.remove_domain(edit)
        case Alias():
            changes.put_alias(edit)
        case PutAccount():
            changes.put_account(edit)
        case SetPassword():
            assert stored is not None
            changes.set_password(edit.address, stored)
        case RemoveAccount():
            changes.remove_account(edit)
        case RemoveAlias():
            changes.remove_alias(edit)
        case Forget():
            changes.forget(edit)


def _make_for_owner(path: Path) -> None:
    """Make an empty file, unless there is one; made by root, it goes to the owner of its folder."""
    with os_errors():
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        except FileExistsError:
            return
        try:
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(fd, owner.st_uid, owner.st_gid)
        finally:
            os.close(fd)
