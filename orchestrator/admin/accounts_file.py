"""Reads accounts.yaml: what is declared of the directory.

Guarantees: everything that is wrong is told at once (SpecErrors), each with its place. A secret is a reference; none is
read here. Leaves to others: what can only be seen beside what is there (`clashes`), what of it has to be changed
(`ownership`), and changing it (`declared`).

The checks read the document itself rather than the validated models: one wrong value does not hide the mistakes beside
it. What has a wrong type is passed over; validation tells of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maillib.address import Address, local_key, normalize_domain
from maillib.circles import circles
from maillib.errors import AddressError, PermanentError
from maillib.ports.expansion import POSTMASTER
from maillib.ports.lists import OWNER_SUFFIX, check_list_address
from maillib.ports.retrieval import Server
from maillib.secret import SecretRef
from orchestrator import yamltext
from orchestrator.admin.accounts_model import AccountsFile, Contact, Domain, MailingList, Retrieval, User
from orchestrator.admin.entries import address_of, keep_text, named_contact, named_retrieval
from orchestrator.admin.ownership import KINDS, Fields, Kind, Named, Value
from orchestrator.fields import absolute
from orchestrator.problems import Problem, SpecErrors, Where, nearest, shown
from orchestrator.units import duration_text
from orchestrator.validation import elsewhere, validate
from orchestrator.yamltext import Document, Plain

MAX_OCTETS = 4 << 20
"""Ten thousand accounts with a password hash each have 1.6 MiB."""

_SECTIONS: Mapping[Kind, str] = {"account": "users", "alias": "aliases", "list": "lists"}
"""Kinds that have an address, by the key below a domain."""


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
    """What is declared, but for passwords of accounts; kind by kind, each in the order of the file."""
    written: Mapping[Named, str]
    """`Named.key` of each as the file writes it."""
    secrets: Mapping[Named, SecretRef | PasswordHash]
    """Of accounts whose password is declared, and of retrieval entries."""
    places: Mapping[Named, Where]
    """Where in the file each of `objects` stands."""
    secret_places: Mapping[Named, Where]
    """Where in the file each of `secrets` stands."""

    def located(self, messages: Sequence[tuple[Where, str]]) -> str:
        """A line each, behind its place in the file, as all mistakes are told."""
        document = yamltext.parse(self.text.encode(), file=str(self.path), max_octets=MAX_OCTETS)
        problems = (document.problem(where, text, code="accounts", at_key=True) for where, text in messages)
        return "\n".join(map(str, problems))


def read_declaration(path: Path) -> Declaration:
    """The declaration in the file `path`. Raises SpecErrors."""
    return read_copy(path, path.parent)


def read_copy(path: Path, folder: Path) -> Declaration:
    """As `read_declaration`, of a copy of a file that is in `folder`: relative paths start there. Raises SpecErrors."""
    return _declared(yamltext.read(path, max_octets=MAX_OCTETS), path, folder)


def parse_copy(text: str, path: Path, folder: Path) -> Declaration:
    """The same of a copy at hand: `path` is its name for messages. Raises SpecErrors."""
    return _declared(yamltext.parse(text.encode(), file=str(path), max_octets=MAX_OCTETS), path, folder)


def _declared(document: Document, path: Path, folder: Path) -> Declaration:
    file, problems = validate(document, AccountsFile)
    problems = [*document.problems, *problems]
    names = _Names(document)
    problems += elsewhere([*names.problems, *_references(names)], problems)
    if problems or file is None:
        raise SpecErrors(problems)
    return _declaration(document, file, names, path, folder)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What of the file has a name that is right."""

    where: Where
    value: Plain
    written: str


