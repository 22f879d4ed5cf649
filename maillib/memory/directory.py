"""The Directory in memory. No step of it waits but the checking of a declared hash, so each call is one transaction."""

import hashlib
import hmac
import itertools
import secrets
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from maillib.address import Address
from maillib.errors import AddressError, AuthenticationFailed, Conflict, NotFound
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
from maillib.ports.expansion import expand, refuse_circles


@dataclass(slots=True)
class _State:
    generation: int = 0
    declared: str | None = None
    domains: dict[str, Domain] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    removed: dict[str, Account] = field(default_factory=dict)
    passwords: dict[AccountId, SetPassword] = field(default_factory=dict)

    # as a Book

    def is_ours(self, domain: str) -> bool:
        return domain in self.domains and self.domains[domain].enabled

    def entry(self, address: Address) -> Account | Sequence[Address] | None:
        account, alias = self.accounts.get(address.key), self.aliases.get(address.key)
        if account is not None and account.enabled:
            return account
        return alias.targets if alias is not None and alias.enabled else None

    def postmaster(self, domain: str) -> Address | None:
        named = self.domains[domain].postmaster
        return None if named is None else Address(named, domain)

    def first_account(self, domain: str) -> Account | None:
        usable = [found for found in self.accounts.values() if found.enabled and self.is_ours(found.address.domain)]
        usable.sort(key=lambda found: (found.address.domain != domain, found.id))
        return usable[0] if usable else None


class MemoryDirectory(DirectoryEditor):
    """The Directory and DirectoryEditor ports over dictionaries."""

    def __init__(self) -> None:
        self._state = _State()
        self._ids = itertools.count(1)
        self._key = secrets.token_bytes()

    async def is_local(self, domain: str) -> bool:
        return self._state.is_ours(domain)

    async def default_domain(self) -> str | None:
        return next((found.name for found in self._state.domains.values() if found.enabled), None)

    async def resolve(self, address: Address) -> Resolution:
        return expand(address, self._state)

    async def authenticate(self, login: str, password: str, *, service: str) -> Account:
        try:
            address = Address.parse(login)
        except AddressError:
            raise AuthenticationFailed(login) from None
        account = self._state.entry(address) if self._state.is_ours(address.domain) else None
        if not isinstance(account, Account) or not self._matches(account.id, password):
            raise AuthenticationFailed(login)
        if account.protocols is not None and service not in account.protocols:
            raise AuthenticationFailed(login)
        return account

    def _matches(self, account: AccountId, password: str) -> bool:
        known = self._state.passwords.get(account)
        if known is None or known.password_hash is None:
            return known is not None and known.password == password
        from argon2 import PasswordHasher
        from argon2.exceptions import VerifyMismatchError

        try:
            return PasswordHasher().verify(known.password_hash, password)
        except VerifyMismatchError:
            return False

    async def account(self, account: AccountId) -> Account:
        for found in self._state.accounts.values():
            if found.id == account:
                return found
        raise NotFound(f"there is no account {account}")

    async def may_send_as(self, account: AccountId, sender: Address) -> bool:
        try:
            return any(found.id == account for found in expand(sender, self._state).accounts)
        except NotFound:
            return False

    async def generation(self) -> int:
        return self._state.generation

    async def entries(self) -> Entries:
        state = self._state
        accounts = tuple(state.accounts.values())
        return Entries(
            generation=state.generation,
            domains=tuple(state.domains.values()),
            accounts=accounts,
            with_password=frozenset(state.passwords),
            aliases=tuple(state.aliases.values()),
            removed=tuple(state.removed.values()),
            declared=state.declared,
        )

    async def edit(self, edits: Sequence[Edit], *, expected: int | None = None, declared: str | None = None) -> None:
        if expected is not None and expected != self._state.generation:
            raise Conflict("the directory was changed meanwhile")
        state = deepcopy(self._state)
        for edit in edits:
            self._make(edit, state)
        refuse_circles(state.aliases.values())
        for key, alias in state.aliases.items():
            if alias.enabled and key in state.accounts and state.accounts[key].enabled:
                raise Conflict(f"{alias.address} is an account and an alias")
        state.generation += 1
        state.declared = state.declared if declared is None else declared
        self._state = state

    def _make(self, edit: Edit, state: _State) -> None:
        match edit:
            case Domain():
                state.domains[edit.name] = edit
            case RemoveDomain(name):
                used = {found.address.domain for found in state.accounts.values()}
                if name in used or any(alias.address.domain == name for alias in state.aliases.values()):
                    raise Conflict(f"{name} still has accounts or aliases")
                state.domains.pop(name, None)
            case Alias():
                _in_domain(edit.address, state)
                state.aliases[edit.address.key] = edit
            case PutAccount():
                self._put_account(edit, state)
            case SetPassword():
                account = state.accounts.get(edit.address.key)
                if account is None:
                    raise NotFound(f"there is no account {edit.address}")
                if edit.password is not None:
                    check_password(edit.password)
                if edit.password_hash is not None:
                    check_password_hash(edit.password_hash)
                state.passwords[account.id] = edit
            case RemoveAlias(address):
                state.aliases.pop(address.key, None)
            case RemoveAccount(address):
                removed = state.accounts.pop(address.key, None)
                if removed is not None:
                    state.removed[address.key] = replace(
                        removed, name="", enabled=False, protocols=None, quota_octets=None
                    )
                    state.passwords.pop(removed.id, None)
            case Forget(account_id):
                state.removed = {key: found for key, found in state.removed.items() if found.id != account_id}

    def _put_account(self, edit: PutAccount, state: _State) -> None:
        _in_domain(edit.address, state)
        key = edit.address.key
        earlier = state.accounts.get(key) or state.removed.pop(key, None)
        state.accounts[key] = Account(
            id=AccountId(next(self._ids)) if earlier is None else earlier.id,
            address=edit.address if earlier is None else earlier.address,
            name=edit.name,
            enabled=edit.enabled,
            protocols=edit.protocols,
            quota_octets=edit.quota_octets,
        )

    async def fingerprint(self, secret: str) -> str:
        return hmac.new(self._key, secret.encode(), hashlib.sha256).hexdigest()

    async def close(self) -> None:
        """Nothing to do; engines are closed alike."""


def _in_domain(address: Address, state: _State) -> None:
    if address.domain not in state.domains:
        raise NotFound(f"{address.domain} is no domain of ours")
