"""The Directory over one SQLite database, STATE_DIR/directory/directory.sqlite3.

Guarantees: what the port says, for any number of processes at once. Each answer comes from one snapshot. Answers that
services ask for with each message are remembered; before one is given again the database is asked whether it has
changed since (`sqlite.Watch`: two microseconds, no thread, nothing that waits), so every process answers by a change as
soon as the call that made it has returned. See docs/decisions/0008.

The database holds password hashes: 0640 or tighter. Services read it as an unprivileged user, and a reader of SQLite's
WAL writes to the file `-shm` beside it; so folder and files belong to the user of the services. When root makes the
database, it goes to the owner of the folder; SQLite gives `-wal` and `-shm` the owner and mode of the database.

Leaves to others: rows and statements (`directory_schema`, `directory_tables`, `directory_changes`), hashing
(`passwords`), how addresses expand (`ports.expansion`), how much is remembered of each kind (`answers`).
"""

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from maillib import maillog
from maillib.address import Address
from maillib.embedded.answers import Answers
from maillib.embedded.directory_changes import Changes
from maillib.embedded.directory_schema import SCHEMA
from maillib.embedded.directory_tables import Snapshot
from maillib.embedded.files import FILE_MODE, make_directory, os_errors, refuse_network_file_system
from maillib.embedded.passwords import Passwords, is_outdated
from maillib.embedded.sqlite import Database, Watch
from maillib.embedded.threads import Threads
from maillib.errors import AddressError, AuthenticationFailed, Conflict, NotFound, TemporaryError
from maillib.ports.credentials import check_password, check_password_hash
from maillib.ports.directory import (
    Account,
    AccountId,
    DirectoryEditor,
    Domain,
    Edit,
    Entries,
    Resolution,
    SetPassword,
    StoredPassword,
)
from maillib.ports.expansion import expand, expand_members

T = TypeVar("T")
K = TypeVar("K")

_THREADS = 2
"""They share one connection: while one reads, the next is on its way."""