class _Names:
    """What has a name in the document, by what it names."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        """What is wrong with the names."""
        self.entries: dict[Named, _Entry] = {}
        for where, key, value in _items((), document.value, "domains"):
            try:
                name = normalize_domain(key)
            except AddressError as error:
                self.refuse(where, str(error), "domain")
                continue
            if self._add(Named("domain", name), _Entry(where, value, name), name):
                self._read_domain(where, name, value)
        self._check_owners()
        for where, retrieval in _list((), document.value, "retrieval"):
            name_ = _text(retrieval, "name")
            if name_ is not None:
                self._add(named_retrieval(name_), _Entry((*where, "name"), retrieval, name_), name_)

    def of(self, kind: Kind) -> dict[Named, _Entry]:
        return {named: entry for named, entry in self.entries.items() if named.kind == kind}

    def find(self, address: Address) -> Named | None:
        """The account, alias or list with that address."""
        return next((named for kind in _SECTIONS if (named := Named(kind, address.key)) in self.entries), None)

    def local_parts(self, domain: str) -> list[str]:
        found = (address_of(entry.written) for named, entry in self.entries.items() if named.kind in _SECTIONS)
        return [address.local for address in found if address.domain == domain]

    def _read_domain(self, where: Where, domain: str, value: Plain) -> None:
        for kind, section in _SECTIONS.items():
            for below, local, entry in _items(where, value, section):
                self._read_address(kind, domain, below, local, entry)
        for below, contact in _list(where, value, "contacts"):
            name = _text(contact, "name")
            if name is not None:
                named = named_contact(domain, name)
                self._add(named, _Entry((*below, "name"), contact, f"{name}@{domain}"), f"the contact {name}")

    def _read_address(self, kind: Kind, domain: str, where: Where, local: str, value: Plain) -> None:
        try:
            address = Address.parse(f"{local}@{domain}")
        except AddressError as error:
            hint = "write the part before the @ alone" if "@" in local else None
            self.refuse(where, f"{error}; allowed: a local part", "address", hint)
            return
        if kind == "list":
            try:
                check_list_address(address)
            except PermanentError as error:
                self.refuse(where, str(error), "address")
                return
        earlier = self.find(address)
        if earlier is not None:
            self._refuse_second(where, str(address), earlier)
        else:
            self.entries[Named(kind, address.key)] = _Entry(where, value, str(address))

    def _check_owners(self) -> None:
        for named, entry in self.of("list").items():
            address = address_of(entry.written)
            owner = Address(address.local + OWNER_SUFFIX, address.domain)
            taken = self.find(owner)
            if taken is not None:
                line = self.document.key_position(entry.where).line
                message = f"{owner} is the address of the owners of the {named} in line {line}; allowed: another name"
                self.refuse(self.entries[taken].where, message, "declared-twice")

    def _add(self, named: Named, entry: _Entry, name: str) -> bool:
        if named in self.entries:
            self._refuse_second(entry.where, name, named)
            return False
        self.entries[named] = entry
        return True

    def _refuse_second(self, where: Where, name: str, first: Named) -> None:
        line = self.document.key_position(self.entries[first].where).line
        self.refuse(where, f"{name} is declared in line {line} already; allowed: once", "declared-twice")

    def refuse(self, where: Where, message: str, code: str, hint: str | None = None) -> None:
        self.problems.append(self.document.problem(where, message, code=code, hint=hint, at_key=True))


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


def _references(names: _Names) -> Iterator[Problem]:
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
                target = _target(text, domain, names)
                if target is not None and target.key in graph:
                    graph[named.key].append((len(edges[named.key]), target.key))
                    edges[named.key].append(where)
    for members, number in circles(graph):
        message = f"circular: {' -> '.join([*members, members[0]])}; allowed: no way back to itself"
        yield document.problem(edges[members[-1]][number], message, code="circular")


def _target_groups(named: Named, entry: _Entry) -> Iterator[list[tuple[Where, str]]]:
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


def _targets(domain: str, group: Sequence[tuple[Where, str]], names: _Names) -> Iterator[Problem]:
    seen: set[str] = set()
    for where, text in group:
        target = _target(text, domain, names)
        if target is None:
            message = f"{shown(text)} is no target; allowed: a user, alias or list of {domain}, or an address"
            hint = nearest(text, names.local_parts(domain))
            yield names.document.problem(where, message, code="target", hint=hint)
            continue
        if target.key in seen:
            yield names.document.problem(where, f"{target} is named twice; allowed: once", code="named-twice")
        seen.add(target.key)


def _target(text: str, domain: str, names: _Names) -> Address | None:
    """The address that a target means. One with a domain may be anybody's, or of an account made by hand."""
    try:
        address = Address.parse(text if "@" in text else f"{text}@{domain}")
    except AddressError:
        return None
    known = "@" in text or names.find(address) is not None or local_key(address.local) == POSTMASTER
    return address if known else None


def _postmaster(domain: str, entry: _Entry, names: _Names) -> Iterator[Problem]:
    text = _text(entry.value, "postmaster")
    if text is None:
        return
    where = (*entry.where, "postmaster")
    if names.find(Address(POSTMASTER, domain)) is not None:
        message = f"{domain} has a user, alias or list of that name, too; allowed: one of both"
        yield names.document.problem(where, message, code="postmaster")
        return
    target = _target(text, domain, names)
    if target is None or target.domain != domain or local_key(target.local) == POSTMASTER:
        message = f"{domain} has no user, alias or list {shown(text)}; allowed: one of them"
        hint = nearest(text, names.local_parts(domain))
        yield names.document.problem(where, message, code="postmaster", hint=hint)


