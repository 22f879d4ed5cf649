"""What the account verbs do: look at the directory, and change it.

Every change is one transaction on what was looked at; when somebody else was faster, it is thought over again. The
running services answer by the new data when a call here returns.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from maillib.address import Address, local_key
from maillib.embedded.blobs import account_path
from maillib.embedded.directory import database_path
from maillib.embedded.index import EmbeddedIndex
from maillib.embedded.purge import purge
from maillib.errors import Conflict, NotFound, StoreDamaged
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
    SetPassword,
)
from maillib.ports.expansion import POSTMASTER
from maillib.ports.index import Usage
from orchestrator.admin import opened
from orchestrator.admin.limits import check_name, check_quota
from orchestrator.admin.ownership import Named
from orchestrator.admin.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    """What to change about an account; fields that are None stay."""

    name: str | None = None
    enabled: bool | None = None
    all_protocols: bool = False
    protocols: frozenset[str] | None = None
    no_quota: bool = False
    quota_octets: int | None = None

    def applied_to(self, before: PutAccount) -> PutAccount:
        """Raises PermanentError for values that cannot be."""
        if self.name is not None:
            check_name(self.name)
        if self.quota_octets is not None:
            check_quota(self.quota_octets)
        protocols = before.protocols if self.protocols is None else self.protocols
        quota = before.quota_octets if self.quota_octets is None else self.quota_octets
        return PutAccount(
            address=before.address,
            name=before.name if self.name is None else self.name,
            enabled=before.enabled if self.enabled is None else self.enabled,
            protocols=None if self.all_protocols else protocols,
            quota_octets=None if self.no_quota else quota,
        )


def entries(state_dir: Path) -> Entries:
    """All that is in the directory now. Makes none where there is none yet."""
    if not database_path(state_dir).exists():
        return Entries()

    async def run() -> Entries:
        async with opened.directory(state_dir) as directory:
            return await directory.entries()

    return asyncio.run(run())


def declared_names(found: Entries) -> frozenset[Named]:
    """What the accounts.yaml that was applied last declares: an apply makes it again when it is removed."""
    return frozenset(Record.parse(found.declared).applied.objects)


# Domains


def add_domain(state_dir: Path, domain: Domain) -> None:
    """Raises Conflict."""

    def build(found: Entries) -> Sequence[Edit]:
        if any(known.name == domain.name for known in found.domains):
            raise Conflict(f"there is a domain {domain.name} already")
        return [domain]

    _change(state_dir, build)


def set_domain(state_dir: Path, name: str, *, postmaster: str | None, enabled: bool | None) -> None:
    """What is None stays. Raises NotFound."""

    def build(found: Entries) -> Sequence[Edit]:
        domain = domain_of(found, name)
        if postmaster is not None:
            _known(found, Address(postmaster, name))
            domain = replace(domain, postmaster=postmaster)
        return [domain if enabled is None else replace(domain, enabled=enabled)]

    _change(state_dir, build)


def remove_domain(state_dir: Path, name: str) -> None:
    """Raises NotFound, Conflict when accounts or aliases are in it."""

    def build(found: Entries) -> Sequence[Edit]:
        return [RemoveDomain(domain_of(found, name).name)]

    _change(state_dir, build)


def domain_of(found: Entries, name: str) -> Domain:
    """Raises NotFound."""
    for domain in found.domains:
        if domain.name == name:
            return domain
    raise NotFound(f"there is no domain {name}")


# Accounts


def add_account(state_dir: Path, address: Address, change: AccountChange, password: str | None) -> Account:
    """Without a password nobody can log in. The account that came of it. Raises NotFound (its domain), Conflict."""

    def build(found: Entries) -> Sequence[Edit]:
        if any(known.address.key == address.key for known in found.accounts):
            raise Conflict(f"there is an account {address} already")
        edits: list[Edit] = [change.applied_to(PutAccount(address=address))]
        return [*edits, SetPassword(address=address, password=password)] if password is not None else edits

    _change(state_dir, build)
    return account_of(entries(state_dir), address)


def set_account(state_dir: Path, address: Address, change: AccountChange) -> None:
    """Raises NotFound, Conflict."""

    def build(found: Entries) -> Sequence[Edit]:
        account = account_of(found, address)
        before = PutAccount(
            address=account.address,
            name=account.name,
            enabled=account.enabled,
            protocols=account.protocols,
            quota_octets=account.quota_octets,
        )
        return [change.applied_to(before)]

    _change(state_dir, build)


def set_password(state_dir: Path, address: Address, password: str) -> None:
    """Raises NotFound, PermanentError when the password is not acceptable."""

    def build(found: Entries) -> Sequence[Edit]:
        return [SetPassword(address=account_of(found, address).address, password=password)]

    _change(state_dir, build)


def remove_account(state_dir: Path, address: Address) -> None:
    """Its mail is kept, for an account that is made with this address later. Raises NotFound."""

    def build(found: Entries) -> Sequence[Edit]:
        return [RemoveAccount(account_of(found, address).address)]

    _change(state_dir, build)


def purge_account(state_dir: Path, address: Address) -> Usage | None:
    """Remove the account, be it removed already, and its mail for good. What that was; None: its index could not tell.

    Raises NotFound.
    """

    async def run() -> Usage | None:
        async with opened.directory(state_dir) as directory:
            found = await directory.entries()
            owners = [known for known in (*found.accounts, *found.removed) if known.address.key == address.key]
            if not owners:
                raise NotFound(f"there is no account {address}, and no mail of one")
            await directory.edit([RemoveAccount(address)])
            gone: Usage | None = None
            with suppress(StoreDamaged):
                gone = await _usage(state_dir, directory, owners[0].id)
            await asyncio.to_thread(purge, state_dir, owners[0].id)
            await directory.edit([Forget(owners[0].id)])
            return gone

    return asyncio.run(run())


def usage(state_dir: Path, account: AccountId) -> Usage:
    """What the account has stored."""

    async def run() -> Usage:
        async with opened.directory(state_dir) as directory:
            return await _usage(state_dir, directory, account)

    return asyncio.run(run())


async def _usage(state_dir: Path, directory: DirectoryEditor, account: AccountId) -> Usage:
    if not account_path(state_dir, account).exists():  # asking the index would make one
        return Usage(messages=0, octets=0)
    index = EmbeddedIndex(state_dir, directory.account)
    try:
        return await index.usage(account)
    finally:
        await index.close()


def account_of(found: Entries, address: Address) -> Account:
    """Raises NotFound."""
    for account in found.accounts:
        if account.address.key == address.key:
            return account
    raise NotFound(f"there is no account {address}")


# Aliases


def add_alias(state_dir: Path, address: Address, targets: Sequence[Address]) -> None:
    """Raises Conflict, NotFound (its domain, a target in a domain of ours)."""

    def build(found: Entries) -> Sequence[Edit]:
        if any(known.address.key == address.key for known in found.aliases):
            raise Conflict(f"there is an alias {address} already")
        return [Alias(address=address, targets=_targets(found, targets))]

    _change(state_dir, build)


def set_alias(state_dir: Path, address: Address, targets: Sequence[Address], *, enabled: bool | None) -> None:
    """No targets: they stay; `enabled` None: it stays. Raises NotFound, Conflict."""

    def build(found: Entries) -> Sequence[Edit]:
        alias = alias_of(found, address)
        if targets:
            alias = replace(alias, targets=_targets(found, targets))
        return [alias if enabled is None else replace(alias, enabled=enabled)]

    _change(state_dir, build)


def remove_alias(state_dir: Path, address: Address) -> None:
    """Raises NotFound."""

    def build(found: Entries) -> Sequence[Edit]:
        return [RemoveAlias(alias_of(found, address).address)]

    _change(state_dir, build)


def alias_of(found: Entries, address: Address) -> Alias:
    """Raises NotFound."""
    for alias in found.aliases:
        if alias.address.key == address.key:
            return alias
    raise NotFound(f"there is no alias {address}")


def _targets(found: Entries, targets: Sequence[Address]) -> tuple[Address, ...]:
    """Each once, as it is written first. Raises NotFound for one that is in a domain of ours and nobody there has."""
    ours = {domain.name for domain in found.domains}
    unique: dict[str, Address] = {}
    for target in targets:
        if target.domain in ours and local_key(target.local) != POSTMASTER:
            _known(found, target)
        unique.setdefault(target.key, target)
    return tuple(unique.values())


def _known(found: Entries, address: Address) -> None:
    """Raises NotFound."""
    known = {account.address.key for account in found.accounts} | {alias.address.key for alias in found.aliases}
    if address.key not in known:
        raise NotFound(f"there is no account or alias {address}")


def _change(state_dir: Path, build: Callable[[Entries], Sequence[Edit]]) -> None:
    async def run() -> None:
        async with opened.directory(state_dir) as directory:
            await opened.change(state_dir, directory, build)

    asyncio.run(run())
