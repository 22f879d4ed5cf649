"""Brings the directory to what accounts.yaml declares, and back.

Guarantees: all of it in one transaction, together with a record of what was declared, for the next time. When nothing
changed, nothing is hashed or written: of a declared secret the directory keeps a keyed fingerprint. What cannot be done
beside what is there is found before anything is changed.

Leaves to others: what to do and why (`ownership`), what the file says (`accounts_file`), what an object is to the
directory (`entries`).
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maillib.embedded.directory import database_path
from maillib.errors import MailError
from maillib.ports.credentials import check_password
from maillib.ports.directory import AccountId, DirectoryEditor, Edit, Entries, SetPassword
from orchestrator.admin import opened
from orchestrator.admin.accounts_file import Declaration, PasswordHash
from orchestrator.admin.clashes import Clash, clashes
from orchestrator.admin.entries import Entry, address_of, named_entries, put, remove
from orchestrator.admin.ownership import (
    PASSWORD,
    AccountAction,
    Applied,
    Fields,
    Named,
    Objects,
    Verb,
    left_after,
    perform,
    plan_accounts,
)
from orchestrator.admin.record import Record
from orchestrator.admin.stakes import with_stakes
from orchestrator.admin.wayback import WayBack, moment
from orchestrator.errors import PreflightFailed
from orchestrator.problems import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the directory is to be brought to, and how."""

    declaration: Declaration
    prune: bool = False
    """Remove what has left the declaration, instead of disabling it."""
    is_rollback: bool = False
    """It is an earlier declaration: a secret that reads differently now is no reason to set a password."""


def plan(state_dir: Path, order: Order) -> tuple[AccountAction, ...]:
    """What `apply` would do now, with the mail at stake. Changes nothing.

    Raises PreflightFailed when a secret cannot be read or used, or something cannot be beside what was made by hand.
    """
    secrets = read_secrets(order.declaration)
    if not database_path(state_dir).exists():
        return _decide(order, secrets, dict.fromkeys(secrets, ""), _Found(Entries(), {})).refuse_clashes(order).actions

    async def run() -> tuple[AccountAction, ...]:
        async with opened.directory(state_dir) as directory:
            found, decision = await _look(directory, order, secrets)
            decision.refuse_clashes(order)
            return await with_stakes(state_dir, directory, decision.actions, found.entries.accounts)

    return asyncio.run(run())


def apply(state_dir: Path, order: Order) -> tuple[tuple[AccountAction, ...], WayBack]:
    """Do it; the running services answer by the new data when this returns. What was done, and what undoes it.

    Raises as `plan`.
    """
    secrets = read_secrets(order.declaration)

    async def run() -> tuple[tuple[AccountAction, ...], WayBack]:
        async with opened.directory(state_dir) as directory:
            while True:
                found, decision = await _look(directory, order, secrets)
                decision.refuse_clashes(order)
                before = await moment(directory, found.entries)
                record = str(decision.record)
                if await opened.commit(state_dir, directory, decision.edits, found.entries, declared=record):
                    break
            after = await moment(directory, await directory.entries())
            return decision.actions, WayBack(state_dir, decision.actions, before, after)

    return asyncio.run(run())


def find_clashes(state_dir: Path, order: Order) -> tuple[Clash, ...]:
    """Why `plan` and `apply` would refuse the declaration, its secrets apart. Changes nothing."""
    if not database_path(state_dir).exists():
        return _decide(order, {}, {}, _Found(Entries(), {})).clashes

    async def run() -> tuple[Clash, ...]:
        async with opened.directory(state_dir) as directory:
            _, decision = await _look(directory, order, {})
            return decision.clashes

    return asyncio.run(run())


def read_secrets(declaration: Declaration) -> dict[Named, SetPassword]:
    """The passwords that are declared. Raises PreflightFailed with a line for each that cannot be read or used."""
    secrets: dict[Named, SetPassword] = {}
    findings: list[tuple[Where, str]] = []
    for named, source in declaration.secrets.items():
        if named.kind != "account":  # what fetches mail reads its secrets itself
            continue
        address = address_of(declaration.written[named])
        if isinstance(source, PasswordHash):
            secrets[named] = SetPassword(address=address, password_hash=source.text)
            continue
        try:
            password = source.read()
            check_password(password)
        except MailError as error:
            message = str(error) if str(source) in str(error) else f"{source}: {error}"
            findings.append((declaration.secret_places[named], message))
        else:
            secrets[named] = SetPassword(address=address, password=password)
    if findings:
        raise PreflightFailed(declaration.located(findings))
    return secrets


