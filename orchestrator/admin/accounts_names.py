"""What has a name in accounts.yaml, and whether names stand for something: the checks over several entries.

They read the document itself rather than the validated models: one wrong value does not hide the mistakes beside it.
What has a wrong type is passed over; validation tells of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from maillib.address import Address, local_key, normalize_domain
from maillib.circles import circles
from maillib.errors import AddressError, PermanentError
from maillib.ports.expansion import POSTMASTER
from maillib.ports.lists import OWNER_SUFFIX, check_list_address
from orchestrator.admin.entries import address_of, named_contact, named_retrieval
from orchestrator.admin.ownership import Kind, Named
from orchestrator.problems import MAX_PROBLEMS, Problem, Where, nearest, shown
from orchestrator.yamltext import Document, Plain

_SECTIONS: Mapping[Kind, str] = {"account": "users", "alias": "aliases", "list": "lists"}
"""Kinds that have an address, by the key below a domain."""


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """What of the file has a name that is right, and that nothing before it has."""

    where: Where
    value: Plain
    written: str


class Names:
    """What has a name in the document, by what it names."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._problems: list[Problem] = []
        """What is wrong with the names themselves."""
        self.entries: dict[Named, NamedEntry] = {}
        for where, key, value in _items((), document.value, "domains"):
            try:
                name = normalize_domain(key)
            except AddressError as error:
                self._refuse(where, str(error), "domain")
                continue
            if self._add(Named("domain", name), NamedEntry(where, value, name), name):
                self._read_domain(where, name, value)
        self._check_owners()
        for where, retrieval in _list((), document.value, "retrieval"):
            name_ = _text(retrieval, "name")
            if name_ is not None:
                self._add(named_retrieval(name_), NamedEntry((*where, "name"), retrieval, name_), name_)

    def problems(self) -> list[Problem]:
        """No more than anybody reads."""
        return [*islice((*self._problems, *islice(_references(self), MAX_PROBLEMS)), MAX_PROBLEMS)]

    def of(self, kind: Kind) -> dict[Named, NamedEntry]:
        return {named: entry for named, entry in self.entries.items() if named.kind == kind}

    def find(self, address: Address) -> Named | None:
        """The account, alias or list with that address."""
        return next((named for kind in _SECTIONS if (named := Named(kind, address.key)) in self.entries), None)

    def local_parts(self, domain: str) -> Iterator[str]:
        """For hints."""
        found = (address_of(entry.written) for named, entry in self.entries.items() if named.kind in _SECTIONS)
        return (address.local for address in found if address.domain == domain)

    def _read_domain(self, where: Where, domain: str, value: Plain) -> None:
        for kind, section in _SECTIONS.items():
            for below, local, entry in _items(where, value, section):
                self._read_address(kind, domain, below, local, entry)
        for below, contact in _list(where, value, "contacts"):
            name = _text(contact, "name")
            if name is not None:
                named = named_contact(domain, name)
                self._add(named, NamedEntry((*below, "name"), contact, f"{name}@{domain}"), f"the contact {name}")

    def _read_address(self, kind: Kind, domain: str, where: Where, local: str, value: Plain) -> None:
        try:
            address = Address.parse(f"{local}@{domain}")
        except AddressError as error:
            hint = "write the part before the @ alone" if "@" in local else None
            self._refuse(where, f"{error}; allowed: a local part", "address", hint)
            return
        if kind == "list":
            try:
                check_list_address(address)
            except PermanentError as error:
                self._refuse(where, str(error), "address")
                return
        earlier = self.find(address)
        if earlier is not None:
            self._refuse_second(where, str(address), earlier)
        else:
            self.entries[Named(kind, address.key)] = NamedEntry(where, value, str(address))

    def _check_owners(self) -> None:
        for named, entry in self.of("list").items():
            address = address_of(entry.written)
            owner = Address(address.local + OWNER_SUFFIX, address.domain)
            taken = self.find(owner)
            if taken is not None:
                line = self.document.key_position(entry.where).line
                message = f"{owner} is the address of the owners of the {named} in line {line}; allowed: another name"
                self._refuse(self.entries[taken].where, message, "declared-twice")

    def _add(self, named: Named, entry: NamedEntry, name: str) -> bool:
        if named in self.entries:
            self._refuse_second(entry.where, name, named)
            return False
        self.entries[named] = entry
        return True

    def _refuse_second(self, where: Where, name: str, first: Named) -> None:
        line = self.document.key_position(self.entries[first].where).line
        self._refuse(where, f"{name} is declared in line {line} already; allowed: once", "declared-twice")

    def _refuse(self, where: Where, message: str, code: str, hint: str | None = None) -> None:
        self._problems.append(self.document.problem(where, message, code=code, hint=hint, at_key=True))


