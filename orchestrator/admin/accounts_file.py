"""Reads accounts.yaml: what is declared of the directory.

Guarantees: everything that is wrong is told at once (SpecErrors), each with its place. A secret is a reference; none is
read here. Leaves to others: names, and what they stand for (`accounts_names`), what can only be seen beside what is
there (`clashes`), what of it has to be changed (`ownership`), and changing it (`declared`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maillib.ports.retrieval import Server
from maillib.secret import SecretRef
from orchestrator import yamltext
from orchestrator.admin.accounts_model import AccountsFile, Contact, Domain, MailingList, Retrieval, User
from orchestrator.admin.accounts_names import NamedEntry, Names, target_of
from orchestrator.admin.entries import keep_text
from orchestrator.admin.ownership import KINDS, Fields, Named, Value
from orchestrator.fields import absolute
from orchestrator.problems import SpecErrors, Where
from orchestrator.units import duration_text
from orchestrator.validation import elsewhere, validate
from orchestrator.yamltext import Document

MAX_OCTETS = 4 << 20
"""Ten thousand accounts with a password hash each have 1.6 MiB."""


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
    names = Names(document)
    problems += elsewhere(names.problems(), problems)
    if problems or file is None:
        raise SpecErrors(problems)
    return _declaration(document, file, names, path, folder)


def _declaration(document: Document, file: AccountsFile, names: Names, path: Path, folder: Path) -> Declaration:
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


def _secret(named: Named, entry: NamedEntry, file: AccountsFile, folder: Path) -> SecretRef | PasswordHash | None:
    if named.kind == "retrieval":
        return _retrieval(entry, file).password.ref(folder)
    if named.kind != "account":
        return None
    user = _user(entry, file)
    if user.password is not None:
        return user.password.ref(folder)
    return None if user.password_hash is None else PasswordHash(user.password_hash)


def _fields(named: Named, entry: NamedEntry, file: AccountsFile, names: Names, folder: Path) -> Fields:
    """The fields that the file gives a value to: the others are not its own."""
    domain = str(named.domain)

    def addresses(texts: Sequence[str], domain: str = domain) -> tuple[str, ...]:
        return tuple(str(target_of(text, domain, names)) for text in texts)

    match named.kind:
        case "domain":
            declared = _domain(entry, file)
            postmaster = None if declared.postmaster is None else target_of(declared.postmaster, named.key, names)
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


def _domain(entry: NamedEntry, file: AccountsFile) -> Domain:
    """The domain that the entry is, or is in."""
    return (file.domains or {})[str(entry.where[1])] or Domain()


def _user(entry: NamedEntry, file: AccountsFile) -> User:
    return (_domain(entry, file).users or {})[_local(entry)] or User()


def _retrieval(entry: NamedEntry, file: AccountsFile) -> Retrieval:
    return (file.retrieval or [])[int(entry.where[1])]


def _local(entry: NamedEntry) -> str:
    return str(entry.where[-1])


def _index(entry: NamedEntry) -> int:
    return int(entry.where[-2])