def _account(entry: _Entry, names: _Names) -> Iterator[Problem]:
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


def _declaration(document: Document, file: AccountsFile, names: _Names, path: Path, folder: Path) -> Declaration:
    """Of a file in which nothing is wrong."""
    objects: dict[Named, Fields] = {}
    secrets: dict[Named, SecretRef | PasswordHash] = {}
    places: dict[Named, Where] = {}
    for kind in KINDS:
        for named, entry in names.of(kind).items():
            objects[named] = _fields(named, entry, file, names, folder)
            secret = _secret(named, entry, file, folder)
            if secret is not None:
                secrets[named] = secret
                where = entry.where[:-1] if kind == "retrieval" else entry.where
                places[named] = (*where, "password_hash" if isinstance(secret, PasswordHash) else "password")
    return Declaration(
        path=path,
        text=document.data.decode(),
        objects=objects,
        written={named: names.entries[named].written for named in objects},
        places={named: names.entries[named].where for named in objects},
        secrets=secrets,
        secret_places=places,
    )


def _secret(named: Named, entry: _Entry, file: AccountsFile, folder: Path) -> SecretRef | PasswordHash | None:
    if named.kind == "retrieval":
        return _retrieval(entry, file).password.ref(folder)
    if named.kind != "account":
        return None
    user = _user(entry, file)
    if user.password is not None:
        return user.password.ref(folder)
    return None if user.password_hash is None else PasswordHash(user.password_hash)


def _fields(named: Named, entry: _Entry, file: AccountsFile, names: _Names, folder: Path) -> Fields:
    """The fields that the file gives a value to: the others are not its own."""
    domain = str(named.domain)

    def addresses(texts: Sequence[str], domain: str = domain) -> tuple[str, ...]:
        return tuple(str(_target(text, domain, names)) for text in texts)

    match named.kind:
        case "domain":
            declared = _domain(entry, file)
            postmaster = None if declared.postmaster is None else _target(declared.postmaster, named.key, names)
            return _written(
                declared,
                postmaster=None if postmaster is None else postmaster.local,
                catch_all=addresses(declared.catch_all, named.key),
            )
        case "account":
            user = _user(entry, file)
            protocols = None if user.protocols is None else tuple(sorted(set(user.protocols)))
            return _written(user, name=user.name, quota=user.quota, protocols=protocols)
        case "alias":
            targets = (_domain(entry, file).aliases or {})[_local(entry)]
            return {"targets": addresses(targets), "enabled": True}
        case "list":
            one = (_domain(entry, file).lists or {})[_local(entry)] or MailingList()
            return _written(
                one, name=one.name, members=addresses(one.members), post=one.post, owners=addresses(one.owners)
            )
        case "contact":
            contact = (_domain(entry, file).contacts or [])[_index(entry)]
            return _written(contact, **contact.model_dump(exclude={"name", "enabled"}))
        case "retrieval":
            retrieval = _retrieval(entry, file)
            keep = retrieval.keep
            return _written(
                retrieval,
                account=retrieval.account,
                server=str(Server.parse(retrieval.server)),
                tls=retrieval.tls,
                ca=None if retrieval.ca is None else absolute(folder, retrieval.ca),
                user=retrieval.user,
                secret=str(retrieval.password.ref(folder)),
                folder=retrieval.folder,
                keep=keep if isinstance(keep, bool) else keep_text(keep),
                apop=retrieval.apop,
                interval=None if retrieval.interval is None else duration_text(retrieval.interval),
                max_message_size=retrieval.max_message_size,
            )


def _written(model: Domain | User | MailingList | Contact | Retrieval, **values: Value) -> Fields:
    """Of `values`, by key of the file, those that it writes."""
    keys = {"secret": "password"}
    declared = {name: value for name, value in values.items() if keys.get(name, name) in model.model_fields_set}
    return {**declared, "enabled": model.enabled}


def _domain(entry: _Entry, file: AccountsFile) -> Domain:
    """The domain that the entry is, or is in."""
    return (file.domains or {})[str(entry.where[1])] or Domain()


def _user(entry: _Entry, file: AccountsFile) -> User:
    return (_domain(entry, file).users or {})[_local(entry)] or User()


def _retrieval(entry: _Entry, file: AccountsFile) -> Retrieval:
    return (file.retrieval or [])[int(entry.where[1])]


def _local(entry: _Entry) -> str:
    return str(entry.where[-1])


def _index(entry: _Entry) -> int:
    return int(entry.where[-2])