_DOMAINS = 1000
_ACCOUNTS = 10_000
"""That are remembered, and the addresses of as many: each about half a kibibyte. An alias counts as many times as
it has accounts and addresses behind it, a list as many times as it has members."""


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
        self._watch = Watch(path)
        self._version = self._watch.version()
        self._domains: Answers[str, Domain] = Answers(_DOMAINS)
        self._default_domain: Answers[None, str] = Answers(1)
        self._resolutions: Answers[str, Resolution] = Answers(2 * _ACCOUNTS, weight=_weight)
        self._members: Answers[str, Resolution] = Answers(2 * _ACCOUNTS, weight=_weight)
        self._accounts: Answers[AccountId, Account] = Answers(_ACCOUNTS)
        self._credentials: Answers[str, _Credentials] = Answers(_ACCOUNTS)

    async def is_local(self, domain: str) -> bool:
        found = await self._domain(domain)
        return found is not None and found.enabled

    async def _domain(self, name: str) -> Domain | None:
        return await self._answer(self._domains, name, lambda snapshot: snapshot.domain(name))

    async def default_domain(self) -> str | None:
        return await self._answer(self._default_domain, None, Snapshot.default_domain)

    async def resolve(self, address: Address) -> Resolution:
        if await self._domain(address.domain) is None:
            return Resolution((), (address,))
        found = await self._answer(
            self._resolutions, address.key, lambda snapshot: _or_none(lambda: expand(address, snapshot))
        )
        if found is None:
            raise NotFound(f"nobody has the address {address}")
        return found

    async def members(self, mailing_list: Address) -> Resolution:
        found = await self._answer(
            self._members,
            mailing_list.key,
            lambda snapshot: _or_none(lambda: expand_members(mailing_list, snapshot)),
        )
        if found is None:
            raise NotFound(f"there is no list {mailing_list}")
        return found

    async def authenticate(self, login: str, password: str, *, service: str) -> Account:
        found = await self._find(login)
        is_recent = found is not None and self._passwords.remembers(found.stored, password)
        if not is_recent and not await self._passwords.matches(None if found is None else found.stored, password):
            raise AuthenticationFailed(login)
        if found is None or not (found.account.protocols is None or service in found.account.protocols):
            raise AuthenticationFailed(login)
        if not is_recent and is_outdated(found.stored):
            await self._hash_again(found.account, found.stored, password)
        return found.account

    async def _find(self, login: str) -> "_Credentials | None":
        """Who may log in as `login`; None: nobody."""
        try:
            address = Address.parse(login)
        except AddressError:
            return None
        return await self._answer(self._credentials, address.key, lambda snapshot: _credentials(address, snapshot))

    async def _hash_again(self, account: Account, seen: StoredPassword, password: str) -> None:
        fresh = await self._passwords.hash(password)
        try:
            await self._write(lambda changes: changes.hash_again(account.id, seen, fresh))
        except TemporaryError as error:  # a full disk keeps nobody from reading mail
            maillog.password_not_rehashed(user=str(account.address), error=str(error))

    async def account(self, account: AccountId) -> Account:
        found = await self._answer(self._accounts, account, lambda snapshot: snapshot.account(account))
        if found is None:
            raise NotFound(f"there is no account {account}")
        return found

    async def may_send_as(self, account: AccountId, sender: Address) -> bool:
        try:
            resolution = await self.resolve(sender)
        except NotFound:
            return False
        return not resolution.is_caught and any(found.id == account for found in resolution.accounts)

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
                changes.make(edit, stored.get(at))
            changes.finish(declared)

        await self._write(make)

    async def _stored(self, edit: SetPassword) -> StoredPassword:
        if edit.password is not None:
            return await self._passwords.hash(edit.password)
        return edit.stored or StoredPassword(edit.password_hash or "", None)

    async def passwords(self) -> Mapping[AccountId, StoredPassword]:
        return await self._read(Snapshot.passwords)

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
        self._watch.close()
        self._database.close()

    async def _answer(self, answers: Answers[K, T], key: K, read: Callable[[Snapshot], T | None]) -> T | None:
        """What `read` says, from memory where it was asked before and nothing has changed."""
        version = self._current_version()
        if version is not None:
            try:
                return answers.recall(key)
            except KeyError:
                pass
        answer = await self._read(read)
        if version is not None and self._current_version() == version:  # so that was the state that was read
            answers.keep(key, answer)
        return answer

    def _current_version(self) -> int | None:
        """Forgets every answer when there was a change."""
        version = self._watch.version()
        if version is not None and version != self._version:
            self._version = version
            for answers in (
                self._domains,
                self._default_domain,
                self._resolutions,
                self._members,
                self._accounts,
                self._credentials,
            ):
                answers.forget()
        return version

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


@dataclass(frozen=True, slots=True)
class _Credentials:
    account: Account
    stored: StoredPassword


def _credentials(address: Address, snapshot: Snapshot) -> _Credentials | None:
    """The account that may log in as `address`, and what is kept of its password."""
    domain, account = snapshot.domain(address.domain), snapshot.entry(address)
    if domain is None or not domain.enabled or not isinstance(account, Account) or not account.enabled:
        return None
    stored = snapshot.stored(account.id)
    return None if stored is None else _Credentials(account, stored)


def _or_none(expanded: Callable[[], Resolution]) -> Resolution | None:
    try:
        return expanded()
    except NotFound:
        return None


def _weight(resolution: Resolution) -> int:
    in_lists = sum(len(one.members) for one in resolution.lists)
    return 1 + len(resolution.accounts) + len(resolution.remote) + in_lists


def _check(edit: SetPassword) -> None:
    """Raises PermanentError."""
    if edit.password is not None:
        check_password(edit.password)
    elif edit.stored is None:
        check_password_hash(edit.password_hash or "")


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
