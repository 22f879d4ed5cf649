"""Writes what is in the directory as an accounts.yaml.

Guarantees: the text is a valid declaration, and declaring it changes nothing but who owns what. Passwords stand in it
as their hashes, secrets of retrieval entries as the references that they are. Equal directories give equal texts; in
each kind the order is that in which things were made, since the first of a domain is its postmaster.

What a declaration cannot hold stands in a comment: an alias that is disabled or leads nowhere, and what is disabled and
has an address that something else has, too; a retrieval entry for such an address.
"""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

from maillib.address import Address
from maillib.embedded.directory import database_path
from maillib.ports.directory import AccountId, Entries, StoredPassword
from maillib.ports.expansion import POSTMASTER
from maillib.secret import SecretRef
from orchestrator.admin import opened
from orchestrator.admin.clashes import WITH_ADDRESS, addresses
from orchestrator.admin.entries import Entry, address_of, named_entries
from orchestrator.admin.ownership import DEFAULTS, Kind, Named
from orchestrator.units import size_text
from orchestrator.yamlwrite import Written, flow, text

_HEAD = (
    "# What is in the directory, as `postroom export accounts` writes it. Its hashes are as secret as passwords.",
    "version: 1",
)

_SECTIONS: Mapping[Kind, str] = {"account": "users", "alias": "aliases", "list": "lists", "contact": "contacts"}
"""By the key below a domain, in the order of the file."""


def accounts(state_dir: Path) -> str:
    """The declaration of all that is there; of nothing, where there is no directory yet."""
    if not database_path(state_dir).exists():
        return declaration(Entries(), {})

    async def run() -> str:
        async with opened.directory(state_dir) as directory:
            return declaration(await directory.entries(), await directory.passwords())

    return asyncio.run(run())


def declaration(entries: Entries, passwords: Mapping[AccountId, StoredPassword]) -> str:
    return "".join(f"{line}\n" for line in _Export(entries, passwords).lines())


class _Export:
    def __init__(self, entries: Entries, passwords: Mapping[AccountId, StoredPassword]) -> None:
        self._found = named_entries(entries, {})
        self._hashes = {
            Named("account", account.address.key): passwords[account.id].argon2id
            for account in entries.accounts
            if account.id in passwords
        }
        self._by_place: dict[tuple[Kind, str | None], list[tuple[Named, Entry]]] = {}
        for named, entry in self._found.items():
            self._by_place.setdefault((named.kind, named.domain), []).append((named, entry))
        self._left_out: set[Named] = set()
        """What is disabled, and cannot be declared so."""
        taken = {
            key: named for named, entry in self._found.items() if entry.fields["enabled"] for key in _addresses(named)
        }
        for named, entry in self._found.items():
            is_second = any(taken.setdefault(key, named) != named for key in _addresses(named))
            if is_second or (named.kind == "alias" and not (entry.fields["enabled"] and entry.fields["targets"])):
                self._left_out.add(named)

    def lines(self) -> Iterator[str]:
        yield from _HEAD
        domains, retrievals = self._of("domain"), self._of("retrieval")
        yield "domains:" if domains else "domains: {}"
        for named, entry in domains:
            below = [*self._domain(named, entry)]
            yield f"  {text(named.key)}:{'' if below else ' {}'}"
            yield from below
        if retrievals:
            yield "retrieval:"
        for named, entry in retrievals:
            line = f"- {flow({'name': entry.written, **self._fields(named, entry)})}"
            owner = self._declared(Address.parse(str(entry.fields["account"])))
            idle = owner is not None and owner.kind != "account"
            yield f"  # {line} (its account is none)" if idle else f"  {line}"

    def _of(self, kind: Kind, domain: str | None = None) -> list[tuple[Named, Entry]]:
        return self._by_place.get((kind, domain), [])

    def _domain(self, named: Named, entry: Entry) -> Iterator[str]:
        fields = self._fields(named, entry)
        if "postmaster" in fields and self._declared(Address(POSTMASTER, named.key)) is not None:
            yield f"    # postmaster: {flow(fields.pop('postmaster'))} (somebody has that address)"
        for name, value in fields.items():
            yield f"    {name}: {flow(value)}"
        for kind, section in _SECTIONS.items():
            found = self._of(kind, named.key)
            if found:
                yield f"    {section}:"
            for one, its_entry in found:
                line = self._line(one, its_entry)
                yield f"      # {line} (disabled)" if one in self._left_out else f"      {line}"

    def _line(self, named: Named, entry: Entry) -> str:
        fields = self._fields(named, entry)
        if named.kind == "contact":
            name, _, _ = entry.written.rpartition("@")
            return f"- {flow({'name': name, **fields})}"
        local = address_of(entry.written).local
        return f"{text(local)}: {flow(fields.get('targets', []) if named.kind == 'alias' else fields)}"

    def _fields(self, named: Named, entry: Entry) -> dict[str, Written]:
        """Those that are not as they would be anyway, by the keys of the file."""
        domain = named.key if named.kind == "domain" else named.domain
        fields: dict[str, Written] = {}
        for name, default in DEFAULTS[named.kind].items():
            value = entry.fields[name]
            if value == default or value is None:
                continue
            if name == "secret":
                secret = SecretRef.parse(str(value))
                fields["password"] = {secret.source: secret.name}
            else:
                fields[name] = self._written(name, value, domain)
        if named in self._hashes:
            fields["password_hash"] = self._hashes[named]
        return fields

    def _written(self, name: str, value: bool | int | str | tuple[str, ...], domain: str | None) -> Written:
        if name == "postmaster":
            return self._reference(Address(str(value), str(domain)), domain)
        if name in ("catch_all", "targets", "members", "owners") and isinstance(value, tuple):
            return [self._reference(Address.parse(target), domain) for target in value]
        if name in ("quota", "max_message_size") and isinstance(value, int):
            return size_text(value)
        return [*value] if isinstance(value, tuple) else value

    def _reference(self, address: Address, domain: str | None) -> str:
        """By its local part alone where the file has it."""
        is_short = address.domain == domain and "@" not in address.local and self._declared(address) is not None
        return address.local if is_short else str(address)

    def _declared(self, address: Address) -> Named | None:
        """What has the address in the file."""
        for kind in WITH_ADDRESS:
            named = Named(kind, address.key)
            if named in self._found and named not in self._left_out:
                return named
        return None


def _addresses(named: Named) -> tuple[str, ...]:
    return addresses(named) if named.kind in WITH_ADDRESS else ()
