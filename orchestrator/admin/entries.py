"""The entries of the directory as objects with fields, which plans compare; and such objects as edits of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from maillib.address import Address
from maillib.ports.contacts import Contact, contact_key
from maillib.ports.directory import (
    AccountId,
    Alias,
    Domain,
    Edit,
    Entries,
    PutAccount,
    RemoveAccount,
    RemoveAlias,
    RemoveContact,
    RemoveDomain,
    RemoveList,
    RemoveRetrieval,
)
from maillib.ports.lists import MailingList, Post
from maillib.ports.retrieval import Apop, Retrieval, Server, Tls
from maillib.secret import SecretRef
from orchestrator.admin.ownership import PASSWORD, Fields, Named, Value
from orchestrator.units import duration_text, seconds


@dataclass(frozen=True, slots=True)
class Entry:
    fields: Fields
    written: str
    """`Named.key` as it was written first."""


def named_entries(entries: Entries, prints: Mapping[AccountId, str]) -> dict[Named, Entry]:
    """Everything that is there. `prints`: fingerprints of password hashes, of accounts where these matter."""
    return dict(_entries(entries, prints))


def _entries(entries: Entries, prints: Mapping[AccountId, str]) -> Iterator[tuple[Named, Entry]]:
    for domain in entries.domains:
        fields: Fields = {
            "postmaster": domain.postmaster,
            "catch_all": texts(domain.catch_all),
            "enabled": domain.enabled,
        }
        yield Named("domain", domain.name), Entry(fields, domain.name)
    for account in entries.accounts:
        fields = {
            "name": account.name,
            "quota": account.quota_octets,
            "protocols": None if account.protocols is None else tuple(sorted(account.protocols)),
            "enabled": account.enabled,
            **({PASSWORD: prints[account.id]} if account.id in prints else {}),
        }
        yield Named("account", account.address.key), Entry(fields, str(account.address))
    for alias in entries.aliases:
        fields = {"targets": texts(alias.targets), "enabled": alias.enabled}
        yield Named("alias", alias.address.key), Entry(fields, str(alias.address))
    for found in entries.lists:
        fields = {
            "name": found.name,
            "members": texts(found.members),
            "post": found.post.value,
            "owners": texts(found.owners),
            "enabled": found.enabled,
        }
        yield Named("list", found.address.key), Entry(fields, str(found.address))
    for contact in entries.contacts:
        fields = {
            "email": None if contact.email is None else str(contact.email),
            "phone": contact.phone,
            "mobile": contact.mobile,
            "organization": contact.organization,
            "title": contact.title,
            "note": contact.note,
            "enabled": contact.enabled,
        }
        named = named_contact(contact.domain, contact.name)
        yield named, Entry(fields, f"{contact.name}@{contact.domain}")
    for retrieval in entries.retrievals:
        fields = {
            "account": str(retrieval.account),
            "server": str(retrieval.server),
            "tls": retrieval.tls.value,
            "ca": retrieval.ca,
            "user": retrieval.user,
            "secret": str(retrieval.secret),
            "folder": retrieval.folder,
            "keep": keep_text(retrieval.keep_days),
            "apop": retrieval.apop.value,
            "interval": None if retrieval.interval_s is None else duration_text(retrieval.interval_s),
            "max_message_size": retrieval.max_message_size,
            "enabled": retrieval.enabled,
        }
        yield named_retrieval(retrieval.name), Entry(fields, retrieval.name)


def named_contact(domain: str, name: str) -> Named:
    return Named("contact", f"{contact_key(name)}@{domain}")


def named_retrieval(name: str) -> Named:
    return Named("retrieval", name.lower())


def address_of(written: str) -> Address:
    """Of an account, alias or list."""
    local, _, domain = written.rpartition("@")
    return Address(local, domain)


def keep_text(days: int | None) -> bool | str:
    """As accounts.yaml says how long mail stays on a server."""
    if days is None:
        return True
    return f"{days}d" if days else False


def _keep_days(value: Value) -> int | None:
    if isinstance(value, bool):
        return None if value else 0
    return int(_text(value).removesuffix("d"))


def texts(addresses: tuple[Address, ...]) -> tuple[str, ...]:
    return tuple(map(str, addresses))


def put(named: Named, entry: Entry) -> Edit:
    """Makes the object, or gives it all of these fields; but for its password."""
    fields = entry.fields
    enabled = fields["enabled"] is True
    match named.kind:
        case "domain":
            return Domain(
                name=named.key,
                postmaster=_text_or_none(fields["postmaster"]),
                catch_all=_addresses(fields["catch_all"]),
                enabled=enabled,
            )
        case "account":
            protocols = fields["protocols"]
            return PutAccount(
                address=address_of(entry.written),
                name=_text(fields["name"]),
                enabled=enabled,
                protocols=None if protocols is None else frozenset(_texts(protocols)),
                quota_octets=_number_or_none(fields["quota"]),
            )
        case "alias":
            return Alias(address=address_of(entry.written), targets=_addresses(fields["targets"]), enabled=enabled)
        case "list":
            return MailingList(
                address=address_of(entry.written),
                name=_text(fields["name"]),
                members=_addresses(fields["members"]),
                post=Post(_text(fields["post"])),
                owners=_addresses(fields["owners"]),
                enabled=enabled,
            )
        case "contact":
            name, _, domain = entry.written.rpartition("@")
            email = _text_or_none(fields["email"])
            return Contact(
                domain=domain,
                name=name,
                email=None if email is None else Address.parse(email),
                phone=_text(fields["phone"]),
                mobile=_text(fields["mobile"]),
                organization=_text(fields["organization"]),
                title=_text(fields["title"]),
                note=_text(fields["note"]),
                enabled=enabled,
            )
        case "retrieval":
            interval = _text_or_none(fields["interval"])
            return Retrieval(
                name=entry.written,
                account=Address.parse(_text(fields["account"])),
                server=Server.parse(_text(fields["server"])),
                tls=Tls(_text(fields["tls"])),
                ca=_text_or_none(fields["ca"]),
                user=_text(fields["user"]),
                secret=SecretRef.parse(_text(fields["secret"])),
                folder=_text(fields["folder"]),
                keep_days=_keep_days(fields["keep"]),
                apop=Apop(_text(fields["apop"])),
                interval_s=None if interval is None else int(seconds(interval)),
                max_message_size=_number_or_none(fields["max_message_size"]),
                enabled=enabled,
            )


def remove(named: Named, written: str) -> Edit:
    match named.kind:
        case "domain":
            return RemoveDomain(named.key)
        case "account":
            return RemoveAccount(address_of(written))
        case "alias":
            return RemoveAlias(address_of(written))
        case "list":
            return RemoveList(address_of(written))
        case "contact":
            name, _, domain = written.rpartition("@")
            return RemoveContact(domain, name)
        case "retrieval":
            return RemoveRetrieval(written)


def _addresses(value: Value) -> tuple[Address, ...]:
    return tuple(map(Address.parse, _texts(value)))


def _text(value: Value) -> str:
    assert isinstance(value, str)
    return value


def _text_or_none(value: Value) -> str | None:
    return None if value is None else _text(value)


def _number_or_none(value: Value) -> int | None:
    assert value is None or isinstance(value, int)
    return value


def _texts(value: Value) -> tuple[str, ...]:
    assert isinstance(value, tuple)
    return value
