"""What the verbs on objects of the directory do: look at them, add, change and remove them, one way for every kind.

Every change is one transaction on what was looked at; when somebody else was faster, it is thought over again. The
running services answer by the new data when a call here returns.

Leaves to others: objects as fields (`entries`), what the directory itself refuses (`maillib.ports.directory`).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from maillib.address import Address, local_key
from maillib.errors import Conflict, NotFound
from maillib.ports.directory import Edit, Entries, SetPassword
from maillib.ports.expansion import ROLES
from maillib.ports.lists import list_of_owner
from orchestrator.admin import limits, opened
from orchestrator.admin.entries import Entry, named_entries, put
from orchestrator.admin.entries import remove as removal
from orchestrator.admin.ownership import DEFAULTS, Fields, Named, Value
from orchestrator.admin.record import Record
from orchestrator.units import seconds


def declared_names(found: Entries) -> frozenset[Named]:
    """What the accounts.yaml that was applied last declares: an apply makes it again when it is removed."""
    return frozenset(Record.parse(found.declared).applied.objects)


def entry_of(found: Entries, named: Named) -> Entry:
    """Raises NotFound."""
    try:
        return named_entries(found, {})[named]
    except KeyError:
        raise NotFound(f"there is no {named}") from None


def add(state_dir: Path, named: Named, written: str, fields: Fields, *, password: str | None = None) -> Fields:
    """`written`: its key as a person wrote it. `password` is for an account. All fields that it has then.

    Raises Conflict, NotFound (its domain, what it leads to), PermanentError for values that cannot be.
    """
    full = {**DEFAULTS[named.kind], **fields}

    def build(found: Entries) -> Sequence[Edit]:
        if named in named_entries(found, {}):
            raise Conflict(f"there is {_article(named)} {named} already")
        _check(named, full, found)
        edit = put(named, Entry(full, written))
        if password is None:
            return [edit]
        return [edit, SetPassword(address=Address.parse(written), password=password)]

    _change(state_dir, build)
    return full


def change(state_dir: Path, named: Named, changed: Callable[[Fields], Fields]) -> tuple[Fields, Fields]:
    """`changed` is given all fields, and says which are to have which value. All fields before and after.

    Raises NotFound, Conflict, PermanentError.
    """
    before: Fields = {}
    after: Fields = {}

    def build(found: Entries) -> Sequence[Edit]:
        nonlocal before, after
        entry = entry_of(found, named)
        before = entry.fields
        new = changed(before)
        after = {**before, **new}
        _check(named, new, found)
        return [put(named, replace(entry, fields=after))]

    _change(state_dir, build)
    return before, after


def leading_to(found: Entries, named: Named) -> list[Named]:
    """The objects that lead to this one: they stay when it goes, and lead to nobody then."""
    if named.kind not in ("account", "alias", "list"):
        return []
    return [
        other
        for other, entry in named_entries(found, {}).items()
        if named.key in {to.key for to in (*_leads_to(other, entry.fields), *_fetches_for(entry.fields))}
    ]


def remove(state_dir: Path, named: Named) -> Fields:
    """Mail of an account is kept, for one that is made with its address later. All fields that it had.

    Raises NotFound, Conflict (a domain in use).
    """
    had: Fields = {}

    def build(found: Entries) -> Sequence[Edit]:
        nonlocal had
        entry = entry_of(found, named)
        had = entry.fields
        return [removal(named, entry.written)]

    _change(state_dir, build)
    return had


def set_password(state_dir: Path, named: Named, password: str) -> None:
    """Of an account. Raises NotFound, PermanentError when the password is not acceptable."""

    def build(found: Entries) -> Sequence[Edit]:
        return [SetPassword(address=Address.parse(entry_of(found, named).written), password=password)]

    _change(state_dir, build)


def _change(state_dir: Path, build: Callable[[Entries], Sequence[Edit]]) -> None:
    async def run() -> None:
        async with opened.directory(state_dir) as directory:
            await opened.change(state_dir, directory, build)

    asyncio.run(run())


def _article(named: Named) -> str:
    return "an" if named.kind in ("account", "alias") else "a"


# What values may be


def _check(named: Named, fields: Fields, found: Entries) -> None:
    """Of the fields given. Raises NotFound when one leads to nobody, PermanentError for a value that cannot be."""
    for name, value in fields.items():
        if value is not None and (check := _CHECKS.get(name)) is not None:
            check(value)
    if named.kind == "contact":
        limits.check_line(named.key.rpartition("@")[0], "the name", is_required=True)
    _refuse_unknown(_leads_to(named, fields), found)


def _line(what: str, *, is_required: bool = False) -> Callable[[Value], None]:
    return lambda value: limits.check_line(str(value), f"the {what}", is_required=is_required)


def _number(check: Callable[[int], None]) -> Callable[[Value], None]:
    return lambda value: check(int(str(value)))


_CHECKS: Mapping[str, Callable[[Value], None]] = {
    **{name: _line(name) for name in ("name", "phone", "mobile", "organization", "title", "note")},
    "user": _line("user", is_required=True),
    "folder": lambda value: limits.check_folder(str(value)),
    "quota": _number(limits.check_quota),
    "max_message_size": _number(limits.check_message_size),
    "keep": lambda value: (
        None if isinstance(value, bool) else limits.check_keep_days(int(str(value).removesuffix("d")))
    ),
    "interval": lambda value: limits.check_interval(int(seconds(value))),
}
"""By field, whatever the kind."""


def _leads_to(named: Named, fields: Fields) -> Iterator[Address]:
    postmaster = fields.get("postmaster")
    if postmaster is not None:
        yield Address(str(postmaster), named.key)
    for name in ("catch_all", "targets", "members", "owners"):
        yield from map(Address.parse, _texts(fields.get(name, ())))


def _fetches_for(fields: Fields) -> Iterator[Address]:
    if (account := fields.get("account")) is not None:
        yield Address.parse(str(account))


def _refuse_unknown(addresses: Iterator[Address], found: Entries) -> None:
    """Raises NotFound for an address in a domain of ours that nobody there has."""
    ours = {domain.name for domain in found.domains}
    lists = {one.address.key for one in found.lists}
    known = lists | {one.address.key for one in found.accounts} | {one.address.key for one in found.aliases}
    for address in addresses:
        if address.domain not in ours or address.key in known or local_key(address.local) in ROLES:
            continue
        mailing_list = list_of_owner(address)
        if mailing_list is None or mailing_list.key not in lists:
            raise NotFound(f"there is no account, alias or list {address}")


def _texts(value: Value) -> tuple[str, ...]:
    assert isinstance(value, tuple)
    return value
