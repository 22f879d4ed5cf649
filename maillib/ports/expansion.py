"""How an address expands: one rule for every engine of the Directory.

An alias is replaced by its targets, in their order, until accounts and addresses elsewhere are left. `postmaster` of a
domain of ours always leads somewhere (RFC 5321 §4.5.1): to the account or alias of that name; else to whom the domain
names; else, and where these are disabled, to the first account of the domain; else to the first account of all. Only a
directory without any account refuses it.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from maillib.address import Address, local_key
from maillib.circles import circles
from maillib.errors import Conflict, NotFound
from maillib.ports.directory import Account, Alias, Resolution

POSTMASTER = "postmaster"


class Book(Protocol):
    """What expansion asks of an engine, all of it about one moment. Knows nothing that is disabled."""

    def is_ours(self, domain: str) -> bool: ...

    def entry(self, address: Address) -> "Account | Sequence[Address] | None":
        """The account, or the targets of the alias."""

    def postmaster(self, domain: str) -> Address | None:
        """Whom the domain names."""

    def first_account(self, domain: str) -> Account | None:
        """The first of the domain; the first of all where that has none."""


def expand(address: Address, book: Book) -> Resolution:
    """Raises NotFound when nobody has the address."""
    found = _walk(address, book)
    if not found.accounts and not found.remote:
        last_resort = book.first_account(address.domain) if _is_postmaster(address) else None
        if last_resort is None or not book.is_ours(address.domain):
            raise NotFound(f"nobody has the address {address}")
        return Resolution((last_resort,), ())
    return found


def _walk(address: Address, book: Book) -> Resolution:
    """Depth first, so that accounts come in the order in which a reader of the aliases meets them."""
    accounts: dict[int, Account] = {}
    remote: list[Address] = []
    seen: set[str] = set()
    waiting = [address]
    while waiting:
        here = waiting.pop()
        if here.key in seen:
            continue
        seen.add(here.key)
        if not book.is_ours(here.domain):
            remote.append(here)
            continue
        entry = book.entry(here)
        if isinstance(entry, Account):
            accounts.setdefault(entry.id, entry)
        elif entry is not None:
            waiting += reversed(entry)
        elif _is_postmaster(here) and (named := _postmaster(here.domain, book)) is not None:
            waiting.append(named)
    return Resolution(tuple(accounts.values()), tuple(remote))


def _is_postmaster(address: Address) -> bool:
    return local_key(address.local) == POSTMASTER


def _postmaster(domain: str, book: Book) -> Address | None:
    named = book.postmaster(domain)
    if named is not None:
        return named
    first = book.first_account(domain)
    return None if first is None else first.address


def refuse_circles(aliases: Iterable[Alias]) -> None:
    """Raises Conflict, naming the way, when one of `aliases` leads back to itself."""
    targets = {alias.address.key: [target.key for target in alias.targets] for alias in aliases}
    graph = {key: [*enumerate(there for there in keys if there in targets)] for key, keys in targets.items()}
    for members, _ in circles(graph):
        raise Conflict(f"aliases lead in a circle: {' -> '.join([*members, members[0]])}")
