"""Directory: who has an address here, and who may log in.

Readers see a change as soon as the writer's call has returned. No service sees a password hash: checking a password
is a method of this port, hashing happens off the event loop and is bounded by the engine.

`Directory` is what services ask; `DirectoryEditor` is for administration. What is disabled is for services as if it
were not there. Addresses are compared by `Address.key`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

from maillib.address import Address, normalize_domain
from maillib.ports.contacts import Contact
from maillib.ports.lists import MailingList
from maillib.ports.retrieval import Retrieval

AccountId = NewType("AccountId", int)
"""Names an account for ever: never reused, independent of its address."""


@dataclass(frozen=True, slots=True)
class Account:
    """One mailbox owner as the services need it."""

    id: AccountId
    address: Address
    name: str
    enabled: bool
    protocols: frozenset[str] | None
    """Protocols this account may log in with (`smtp`, `pop`, …); None: all of them."""
    quota_octets: int | None
    """Limit of stored octets; None: no limit."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where mail for an address goes after aliases are expanded, without repetition, in stable order."""

    accounts: tuple[Account, ...]
    remote: tuple[Address, ...]
    """Addresses in domains that are not ours."""
    lists: tuple[MailingList, ...] = ()
    """Not expanded: who may write to them is to be asked first, and their mail leaves in their owners' name."""
    is_caught: bool = False
    """Nobody has the address: this is where its domain wants such mail to go."""


class Directory(Protocol):
    async def is_local(self, domain: str) -> bool:
        """Whether mail for `domain` (A-label form, lower case) is delivered here."""

    async def default_domain(self) -> str | None:
        """The domain meant by an address without one (`postmaster`): the first that was made; None: none yet."""

    async def resolve(self, address: Address) -> Resolution:
        """Expand `address`, see `maillib.ports.expansion`. One in a domain that is not ours resolves to itself, remote.

        Raises NotFound when the domain is ours and nobody there has the address (or only what is disabled).
        """

    async def members(self, mailing_list: Address) -> Resolution:
        """Whom mail of the list goes to: accounts and addresses elsewhere, of its aliases and lists, too.

        Nobody at all is an answer. Raises NotFound when there is no such list.
        """

    async def authenticate(self, login: str, password: str, *, service: str) -> Account:
        """The account, if `login` (a full address) and `password` match and it may use `service` (a protocol name).

        Takes the same time for unknown users. Raises AuthenticationFailed, or Transient when too much is waiting.
        """

    async def account(self, account: AccountId) -> Account:
        """Disabled ones too: a session that is open goes on. Raises NotFound, also for a removed one."""

    async def may_send_as(self, account: AccountId, sender: Address) -> bool:
        """Whether `sender` is the account's own address, or an alias (or owner's address of a list) that leads to it.

        A list is nobody's own address, and neither is what a catch-all takes.
        """

    async def generation(self) -> int:
        """A number that grows with every change, so that caches know when to forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain whose mail is delivered here."""

    name: str
    """A-labels, lower case."""
    postmaster: str | None = None
    """Local part, in this domain, of whoever gets mail for `postmaster`; None: the domain's first account."""
    catch_all: tuple[Address, ...] = ()
    """Who gets mail for addresses that nobody has; empty: it is refused."""
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """An address that stands for others."""

    address: Address
    targets: tuple[Address, ...]
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAccount:
    """Make an account, or give an existing one all of these values. Its password stays; a new one has none.

    The address of a removed account gets that account's ID and mail back.
    """

    address: Address
    name: str = ""
    enabled: bool = True
    protocols: frozenset[str] | None = None
    quota_octets: int | None = None


@dataclass(frozen=True, slots=True)
class StoredPassword:
    """What a directory keeps of a password."""

    argon2id: str = field(repr=False)
    scram_sha_256: str | None = field(repr=False)
    """`SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`, see RFC 5803; None: only a hash was ever seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPassword:
    """Exactly one of the three; the first two have to be acceptable to `maillib.ports.credentials`."""

    address: Address
    password: str | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)
    stored: StoredPassword | None = None
    """As it was found in `DirectoryEditor.passwords`, to put it back."""


@dataclass(frozen=True, slots=True)
class RemoveDomain:
    name: str


@dataclass(frozen=True, slots=True)
class RemoveAccount:
    """Its ID and address are remembered for as long as its mail is kept."""

    address: Address


@dataclass(frozen=True, slots=True)
class RemoveAlias:
    address: Address


@dataclass(frozen=True, slots=True)
class RemoveList:
    address: Address


@dataclass(frozen=True, slots=True)
class RemoveContact:
    domain: str
    name: str


@dataclass(frozen=True, slots=True)
class RemoveRetrieval:
    name: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget a removed account: its mail is gone, and whoever gets the address next begins anew."""

    account: AccountId


Edit = (
    Domain
    | PutAccount
    | SetPassword
    | Alias
    | MailingList
    | Contact
    | Retrieval
    | RemoveDomain
    | RemoveAccount
    | RemoveAlias
    | RemoveList
    | RemoveContact
    | RemoveRetrieval
    | Forget
)
"""One change. A `Domain`, `Alias`, `MailingList`, `Contact` or `Retrieval` is put: made, or given all of its values.
What is not there is removed already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """Everything that is in the directory, disabled or not, as of one moment; each kind in the order it was made."""

    generation: int = 0
    domains: tuple[Domain, ...] = ()
    accounts: tuple[Account, ...] = ()
    with_password: frozenset[AccountId] = frozenset()
    aliases: tuple[Alias, ...] = ()
    lists: tuple[MailingList, ...] = ()
    contacts: tuple[Contact, ...] = ()
    retrievals: tuple[Retrieval, ...] = ()
    removed: tuple[Account, ...] = ()
    """Removed accounts whose mail is kept."""
    declared: str | None = None
    """What `edit` was given last as `declared`."""


class DirectoryEditor(Directory, Protocol):
    async def entries(self) -> Entries: ...

    async def edit(self, edits: Sequence[Edit], *, expected: int | None = None, declared: str | None = None) -> None:
        """Make the changes in this order, all or none; durable on return, and the running services answer by them.

        `expected`: the generation that the caller has looked at. `declared` is kept with the changes and means nothing
        here; None leaves it as it is. Raises Conflict (another generation; two of account, alias, list and owner's
        address of a list with one address, both enabled; an alias or list that leads back to itself; removal of a
        domain in use), NotFound (no such domain or account), PermanentError (a password or hash, the address of a list
        or the name of a retrieval that is not acceptable), Transient, StoreFull.
        """

    async def passwords(self) -> Mapping[AccountId, StoredPassword]:
        """Of all accounts that have one, as they are kept: to export them, or to put one back."""

    async def fingerprint(self, secret: str) -> str:
        """A text that differs for different secrets and tells nothing of them; keyed with a key of this directory."""

    async def add_domain(self, name: str) -> None:
        """Raises AddressError."""
        await self.edit([Domain(name=normalize_domain(name))])

    async def add_account(self, address: Address, password: str | None = None) -> Account:
        """With every default. Raises as `edit`."""
        edits: list[Edit] = [PutAccount(address=address)]
        if password is not None:
            edits.append(SetPassword(address=address, password=password))
        await self.edit(edits)
        return next(found for found in (await self.entries()).accounts if found.address.key == address.key)

    async def add_alias(self, address: Address, targets: Sequence[Address]) -> None:
        """Raises as `edit`."""
        await self.edit([Alias(address=address, targets=tuple(targets))])