@dataclass(frozen=True, slots=True)
class _Found:
    """What is there, as of one moment."""

    entries: Entries
    live: Mapping[Named, Entry]
    """With fingerprints of the password hashes, where a hash is declared."""


@dataclass(frozen=True, slots=True)
class _Decision:
    actions: tuple[AccountAction, ...]
    clashes: tuple[Clash, ...]
    edits: tuple[Edit, ...]
    record: Record

    def refuse_clashes(self, order: Order) -> "_Decision":
        """Itself. Raises PreflightFailed."""
        if self.clashes:
            places = order.declaration.places
            messages = [(places.get(clash.object, ()), clash.message) for clash in self.clashes]
            raise PreflightFailed(order.declaration.located(messages))
        return self


async def _look(
    directory: DirectoryEditor, order: Order, secrets: Mapping[Named, SetPassword]
) -> tuple[_Found, _Decision]:
    entries = await directory.entries()
    declared_prints = {named: await _print(directory, secret) for named, secret in secrets.items()}
    live_prints: dict[AccountId, str] = {}
    if any(secret.password_hash is not None for secret in secrets.values()):
        for account, stored in (await directory.passwords()).items():
            live_prints[account] = await directory.fingerprint(_hash_text(stored.argon2id))
    found = _Found(entries, named_entries(entries, live_prints))
    return found, _decide(order, secrets, declared_prints, found)


async def _print(directory: DirectoryEditor, secret: SetPassword) -> str:
    clear, hashed = secret.password, secret.password_hash
    return await directory.fingerprint(f"password {clear}" if hashed is None else _hash_text(hashed))


def _hash_text(argon2id: str) -> str:
    return f"hash {argon2id}"


def _decide(
    order: Order, secrets: Mapping[Named, SetPassword], prints: Mapping[Named, str], found: _Found
) -> _Decision:
    record = Record.parse(found.entries.declared)
    declared = _with_passwords(order, prints, record, found)
    live = {named: entry.fields for named, entry in found.live.items()}
    actions = plan_accounts(declared, record.applied, live, prune=order.prune)
    after = perform(actions, live)
    left = left_after(declared, record.applied, after)
    references = {named: record.references[named] for named in left if named in record.references}
    references |= {named: text for named in secrets if (text := _reference(order.declaration, named)) is not None}
    return _Decision(
        actions,
        tuple(clashes(declared, actions, after)),
        tuple(_edits(actions, order.declaration, secrets, found, after)),
        Record(applied=Applied(objects=declared, left=left), references=references),
    )


def _with_passwords(order: Order, prints: Mapping[Named, str], record: Record, found: _Found) -> Objects:
    """What is declared, with a fingerprint for each password.

    In a rollback, a secret that is read where it was read before counts as the one it was then.
    """
    known = {**record.applied.left, **record.applied.objects}
    declared: dict[Named, Fields] = {}
    for named, fields in order.declaration.objects.items():
        declared[named] = fields
        if named not in prints:
            continue
        declared[named] = {**fields, PASSWORD: prints[named]}
        reference = _reference(order.declaration, named)
        is_same = reference is not None and reference == record.references.get(named)
        if order.is_rollback and is_same and named in found.live and PASSWORD in known.get(named, {}):
            declared[named] = {**fields, PASSWORD: known[named][PASSWORD]}
    return declared


def _reference(declaration: Declaration, named: Named) -> str | None:
    """Where the object's secret is read; None: a hash is declared."""
    source = declaration.secrets[named]
    return None if isinstance(source, PasswordHash) else str(source)


def _edits(
    actions: Sequence[AccountAction],
    declaration: Declaration,
    secrets: Mapping[Named, SetPassword],
    found: _Found,
    after: Objects,
) -> Iterator[Edit]:
    for action in actions:
        named = action.object
        if not action.is_change:
            continue
        written = found.live[named].written if named in found.live else declaration.written[named]
        if action.verb is Verb.REMOVE:
            yield remove(named, written)
        else:
            yield put(named, Entry(after[named], written))
            if any(change.field == PASSWORD for change in action.changes):
                yield secrets[named]
