"""Directory: who has an address here, and who may log in.

Readers see a change as soon as the writer's call has returned. No service sees a password hash: checking a password
is a method of this port, hashing happens off the event loop and is bounded by the engine.
"""

from dataclasses import dataclass
from typing import NewType, Protocol

from maillib.address import Address

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


class Directory(Protocol):
    async def is_local(self, domain: str) -> bool:
        """Whether mail for `domain` (A-label form, lower case) is delivered here."""

    async def default_domain(self) -> str | None:
        """The domain meant by an address without one (`postmaster`): the first that was made; None: none yet."""

    async def resolve(self, address: Address) -> Resolution:
        """Expand `address`. An address in a domain that is not ours resolves to itself, remote.

        `postmaster` of a local domain always resolves. Alias loops end silently at an address already seen.
        Raises NotFound when the domain is ours and nobody there has the address (or only a disabled account).
        """

    async def authenticate(self, login: str, password: str, *, service: str) -> Account:
        """The account, if `login` (a full address) and `password` match and it may use `service` (a protocol name).

        Takes the same time for unknown users. Raises AuthenticationFailed, or Transient when too much is waiting.
        """

    async def account(self, account: AccountId) -> Account:
        """Raises NotFound."""

    async def may_send_as(self, account: AccountId, sender: Address) -> bool:
        """Whether `sender` is the account's own address or an alias that leads to it."""

    async def generation(self) -> int:
        """A number that grows with every change, so that caches know when to forget."""