def _items(where: Where, value: Plain, key: str) -> Iterator[tuple[Where, str, Plain]]:
    """Place, key and value of what is in the mapping `key` of `value`, as far as these are mappings."""
    below = value.get(key) if isinstance(value, dict) else None
    for name, entry in below.items() if isinstance(below, dict) else ():
        yield (*where, key, name), name, entry


def _list(where: Where, value: Plain, key: str) -> Iterator[tuple[Where, Plain]]:
    """Place and value of the items of the list `key` of `value`."""
    below = value.get(key) if isinstance(value, dict) else None
    for number, item in enumerate(below if isinstance(below, list) else ()):
        yield (*where, key, number), item


def _text(value: Plain, key: str) -> str | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _references(names: Names) -> Iterator[Problem]:
    """What is wrong with names that stand for something else."""
    document = names.document
    leading = [named.key for named in names.entries if named.kind in ("alias", "list")]
    graph: dict[str, list[tuple[int, str]]] = {key: [] for key in leading}
    edges: dict[str, list[Where]] = {key: [] for key in leading}
    for named, entry in names.entries.items():
        domain = named.key if named.kind == "domain" else str(named.domain)
        if named.kind == "domain":
            yield from _postmaster(domain, entry, names)
        elif named.kind == "retrieval":
            yield from _account(entry, names)
        for group in _target_groups(named, entry):
            yield from _targets(domain, group, names)
            for where, text in group if named.key in graph else ():
                target = target_of(text, domain, names)
                if target is not None and target.key in graph:
                    graph[named.key].append((len(edges[named.key]), target.key))
                    edges[named.key].append(where)
    for members, number in circles(graph):
        message = f"circular: {' -> '.join([*members, members[0]])}; allowed: no way back to itself"
        yield document.problem(edges[members[-1]][number], message, code="circular")


def _target_groups(named: Named, entry: NamedEntry) -> Iterator[list[tuple[Where, str]]]:
    """Lists of targets in the entry, each target with its place."""
    match named.kind:
        case "alias":
            found = entry.value if isinstance(entry.value, list) else []
            yield [((*entry.where, number), text) for number, text in enumerate(found) if isinstance(text, str)]
        case "list":
            for key in ("members", "owners"):
                yield [(where, text) for where, text in _list(entry.where, entry.value, key) if isinstance(text, str)]
        case "domain":
            one = _text(entry.value, "catch_all")
            several = _list(entry.where, entry.value, "catch_all")
            alone = [] if one is None else [((*entry.where, "catch_all"), one)]
            yield alone or [(where, text) for where, text in several if isinstance(text, str)]


def _targets(domain: str, group: Sequence[tuple[Where, str]], names: Names) -> Iterator[Problem]:
    seen: set[str] = set()
    for where, text in group:
        target = target_of(text, domain, names)
        if target is None:
            message = f"{shown(text)} is no target; allowed: a user, alias or list of {domain}, or an address"
            hint = nearest(text, names.local_parts(domain))
            yield names.document.problem(where, message, code="target", hint=hint)
            continue
        if target.key in seen:
            yield names.document.problem(where, f"{target} is named twice; allowed: once", code="named-twice")
        seen.add(target.key)


def target_of(text: str, domain: str, names: Names) -> Address | None:
    """The address that a target means. One with a domain may be anybody's, or of an account made by hand."""
    try:
        address = Address.parse(text if "@" in text else f"{text}@{domain}")
    except AddressError:
        return None
    known = "@" in text or names.find(address) is not None or local_key(address.local) == POSTMASTER
    return address if known else None


def _postmaster(domain: str, entry: NamedEntry, names: Names) -> Iterator[Problem]:
    text = _text(entry.value, "postmaster")
    if text is None:
        return
    where = (*entry.where, "postmaster")
    if names.find(Address(POSTMASTER, domain)) is not None:
        message = f"{domain} has a user, alias or list of that name, too; allowed: one of both"
        yield names.document.problem(where, message, code="postmaster")
        return
    target = target_of(text, domain, names)
    if target is None or target.domain != domain or local_key(target.local) == POSTMASTER:
        message = f"{domain} has no user, alias or list {shown(text)}; allowed: one of them"
        hint = nearest(text, names.local_parts(domain))
        yield names.document.problem(where, message, code="postmaster", hint=hint)


def _account(entry: NamedEntry, names: Names) -> Iterator[Problem]:
    """Whether there is such an account is seen by plans: it may have been made by hand."""
    text = _text(entry.value, "account")
    try:
        found = None if text is None else names.find(Address.parse(text))
    except AddressError:
        return
    if found is not None and found.kind != "account":
        message = f"{found.key} is declared as {_WITH_ARTICLE[found.kind]}; allowed: a user"
        yield names.document.problem((*entry.where[:-1], "account"), message, code="account")


_WITH_ARTICLE: Mapping[str, str] = {"alias": "an alias", "list": "a list"}
