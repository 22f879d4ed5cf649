"""Brings the directory to what accounts.yaml declares.

Guarantees: all of it in one transaction, together with a record of what was declared, for the next time. When nothing
changed, nothing is hashed or written: of a declared secret the directory keeps a keyed fingerprint.

Leaves to others: what to do and why (`ownership`), what the file says (`accounts_file`).
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maillib.address import Address
from maillib.embedded.directory import database_path
from maillib.errors import MailError
from maillib.ports.credentials import check_password
from maillib.ports.directory import (
    Alias,
    DirectoryEditor,
    Domain,
    Edit,
    Entries,
    PutAccount,
    SetPassword,
)
from orchestrator.admin import opened
from orchestrator.admin.accounts_file import Declaration, PasswordHash
from orchestrator.admin.ownership import (
    DEFAULTS,
    PASSWORD,
    AccountAction,
    Fields,
    Named,
    Objects,
    Value,
    Verb,
    plan_accounts,
)
from orchestrator.errors import PreflightFailed

_RECORD_VERSION = 1


def plan(state_dir: Path, declaration: Declaration) -> tuple[AccountAction, ...]:
    """What `apply` would do now. Changes nothing. Raises PreflightFailed when a secret cannot be read or used."""
    secrets = read_secrets(declaration)
    if not database_path(state_dir).exists():
        return _plan(_with_passwords(declaration, dict.fromkeys(secrets, "")), Entries())

    async def run() -> tuple[AccountAction, ...]:
        async with opened.directory(state_dir) as directory:
            declared = await _fingerprinted(directory, declaration, secrets)
            return _plan(declared, await directory.entries())

    return asyncio.run(run())


def apply(state_dir: Path, declaration: Declaration) -> tuple[AccountAction, ...]:
    """Do it; the running services answer by the new data when this returns. What was done.

    Raises PreflightFailed, Conflict (an address of a declared alias is an account made by hand, and the like).
    """
    secrets = read_secrets(declaration)
    actions: tuple[AccountAction, ...] = ()

    async def run() -> None:
        async with opened.directory(state_dir) as directory:
            declared = await _fingerprinted(directory, declaration, secrets)

            def build(entries: Entries) -> Sequence[Edit]:
                nonlocal actions
                actions = _plan(declared, entries)
                return [*_edits(actions, declaration, secrets, entries)]

            await opened.change(state_dir, directory, build, declared=_record(declared))

    asyncio.run(run())
    return actions


def read_secrets(declaration: Declaration) -> dict[Named, SetPassword]:
    """The passwords that are declared. Raises PreflightFailed with a line for each that cannot be read or used."""
    secrets: dict[Named, SetPassword] = {}
    findings: list[str] = []
    for named, source in declaration.secrets.items():
        address = declaration.addresses[named]
        if isinstance(source, PasswordHash):
            secrets[named] = SetPassword(address=address, password_hash=source.text)
            continue
        try:
            password = source.read()
            check_password(password)
        except MailError as error:
            findings.append(f"{named}: {error}" if str(source) in str(error) else f"{named}: {source}: {error}")
        else:
            secrets[named] = SetPassword(address=address, password=password)
    if findings:
        raise PreflightFailed("\n".join(findings))
    return secrets


async def _fingerprinted(
    directory: DirectoryEditor, declaration: Declaration, secrets: Mapping[Named, SetPassword]
) -> Objects:
    """What is declared, with a fingerprint for each password."""
    prints = {
        named: await directory.fingerprint(
            f"password {secret.password}" if secret.password_hash is None else f"hash {secret.password_hash}"
        )
        for named, secret in secrets.items()
    }
    return _with_passwords(declaration, prints)


def _with_passwords(declaration: Declaration, prints: Mapping[Named, str]) -> Objects:
    return {
        named: {**fields, PASSWORD: prints[named]} if named in prints else fields
        for named, fields in declaration.objects.items()
    }


def _plan(declared: Objects, entries: Entries) -> tuple[AccountAction, ...]:
    return plan_accounts(declared, recorded(entries.declared), {named: live.fields for named, live in _live(entries)})


@dataclass(frozen=True, slots=True)
class _Live:
    fields: Fields
    address: Address | None = None
    """Of an account or alias."""


def _live(entries: Entries) -> Iterator[tuple[Named, _Live]]:
    for domain in entries.domains:
        yield Named("domain", domain.name), _Live({"postmaster": domain.postmaster, "enabled": domain.enabled})
    for account in entries.accounts:
        fields: Fields = {
            "name": account.name,
            "quota": account.quota_octets,
            "protocols": None if account.protocols is None else tuple(sorted(account.protocols)),
            "enabled": account.enabled,
        }
        yield Named("account", account.address.key), _Live(fields, account.address)
    for alias in entries.aliases:
        targets = tuple(map(str, alias.targets))
        yield Named("alias", alias.address.key), _Live({"targets": targets, "enabled": alias.enabled}, alias.address)


def _edits(
    actions: Sequence[AccountAction],
    declaration: Declaration,
    secrets: Mapping[Named, SetPassword],
    entries: Entries,
) -> Iterator[Edit]:
    live = dict(_live(entries))
    for action in actions:
        if action.verb is Verb.KEEP:
            continue
        named = action.object
        is_ = live.get(named, _Live({}))
        changed = {change.field: change.after for change in action.changes}
        fields = {**DEFAULTS[named.kind], **is_.fields, **changed}
        yield _put(named, is_.address or declaration.addresses.get(named), fields)
        if PASSWORD in changed:
            yield secrets[named]


def _put(named: Named, address: Address | None, fields: Fields) -> Edit:
    enabled = fields["enabled"] is True
    if address is None:
        return Domain(name=named.key, postmaster=_text(fields["postmaster"]), enabled=enabled)
    if named.kind == "alias":
        targets = tuple(map(Address.parse, _texts(fields["targets"])))
        return Alias(address=address, targets=targets, enabled=enabled)
    quota, protocols = fields["quota"], fields["protocols"]
    assert quota is None or isinstance(quota, int)
    return PutAccount(
        address=address,
        name=_text(fields["name"]) or "",
        enabled=enabled,
        protocols=None if protocols is None else frozenset(_texts(protocols)),
        quota_octets=quota,
    )


def _text(value: Value) -> str | None:
    assert value is None or isinstance(value, str)
    return value


def _texts(value: Value) -> tuple[str, ...]:
    assert isinstance(value, tuple)
    return value


def _record(declared: Objects) -> str:
    """What the directory keeps of what was declared."""
    objects = {str(named): fields for named, fields in declared.items()}
    return json.dumps({"version": _RECORD_VERSION, "objects": objects}, ensure_ascii=False, sort_keys=True)


def recorded(record: str | None) -> Objects:
    """What was declared when it was applied last, given `Entries.declared`."""
    objects = {} if record is None else json.loads(record)["objects"]
    return {
        Named.parse(text): {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        for text, fields in objects.items()
    }
