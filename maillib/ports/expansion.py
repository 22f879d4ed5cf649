"""How an address expands: one rule for every engine of the Directory.

An alias is replaced by its targets, in their order, until accounts, lists and addresses elsewhere are left. Targets
that nobody has any more are passed over, and a circle ends at an address already seen. In a domain that is disabled
nobody has an address.

Some addresses always lead to somebody who reads:
- `postmaster` of a domain of ours (RFC 5321 §4.5.1): to what has that name; else to whom the domain names; else, and
  where these are disabled, to the first account of the domain; else to the first account of all. Only a directory
  without any account refuses it.
- `abuse` (RFC 2142 §4): to what has that name, else as `postmaster`.
- the owner's address of a list: to its owners, else as `postmaster`.
A list that these lead to stands for its members: who may write to it is not asked.

What is addressed to nobody goes where the domain's catch-all says. That is asked about an address that nothing has,
not even something disabled, and never about the target of an alias.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from maillib.address import Address, local_key
from maillib.circles import circles
from maillib.errors import Conflict, NotFound
from maillib.ports.directory import Account, Alias, Domain, Resolution
from maillib.ports.lists import MailingList, list_of_owner

POSTMASTER = "postmaster"
ROLES = (POSTMASTER, "abuse")
"""Local parts that somebody has in every domain."""

Entry = Account | Alias | MailingList


class Book(Protocol):
    """What expansion asks of an engine, all of it about one moment; disabled or not, unless it says otherwise."""

    def domain(self, name: str) -> Domain | None: ...

    def entry(self, address: Address) -> Entry | None:
        """What has the address; where that are several, the one that is enabled."""

    def first_account(self, domain: str) -> Account | None:
        """The first enabled one of the domain; the first of all where that has none."""


def expand(address: Address, book: Book) -> Resolution:
    """Raises NotFound when nobody has the address."""
    domain = book.domain(address.domain)
    if domain is None:
        return Resolution((), (address,))
    if not domain.enabled:
        raise NotFound(f"{domain.name} is disabled")
    always = local_key(address.local) in ROLES or _owned(address, book) is not None
    found = _walk([address], book, through_lists=always)
    if not _is_somebody(found) and always:
        found = _postmaster(address.domain, book)
    elif not _is_somebody(found) and not _is_had(address, book):
        found = _walk(domain.catch_all, book, is_caught=True)
    if not _is_somebody(found):
        raise NotFound(f"nobody has the address {address}")
    return found


def expand_members(address: Address, book: Book) -> Resolution:
    """Whom mail of a list goes to; lists among its members stand for their own. Raises NotFound."""
    domain, found = book.domain(address.domain), book.entry(address)
    if domain is None or not domain.enabled or not isinstance(found, MailingList) or not found.enabled:
        raise NotFound(f"there is no list {address}")
    return _walk(found.members, book, through_lists=True, seen={address.key})


def _postmaster(domain: str, book: Book) -> Resolution:
    found = _walk([Address(POSTMASTER, domain)], book, through_lists=True)
    if _is_somebody(found):
        return found
    last_resort = book.first_account(domain)
    return Resolution(() if last_resort is None else (last_resort,), ())


def _is_somebody(found: Resolution) -> bool:
    return bool(found.accounts or found.remote or found.lists)


def _is_had(address: Address, book: Book) -> bool:
    """Whether something has the address, disabled or not."""
    mailing_list = list_of_owner(address)
    return book.entry(address) is not None or (
        mailing_list is not None and isinstance(book.entry(mailing_list), MailingList)
    )


def _owned(address: Address, book: Book) -> MailingList | None:
    """The list whose owner's address it is."""
    named = list_of_owner(address)
    found = None if named is None else book.entry(named)
    return found if isinstance(found, MailingList) and found.enabled else None


def _walk(
    start: Sequence[Address],
    book: Book,
    *,
    through_lists: bool = False,
    is_caught: bool = False,
    seen: Iterable[str] = (),
) -> Resolution:
    """Depth first, so that accounts come in the order in which a reader of the aliases meets them."""
    accounts: dict[int, Account] = {}
    remote: list[Address] = []
    lists: list[MailingList] = []
    passed = set(seen)
    waiting = [*reversed(start)]
    while waiting:
        here = waiting.pop()
        if here.key in passed:
            continue
        passed.add(here.key)
        domain = book.domain(here.domain)
        if domain is None:
            remote.append(here)
            continue
        if not domain.enabled:
            continue
        match book.entry(here):
            case Account(enabled=True) as account:
                accounts.setdefault(account.id, account)
            case Alias(enabled=True) as alias:
                waiting += reversed(alias.targets)
            case MailingList(enabled=True) as mailing_list if not through_lists:
                lists.append(mailing_list)
            case MailingList(enabled=True) as mailing_list:
                waiting += reversed(mailing_list.members)
            case _:
                waiting += reversed(_instead(here, domain, book))
    return Resolution(tuple(accounts.values()), tuple(remote), tuple(lists), is_caught)


def _instead(address: Address, domain: Domain, book: Book) -> Sequence[Address]:
    """Where mail goes for an address of `domain` that no enabled entry has."""
    postmaster = Address(POSTMASTER, address.domain)
    if (mailing_list := _owned(address, book)) is not None:
        return mailing_list.owners or (postmaster,)
    if address.key == postmaster.key:
        if domain.postmaster is not None:
            return (Address(domain.postmaster, domain.name),)
        first = book.first_account(domain.name)
        return () if first is None else (first.address,)
    return (postmaster,) if local_key(address.local) in ROLES else ()


def refuse_circles(aliases: Iterable[Alias], lists: Iterable[MailingList]) -> None:
    """Raises Conflict, naming the way, when an alias, a list's members or its owners lead back to where they began."""
    ways: dict[str, list[str]] = {}
    for key, targets in (*_ways_of_aliases(aliases), *_ways_of_lists(lists)):
        ways.setdefault(key, []).extend(target.key for target in targets)
    graph = {key: [*enumerate(there for there in keys if there in ways)] for key, keys in ways.items()}
    for members, _ in circles(graph):
        raise Conflict(f"aliases or lists lead in a circle: {' -> '.join([*members, members[0]])}")


def _ways_of_aliases(aliases: Iterable[Alias]) -> Iterator[tuple[str, Sequence[Address]]]:
    for alias in aliases:
        yield alias.address.key, alias.targets


def _ways_of_lists(lists: Iterable[MailingList]) -> Iterator[tuple[str, Sequence[Address]]]:
    for one in lists:
        yield one.address.key, (*one.members, *one.owners)
