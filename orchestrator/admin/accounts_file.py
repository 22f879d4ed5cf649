"""Reads accounts.yaml: which domains, users and aliases are declared.

Guarantees: everything that is wrong is told at once (SpecErrors), each with its place. A secret is a reference; none is
read here. Leaves to others: what of it has to be changed (`ownership`), and changing it (`declared`).

The checks read the document itself rather than the validated models: one wrong value does not hide the mistakes beside
it. What has a wrong type is passed over; validation tells of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from maillib.address import Address, local_key, normalize_domain
from maillib.circles import circles
from maillib.errors import AddressError
from maillib.ports.expansion import POSTMASTER
from maillib.secret import SecretRef
from orchestrator import yamltext
from orchestrator.admin.accounts_model import AccountsFile, Domain, User
from orchestrator.admin.ownership import Fields, Kind, Named, Value
from orchestrator.problems import Problem, SpecErrors, Where, nearest, shown
from orchestrator.validation import elsewhere, validate
from orchestrator.yamltext import Document, Plain


@dataclass(frozen=True, slots=True)
class PasswordHash:
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A valid accounts.yaml."""

    path: Path
    """The file, as the caller gave it."""
    text: str
    """The file as it was read."""
    objects: Mapping[Named, Fields]
    """What is declared, without passwords: domains, accounts, aliases, each in the order of the file."""
    secrets: Mapping[Named, SecretRef | PasswordHash]
    """Of the accounts whose password is declared."""
    secret_places: Mapping[Named, Where]
    """Where in the file each of `secrets` stands."""
    addresses: Mapping[Named, Address]
    """Of accounts and aliases."""


def read_declaration(path: Path) -> Declaration:
    """The declaration in the file `path`. Raises SpecErrors."""
    document = yamltext.read(path)
    file, problems = validate(document, AccountsFile)
    problems = [*document.problems, *problems]
    entries = _Entries(document)
    problems += elsewhere([*entries.problems, *_references(entries)], problems)
    if problems or file is None:
        raise SpecErrors(problems)
    return _declaration(document, file, entries, path)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A domain, user or alias of the file whose name is right."""

    where: Where
    value: Plain


class _Entries:
    """What has a name in the document, by what it names."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        """What is wrong with the names."""
        self.domains: dict[str, _Entry] = {}
        self.of_addresses: dict[Named, _Entry] = {}
        self.addresses: dict[Named, Address] = {}
        for where, key, value in _items((), document.value, "domains"):
            try:
                name = normalize_domain(key)
            except AddressError as error:
                self._refuse(where, str(error), "domain")
                continue
            if name in self.domains:
                self._refuse_second(where, name, self.domains[name])
                continue
            self.domains[name] = _Entry(where, value)
            self._read("account", name, _items(where, value, "users"))
            self._read("alias", name, _items(where, value, "aliases"))

    def _read(self, kind: Kind, domain: str, items: Iterable[tuple[Where, str, Plain]]) -> None:
        for where, local, value in items:
            try:
                address = Address.parse(f"{local}@{domain}")
            except AddressError as error:
                hint = "write the part before the @ alone" if "@" in local else None
                self._refuse(where, f"{error}; allowed: a local part", "address", hint)
                continue
            earlier = self.find(address)
            if earlier is not None:
                self._refuse_second(where, str(address), self.of_addresses[earlier])
                continue
            named = Named(kind, address.key)
            self.of_addresses[named] = _Entry(where, value)
            self.addresses[named] = address

    def _refuse(self, where: Where, message: str, code: str, hint: str | None = None) -> None:
        self.problems.append(self.document.problem(where, message, code=code, hint=hint, at_key=True))

    def _refuse_second(self, where: Where, name: str, first: _Entry) -> None:
        line = self.document.key_position(first.where).line
        self._refuse(where, f"{name} is declared in line {line} already; allowed: once", "declared-twice")

    def find(self, address: Address) -> Named | None:
        """The account or alias with that address."""
        kinds: tuple[Kind, ...] = ("account", "alias")
        return next((named for kind in kinds if (named := Named(kind, address.key)) in self.of_addresses), None)

    def local_parts(self, domain: str) -> list[str]:
        return [address.local for address in self.addresses.values() if address.domain == domain]


def _items(where: Where, value: Plain, key: str) -> Iterator[tuple[Where, str, Plain]]:
    """Place, key and value of what is in the mapping `key` of `value`, as far as these are mappings."""
    below = value.get(key) if isinstance(value, dict) else None
    for name, entry in below.items() if isinstance(below, dict) else ():
        yield (*where, key, name), name, entry


def _references(entries: _Entries) -> Iterator[Problem]:
    """What is wrong with postmasters and targets."""
    for domain, entry in entries.domains.items():
        yield from _postmaster(domain, entry, entries)
    graph: dict[str, list[tuple[int, str]]] = {}
    aliases = {named.key: entry for named, entry in entries.of_addresses.items() if named.kind == "alias"}
    for key, entry in aliases.items():
        graph[key] = []
        seen: set[str] = set()
        for number, text in enumerate(entry.value if isinstance(entry.value, list) else ()):
            if not isinstance(text, str):
                continue
            where = (*entry.where, number)
            domain = key.rpartition("@")[2]
            target = _target(text, domain, entries)
            if target is None:
                message = f"{shown(text)} is no target; allowed: a user or alias of {domain}, or an address"
                hint = nearest(text, entries.local_parts(domain))
                yield entries.document.problem(where, message, code="target", hint=hint)
                continue
            if target.key in seen:
                yield entries.document.problem(where, f"{target} is named twice; allowed: once", code="named-twice")
            seen.add(target.key)
            if target.key in aliases:
                graph[key].append((number, target.key))
    for members, number in circles(graph):
        message = f"circular: {' -> '.join([*members, members[0]])}; allowed: no way back to the alias itself"
        yield entries.document.problem((*aliases[members[-1]].where, number), message, code="circular")


def _postmaster(domain: str, entry: _Entry, entries: _Entries) -> Iterator[Problem]:
    text = entry.value.get("postmaster") if isinstance(entry.value, dict) else None
    if not isinstance(text, str):
        return
    where = (*entry.where, "postmaster")
    if entries.find(Address(POSTMASTER, domain)) is not None:
        message = f"{domain} has a user or alias of that name, too; allowed: one of both"
        yield entries.document.problem(where, message, code="postmaster")
    elif entries.find(Address(text, domain)) is None:
        message = f"{domain} has no user or alias {shown(text)}; allowed: one of them"
        hint = nearest(text, entries.local_parts(domain))
        yield entries.document.problem(where, message, code="postmaster", hint=hint)


def _target(text: str, domain: str, entries: _Entries) -> Address | None:
    """The address that a target means. One with a domain may be anybody's, or of an account made by hand."""
    try:
        address = Address.parse(text if "@" in text else f"{text}@{domain}")
    except AddressError:
        return None
    known = "@" in text or entries.find(address) is not None or local_key(address.local) == POSTMASTER
    return address if known else None


