"""What is written to the tables of the directory inside of one write transaction."""

from collections.abc import Mapping

from maillib.address import Address, local_key
from maillib.embedded.directory_tables import Snapshot, lines
from maillib.errors import Conflict, NotFound
from maillib.ports.contacts import Contact, contact_key
from maillib.ports.directory import (
    AccountId,
    Alias,
    Domain,
    Edit,
    Forget,
    PutAccount,
    RemoveAccount,
    RemoveAlias,
    RemoveContact,
    RemoveDomain,
    RemoveList,
    RemoveRetrieval,
    SetPassword,
    StoredPassword,
)
from maillib.ports.expansion import refuse_circles
from maillib.ports.lists import OWNER_SUFFIX, MailingList, check_list_address
from maillib.ports.retrieval import Retrieval, check_retrieval_name


class Changes(Snapshot):
    """Writes, and reads what they have made of it."""

    def make(self, edit: Edit, stored: StoredPassword | None) -> None:
        """`stored`: what to keep of the password that `edit` sets. Raises as `DirectoryEditor.edit`."""
        match edit:
            case Domain():
                self._put_domain(edit)
            case PutAccount():
                self._put_account(edit)
            case SetPassword():
                assert stored is not None
                self._set_password(edit.address, stored)
            case Alias():
                self._put_alias(edit)
            case MailingList():
                self._put_list(edit)
            case Contact():
                self._put_contact(edit)
            case Retrieval():
                self._put_retrieval(edit)
            case RemoveDomain():
                self._remove_domain(edit)
            case RemoveAccount():
                self._remove_account(edit)
            case RemoveAlias(address):
                self._sql.execute("DELETE FROM alias WHERE domain = ? AND local_key = ?", _key(address))
            case RemoveList(address):
                self._sql.execute("DELETE FROM list WHERE domain = ? AND local_key = ?", _key(address))
            case RemoveContact(domain, name):
                self._sql.execute("DELETE FROM contact WHERE domain = ? AND name_key = ?", (domain, contact_key(name)))
            case RemoveRetrieval(name):
                self._sql.execute("DELETE FROM retrieval WHERE name = ?", (name,))
            case Forget(account):
                self._sql.execute("DELETE FROM account WHERE id = ? AND removed", (account,))

    # Put

    def _put_domain(self, domain: Domain) -> None:
        self._sql.execute(
            "INSERT INTO domain (name, enabled, postmaster, catch_all) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE"
            " SET enabled = excluded.enabled, postmaster = excluded.postmaster, catch_all = excluded.catch_all",
            (domain.name, domain.enabled, domain.postmaster, lines(domain.catch_all)),
        )

    def _put_account(self, edit: PutAccount) -> None:
        place = self._place(edit.address)
        protocols = None if edit.protocols is None else " ".join(sorted(edit.protocols))
        self._sql.execute(
            "INSERT INTO account (domain, local_key, local, name, enabled, protocols, quota_octets)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (domain, local_key) DO UPDATE SET name = excluded.name,"
            " enabled = excluded.enabled, protocols = excluded.protocols, quota_octets = excluded.quota_octets,"
            " removed = 0",
            (*place, edit.address.local, edit.name, edit.enabled, protocols, edit.quota_octets),
        )

    def _set_password(self, address: Address, stored: StoredPassword) -> None:
        done = self._sql.execute(
            "UPDATE account SET argon2id = ?, scram_sha_256 = ? WHERE domain = ? AND local_key = ? AND NOT removed",
            (stored.argon2id, stored.scram_sha_256, *_key(address)),
        )
        if not done.rowcount:
            raise NotFound(f"there is no account {address}")

    def _put_alias(self, alias: Alias) -> None:
        place = self._place(alias.address)
        (number,) = self._sql.execute(
            "INSERT INTO alias (domain, local_key, local, enabled) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (domain, local_key) DO UPDATE SET enabled = excluded.enabled, local = excluded.local"
            " RETURNING id",
            (*place, alias.address.local, alias.enabled),
        ).fetchone()
        self._sql.execute("DELETE FROM alias_target WHERE alias = ?", (number,))
        self._sql.executemany(
            "INSERT INTO alias_target (alias, position, local, domain) VALUES (?, ?, ?, ?)",
            [(number, position, target.local, target.domain) for position, target in enumerate(alias.targets)],
        )

    def _put_list(self, one: MailingList) -> None:
        check_list_address(one.address)
        domain, key = self._place(one.address)
        self._put(
            "list",
            "domain, local_key",
            {
                "domain": domain,
                "local_key": key,
                "local": one.address.local,
                "name": one.name,
                "members": lines(one.members),
                "post": one.post,
                "owners": lines(one.owners),
                "enabled": one.enabled,
            },
        )

    def _put_contact(self, one: Contact) -> None:
        self._need_domain(one.domain)
        self._put(
            "contact",
            "domain, name_key",
            {
                "domain": one.domain,
                "name_key": contact_key(one.name),
                "name": one.name,
                "email": None if one.email is None else str(one.email),
                "phone": one.phone,
                "mobile": one.mobile,
                "organization": one.organization,
                "title": one.title,
                "note": one.note,
                "enabled": one.enabled,
            },
        )

    def _put_retrieval(self, one: Retrieval) -> None:
        check_retrieval_name(one.name)
        if one.enabled and self._account_at(_key(one.account)) is None:
            raise NotFound(f"there is no account {one.account}")
        self._put(
            "retrieval",
            "name",
            {
                "name": one.name,
                "account": str(one.account),
                "server": str(one.server),
                "tls": one.tls,
                "ca": one.ca,
                "user": one.user,
                "secret_source": one.secret.source,
                "secret_name": one.secret.name,
                "folder": one.folder,
                "keep_days": one.keep_days,
                "apop": one.apop,
                "interval_s": one.interval_s,
                "max_message_size": one.max_message_size,
                "enabled": one.enabled,
            },
        )

    def _put(self, table: str, key: str, row: Mapping[str, str | int | None]) -> None:
        """Make the row, or give the one of that key all of these values."""
        columns, holders = ", ".join(row), ", ".join(f":{column}" for column in row)
        values = ", ".join(f"{column} = excluded.{column}" for column in row)
        self._sql.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({holders}) ON CONFLICT ({key}) DO UPDATE SET {values}",  # noqa: S608
            row,
        )

    # Remove

    def _remove_domain(self, edit: RemoveDomain) -> None:
        for table in ("account WHERE NOT removed AND", "alias WHERE", "list WHERE", "contact WHERE"):
            if self._sql.execute(f"SELECT 1 FROM {table} domain = ?", (edit.name,)).fetchone():  # noqa: S608
                raise Conflict(f"{edit.name} still has accounts, aliases, lists or contacts")
        self._sql.execute("DELETE FROM domain WHERE name = ?", (edit.name,))

    def _remove_account(self, edit: RemoveAccount) -> None:
        self._sql.execute(
            "UPDATE account SET removed = 1, enabled = 0, name = '', protocols = NULL, quota_octets = NULL,"
            " argon2id = NULL, scram_sha_256 = NULL WHERE domain = ? AND local_key = ?",
            _key(edit.address),
        )

    # And the rest

    def hash_again(self, account: AccountId, seen: StoredPassword, stored: StoredPassword) -> None:
        """Replace what is kept of a password, unless another one was set meanwhile."""
        self._sql.execute(
            "UPDATE account SET argon2id = ?, scram_sha_256 = ? WHERE id = ? AND argon2id = ?",
            (stored.argon2id, stored.scram_sha_256, account, seen.argon2id),
        )

    def finish(self, declared: str | None) -> None:
        """Count the change. Raises Conflict when an address means two things now, or something leads in a circle."""
        self._refuse_clashes()
        refuse_circles(self.aliases(), self.lists())
        self._sql.execute("UPDATE suite SET generation = generation + 1, declared = ifnull(?, declared)", (declared,))

    def _refuse_clashes(self) -> None:
        """Only few addresses are no account's: these are looked at, and looked for among the accounts."""
        twice = self._sql.execute(_CLASHES).fetchone()
        if twice is not None:
            local, domain, first, second = twice
            raise Conflict(f"{Address(local, domain)} is {first} and {second}")

    def keep_fingerprint_key(self, key: bytes) -> bytes:
        """The key that is kept: `key`, unless somebody was faster."""
        self._sql.execute("UPDATE suite SET fingerprint_key = ifnull(fingerprint_key, ?)", (key,))
        return self.fingerprint_key() or key

    def _place(self, address: Address) -> tuple[str, str]:
        """Raises NotFound."""
        self._need_domain(address.domain)
        return _key(address)

    def _need_domain(self, name: str) -> None:
        if not self._sql.execute("SELECT 1 FROM domain WHERE name = ?", (name,)).fetchone():
            raise NotFound(f"{name} is no domain of ours")


def _key(address: Address) -> tuple[str, str]:
    return address.domain, local_key(address.local)


_CLASHES = f"""
    WITH named (local, domain, local_key, what) AS (
        SELECT local, domain, local_key, 'an alias' FROM alias WHERE enabled
        UNION ALL SELECT local, domain, local_key, 'a list' FROM list WHERE enabled
        UNION ALL SELECT local || '{OWNER_SUFFIX}', domain, local_key || '{OWNER_SUFFIX}',
            'the owner''s address of the list ' || local || '@' || domain FROM list WHERE enabled
    )
    SELECT named.local, domain, 'an account', what FROM named JOIN account USING (domain, local_key)
        WHERE account.enabled
    UNION ALL
    SELECT min(local), domain, min(what), max(what) FROM named GROUP BY domain, local_key HAVING count(*) > 1
    LIMIT 1
"""  # noqa: S608
"""An enabled address that means two things, and which."""
