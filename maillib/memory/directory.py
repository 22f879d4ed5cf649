"""The Directory in memory. No step of it waits but hashing, so each call is one transaction."""

import hashlib
import hmac
import itertools
import secrets
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from maillib.address import Address
from maillib.errors import AddressError, AuthenticationFailed, Conflict, NotFound
from maillib.ports.contacts import Contact, contact_key
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
    RemoveContact,
    RemoveDomain,
    RemoveList,
    RemoveRetrieval,
    Resolution,
    SetPassword,
    StoredPassword,
)
from maillib.ports.expansion import Entry, expand, expand_members, refuse_circles
from maillib.ports.lists import MailingList, check_list_address
from maillib.ports.retrieval import Retrieval, check_retrieval_name


@dataclass(slots=True)
class _State:
    generation: int = 0
    declared: str | None = None
    domains: dict[str, Domain] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    lists: dict[str, MailingList] = field(default_factory=dict)
    contacts: dict[tuple[str, str], Contact] = field(default_factory=dict)
    retrievals: dict[str, Retrieval] = field(default_factory=dict)
    removed: dict[str, Account] = field(default_factory=dict)
    passwords: dict[AccountId, StoredPassword] = field(default_factory=dict)

    def is_ours(self, domain: str) -> bool:
        return domain in self.domains and self.domains[domain].enabled

    # as a Book

    def domain(self, name: str) -> Domain | None:
        return self.domains.get(name)

    def entry(self, address: Address) -> Entry | None:
        found = [
            entries[address.key] for entries in (self.accounts, self.aliases, self.lists) if address.key in entries
        ]
        return next((entry for entry in found if entry.enabled), found[0] if found else None)

    def first_account(self, domain: str) -> Account | None:
        usable = [found for found in self.accounts.values() if found.enabled and self.is_ours(found.address.domain)]
        usable.sort(key=lambda found: (found.address.domain != domain, found.id))
        return usable[0] if usable else None

    def meanings(self) -> Iterator[tuple[Address, str]]:
        """Every enabled address, and what it is."""
        yield from ((one.address, "an account") for one in self.accounts.values() if one.enabled)
        yield from ((one.address, "a list") for one in self.lists.values() if one.enabled)
        yield from ((one.address, "an alias") for one in self.aliases.values() if one.enabled)
        for one in self.lists.values():
            if one.enabled:
                yield one.owner_address, f"the owner's address of the list {one.address}"


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

    async def members(self, mailing_list: Address) -> Resolution:
        return expand_members(mailing_list, self._state)

    async def authenticate(self, login: str, password: str, *, service: str) -> Account:
        try:
            address = Address.parse(login)
        except AddressError:
            raise AuthenticationFailed(login) from None
        account = self._state.entry(address) if self._state.is_ours(address.domain) else None
        if not isinstance(account, Account) or not account.enabled or not self._matches(account.id, password):
            raise AuthenticationFailed(login)
        if account.protocols is not None and service not in account.protocols:
            raise AuthenticationFailed(login)
        return account

    def _matches(self, account: AccountId, password: str) -> bool:
        known = self._state.passwords.get(account)
        if known is None:
            return False
        from argon2 import PasswordHasher
        from argon2.exceptions import VerifyMismatchError

        try:
            return PasswordHasher().verify(known.argon2id, password.encode("utf-8", "surrogatepass"))
        except VerifyMismatchError:
            return False

    async def account(self, account: AccountId) -> Account:
        for found in self._state.accounts.values():
            if found.id == account:
                return found
        raise NotFound(f"there is no account {account}")

    async def may_send_as(self, account: AccountId, sender: Address) -> bool:
        try:
            found = expand(sender, self._state)
        except NotFound:
            return False
        return not found.is_caught and any(one.id == account for one in found.accounts)

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
            lists=tuple(state.lists.values()),
            contacts=tuple(state.contacts.values()),
            retrievals=tuple(state.retrievals.values()),
            removed=tuple(state.removed.values()),
            declared=state.declared,
        )

    async def edit(self, edits: Sequence[Edit], *, expected: int | None = None, declared: str | None = None) -> None:
        if expected is not None and expected != self._state.generation:
            raise Conflict("the directory was changed meanwhile")
        state = deepcopy(self._state)
        for edit in edits:
            self._make(edit, state)
        meant: dict[str, str] = {}
        for address, what in state.meanings():
            if address.key in meant:
                raise Conflict(f"{address} is {meant[address.key]} and {what}")
            meant[address.key] = what
        refuse_circles(state.aliases.values(), state.lists.values())
        state.generation += 1
        state.declared = state.declared if declared is None else declared
        self._state = state

    def _make(self, edit: Edit, state: _State) -> None:
        match edit:
            case Domain():
                state.domains[edit.name] = edit
            case PutAccount():
                self._put_account(edit, state)
            case SetPassword():
                _set_password(edit, state)
            case Alias():
                _need_domain(edit.address.domain, state)
                state.aliases[edit.address.key] = edit
            case MailingList():
                check_list_address(edit.address)
                _need_domain(edit.address.domain, state)
                state.lists[edit.address.key] = edit
            case Contact():
                _need_domain(edit.domain, state)
                state.contacts[edit.domain, contact_key(edit.name)] = edit
            case Retrieval():
                check_retrieval_name(edit.name)
                if edit.enabled and edit.account.key not in state.accounts:
                    raise NotFound(f"there is no account {edit.account}")
                state.retrievals[edit.name.lower()] = edit
            case RemoveDomain(name):
                had = {key.rpartition("@")[2] for key in (*state.accounts, *state.aliases, *state.lists)}
                if name in had or any(domain == name for domain, _ in state.contacts):
                    raise Conflict(f"{name} still has accounts, aliases, lists or contacts")
                state.domains.pop(name, None)
            case RemoveAccount(address):
                _remove_account(address, state)
            case RemoveAlias(address):
                state.aliases.pop(address.key, None)
            case RemoveList(address):
                state.lists.pop(address.key, None)
            case RemoveContact(domain, name):
                state.contacts.pop((domain, contact_key(name)), None)
            case RemoveRetrieval(name):
                state.retrievals.pop(name.lower(), None)
            case Forget(account_id):
                state.removed = {key: found for key, found in state.removed.items() if found.id != account_id}

    def _put_account(self, edit: PutAccount, state: _State) -> None:
        _need_domain(edit.address.domain, state)
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

    async def passwords(self) -> Mapping[AccountId, StoredPassword]:
        return dict(self._state.passwords)

    async def fingerprint(self, secret: str) -> str:
        return hmac.new(self._key, secret.encode(), hashlib.sha256).hexdigest()

    async def close(self) -> None:
        """Nothing to do; engines are closed alike."""


def _need_domain(name: str, state: _State) -> None:
    if name not in state.domains:
        raise NotFound(f"{name} is no domain of ours")


def _set_password(edit: SetPassword, state: _State) -> None:
    account = state.accounts.get(edit.address.key)
    if account is None:
        raise NotFound(f"there is no account {edit.address}")
    if edit.password is not None:
        from argon2 import PasswordHasher

        check_password(edit.password)
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        state.passwords[account.id] = StoredPassword(cheap.hash(edit.password), None)
    elif edit.stored is not None:
        state.passwords[account.id] = edit.stored
    else:
        check_password_hash(edit.password_hash or "")
        state.passwords[account.id] = StoredPassword(edit.password_hash or "", None)


def _remove_account(address: Address, state: _State) -> None:
    removed = state.accounts.pop(address.key, None)
    if removed is not None:
        state.removed[address.key] = replace(removed, name="", enabled=False, protocols=None, quota_octets=None)
        state.passwords.pop(removed.id, None)