def _declaration(document: Document, file: AccountsFile, entries: _Entries, path: Path) -> Declaration:
    """Of a file in which nothing is wrong."""
    objects: dict[Named, Fields] = {}
    secrets: dict[Named, SecretRef | PasswordHash] = {}
    domains = file.domains or {}
    for name, entry in entries.domains.items():
        domain = domains[str(entry.where[1])] or Domain()
        objects[Named("domain", name)] = {**_written(domain, "postmaster"), "enabled": True}
    for named, entry in entries.of_addresses.items():
        _, domain_key, _, local = map(str, entry.where)
        domain = domains[domain_key] or Domain()
        if named.kind == "account":
            user = (domain.users or {})[local] or User()
            objects[named] = {**_written(user, "name", "quota", "protocols"), "enabled": True}
            if user.password is not None:
                secrets[named] = user.password.ref(path.parent)
            elif user.password_hash is not None:
                secrets[named] = PasswordHash(user.password_hash)
        else:
            targets = [
                _target(text, entries.addresses[named].domain, entries) for text in (domain.aliases or {})[local]
            ]
            objects[named] = {"targets": tuple(map(str, targets)), "enabled": True}
    order: dict[Kind, int] = {"domain": 0, "account": 1, "alias": 2}
    in_order = dict(sorted(objects.items(), key=lambda item: order[item[0].kind]))
    return Declaration(
        path=path,
        text=document.data.decode(),
        objects=in_order,
        secrets=secrets,
        secret_places={named: (*entries.of_addresses[named].where, "password") for named in secrets},
        addresses=entries.addresses,
    )


def _written(entry: Domain | User, *names: str) -> dict[str, Value]:
    """The fields that the file gives a value to: the others are not its own."""
    values = {name: getattr(entry, name) for name in names if name in entry.model_fields_set}
    return {name: tuple(sorted(set(value))) if isinstance(value, list) else value for name, value in values.items()}
