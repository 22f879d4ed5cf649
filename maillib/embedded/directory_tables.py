"""What is read from the tables of the directory inside of one transaction."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Literal

from maillib.address import Address, local_key
from maillib.ports.contacts import Contact
from maillib.ports.directory import Account, AccountId, Alias, Domain, Entries, StoredPassword
from maillib.ports.expansion import Entry
from maillib.ports.lists import MailingList, Post
from maillib.ports.retrieval import Apop, Retrieval, Server, Tls
from maillib.secret import SecretRef

_ACCOUNT = "account.id, account.domain, account.local, account.name, account.enabled, protocols, quota_octets"


_DOMAIN = "name, postmaster, catch_all, enabled"
_LIST = "local, domain, name, members, post, owners, enabled"
_CONTACT = "domain, name, email, phone, mobile, organization, title, note, enabled"
_RETRIEVAL = (
    "name, account, server, tls, ca, user, secret_source, secret_name, folder, keep_days, apop, interval_s,"
    " max_message_size, enabled"
)


class Snapshot:
    """Reads; a Book for `expansion`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def domain(self, name: str) -> Domain | None:
        row = self._sql.execute(f"SELECT {_DOMAIN} FROM domain WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return None if row is None else _domain(row)

    def entry(self, address: Address) -> Entry | None:
        place = (address.domain, local_key(address.local))
        disabled: Entry | None = None
        for find in (self._account_at, self._alias_at, self._list_at):
            found = find(place)
            if found is not None and found.enabled:
                return found
            disabled = disabled or found
        return disabled

    def _account_at(self, place: tuple[str, str]) -> Account | None:
        account = f"SELECT {_ACCOUNT} FROM account WHERE domain = ? AND local_key = ? AND NOT removed"  # noqa: S608
        row = self._sql.execute(account, place).fetchone()
        return None if row is None else _account(row)

    def _alias_at(self, place: tuple[str, str]) -> Alias | None:
        row = self._sql.execute(
            "SELECT id, local, domain, enabled FROM alias WHERE domain = ? AND local_key = ?", place
        ).fetchone()
        if row is None:
            return None
        number, local, domain, enabled = row
        targets = self._sql.execute(
            "SELECT local, domain FROM alias_target WHERE alias = ? ORDER BY position", (number,)
        )
        return Alias(
            address=Address(local, domain), targets=tuple(Address(*target) for target in targets), enabled=bool(enabled)
        )

    def _list_at(self, place: tuple[str, str]) -> MailingList | None:
        row = self._sql.execute(f"SELECT {_LIST} FROM list WHERE domain = ? AND local_key = ?", place).fetchone()  # noqa: S608
        return None if row is None else _list(row)

    def first_account(self, domain: str) -> Account | None:
        row = self._sql.execute(
            f"SELECT {_ACCOUNT} FROM account JOIN domain ON domain.name = account.domain"  # noqa: S608
            " WHERE account.enabled AND domain.enabled ORDER BY account.domain != ?, account.id LIMIT 1",
            (domain,),
        ).fetchone()
        return None if row is None else _account(row)

    def default_domain(self) -> str | None:
        row = self._sql.execute("SELECT name FROM domain WHERE enabled ORDER BY id LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def account(self, account: AccountId) -> Account | None:
        row = self._sql.execute(f"SELECT {_ACCOUNT} FROM account WHERE id = ? AND NOT removed", (account,)).fetchone()  # noqa: S608
        return None if row is None else _account(row)

    def stored(self, account: AccountId) -> StoredPassword | None:
        row = self._sql.execute("SELECT argon2id, scram_sha_256 FROM account WHERE id = ?", (account,)).fetchone()
        return None if row is None or row[0] is None else StoredPassword(row[0], row[1])

    def generation(self) -> int:
        (number,) = self._sql.execute("SELECT generation FROM suite").fetchone()
        return int(number)

    def fingerprint_key(self) -> bytes | None:
        (key,) = self._sql.execute("SELECT fingerprint_key FROM suite").fetchone()
        return None if key is None else bytes(key)

    def entries(self) -> Entries:
        (declared,) = self._sql.execute("SELECT declared FROM suite").fetchone()
        accounts = [*self._sql.execute(f"SELECT {_ACCOUNT}, removed, argon2id IS NOT NULL FROM account ORDER BY id")]  # noqa: S608
        return Entries(
            generation=self.generation(),
            domains=tuple(map(_domain, self._sql.execute(f"SELECT {_DOMAIN} FROM domain ORDER BY id"))),  # noqa: S608
            accounts=tuple(_account(row) for *row, removed, _ in accounts if not removed),
            with_password=frozenset(AccountId(row[0]) for row in accounts if row[-1]),
            aliases=tuple(self.aliases()),
            lists=tuple(self.lists()),
            contacts=tuple(map(_contact, self._sql.execute(f"SELECT {_CONTACT} FROM contact ORDER BY id"))),  # noqa: S608
            retrievals=tuple(map(_retrieval, self._sql.execute(f"SELECT {_RETRIEVAL} FROM retrieval ORDER BY id"))),  # noqa: S608
            removed=tuple(_account(row) for *row, removed, _ in accounts if removed),
            declared=declared,
        )

    def aliases(self) -> Iterator[Alias]:
        targets: dict[int, list[Address]] = {}
        for alias, local, domain in self._sql.execute(
            "SELECT alias, local, domain FROM alias_target ORDER BY alias, position"
        ):
            targets.setdefault(alias, []).append(Address(local, domain))
        for alias, local, domain, enabled in self._sql.execute(
            "SELECT id, local, domain, enabled FROM alias ORDER BY id"
        ):
            found = tuple(targets.get(alias, ()))
            yield Alias(address=Address(local, domain), targets=found, enabled=bool(enabled))

    def lists(self) -> Iterator[MailingList]:
        return map(_list, self._sql.execute(f"SELECT {_LIST} FROM list ORDER BY id"))  # noqa: S608

    def passwords(self) -> dict[AccountId, StoredPassword]:
        rows = self._sql.execute("SELECT id, argon2id, scram_sha_256 FROM account WHERE argon2id IS NOT NULL")
        return {AccountId(number): StoredPassword(argon2id, scram) for number, argon2id, scram in rows}


def _account(row: Sequence[object]) -> Account:
    number, domain, local, name, enabled, protocols, quota_octets = row
    assert isinstance(number, int)
    assert quota_octets is None or isinstance(quota_octets, int)
    return Account(
        id=AccountId(number),
        address=Address(str(local), str(domain)),
        name=str(name),
        enabled=bool(enabled),
        protocols=None if protocols is None else frozenset(str(protocols).split()),
        quota_octets=quota_octets,
    )


def _domain(row: tuple[str, str | None, str, int]) -> Domain:
    name, postmaster, catch_all, enabled = row
    return Domain(name=name, postmaster=postmaster, catch_all=_addresses(catch_all), enabled=bool(enabled))


def _list(row: tuple[str, str, str, str, str, str, int]) -> MailingList:
    local, domain, name, members, post, owners, enabled = row
    return MailingList(
        address=Address(local, domain),
        name=name,
        members=_addresses(members),
        post=Post(post),
        owners=_addresses(owners),
        enabled=bool(enabled),
    )


def _contact(row: tuple[str, str, str | None, str, str, str, str, str, int]) -> Contact:
    domain, name, email, phone, mobile, organization, title, note, enabled = row
    return Contact(
        domain=domain,
        name=name,
        email=None if email is None else _address(email),
        phone=phone,
        mobile=mobile,
        organization=organization,
        title=title,
        note=note,
        enabled=bool(enabled),
    )


_RetrievalRow = tuple[
    str, str, str, str, str | None, str, Literal["env", "file", "credential"], str, str, int | None, str,
    int | None, int | None, int,
]  # fmt: skip


def _retrieval(row: _RetrievalRow) -> Retrieval:
    name, account, server, tls, ca, user, source, secret, folder, keep_days, apop, interval_s, size, enabled = row
    return Retrieval(
        name=name,
        account=_address(account),
        server=Server.parse(server),
        tls=Tls(tls),
        ca=ca,
        user=user,
        secret=SecretRef(source, secret),
        folder=folder,
        keep_days=keep_days,
        apop=Apop(apop),
        interval_s=interval_s,
        max_message_size=size,
        enabled=bool(enabled),
    )


def lines(addresses: Sequence[Address]) -> str:
    """Addresses as they are kept: no address holds a line end."""
    return "\n".join(map(str, addresses))


def _addresses(text: str) -> tuple[Address, ...]:
    return tuple(map(_address, text.splitlines()))


def _address(text: str) -> Address:
    """One that we have written: to parse it again takes long."""
    local, _, domain = text.rpartition("@")
    return Address(local, domain)
