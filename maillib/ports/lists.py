"""Mailing lists: one address, its members, and who may write to them.

Mail of a list leaves it in the name of its owner's address, `LIST-owner`, so that notifications of failure come there
and never to the members. That address is there as long as the list is, and nobody else may have it.
"""

from dataclasses import dataclass
from enum import StrEnum

from maillib.address import MAX_LOCAL_OCTETS, Address
from maillib.errors import PermanentError

OWNER_SUFFIX = "-owner"


class Post(StrEnum):
    """Who may write to a list. Its owners always may."""

    MEMBERS = "members"
    ANYONE = "anyone"
    OWNER = "owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailingList:
    """An address whose mail goes to its members, as mail of the list."""

    address: Address
    name: str = ""
    """For people."""
    members: tuple[Address, ...] = ()
    """Accounts, aliases, other lists (whose members then are members here), and addresses elsewhere."""
    post: Post = Post.MEMBERS
    owners: tuple[Address, ...] = ()
    """Who gets mail for `owner_address`; empty: the postmaster of the domain."""
    enabled: bool = True

    @property
    def owner_address(self) -> Address:
        return Address(self.address.local + OWNER_SUFFIX, self.address.domain)


def list_of_owner(address: Address) -> Address | None:
    """The list whose `owner_address` this is, if there is such a list; None: it cannot be one's."""
    local = address.local
    if len(local) <= len(OWNER_SUFFIX) or not local.lower().endswith(OWNER_SUFFIX):
        return None
    return Address(local[: -len(OWNER_SUFFIX)], address.domain)


def check_list_address(address: Address) -> None:
    """Raises PermanentError that says why no list can have this address."""
    if address.local.startswith('"'):
        raise PermanentError(f"{address}: a list's local part has to do without quotes")  # List-Id: RFC 2919 §2
    most = MAX_LOCAL_OCTETS - len(OWNER_SUFFIX)
    if len(address.local.encode()) > most:
        raise PermanentError(f"{address}: a list's local part has at most {most} octets: {OWNER_SUFFIX} goes behind it")
