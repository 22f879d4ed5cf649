"""How addresses expand, whatever leads where: also in circles, which the engines refuse."""

from collections.abc import Sequence
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from maillib.address import Address
from maillib.errors import Conflict, NotFound
from maillib.ports.directory import Account, AccountId, Alias, Domain, Resolution
from maillib.ports.expansion import Entry, expand, expand_members, refuse_circles
from maillib.ports.lists import MailingList, Post

NAMES = ("a", "b", "c", "d", "e", "e-owner", "postmaster", "abuse")

addresses = st.builds(
    Address, st.sampled_from([*NAMES, "nobody"]), st.sampled_from(["example.test", "off.test", "elsewhere.test"])
)
some = st.lists(addresses, max_size=4).map(tuple)


class Shelf:
    """A Book over dictionaries; off.test is disabled."""

    def __init__(self, domain: Domain, entries: Sequence[Entry | None]) -> None:
        self._domains = {domain.name: domain, "off.test": Domain(name="off.test", enabled=False)}
        self.entries = {entry.address.key: entry for entry in entries if entry is not None}

    def domain(self, name: str) -> Domain | None:
        return self._domains.get(name)

    def entry(self, address: Address) -> Entry | None:
        return self.entries.get(address.key)

    def first_account(self, domain: str) -> Account | None:
        accounts = (one for one in self.entries.values() if isinstance(one, Account) and one.enabled)
        return min(accounts, key=lambda one: one.id, default=None)


def entry_of(number: int, name: str) -> st.SearchStrategy[Entry | None]:
    address, enabled, none = st.just(Address(name, "example.test")), st.booleans(), st.none()
    accounts = st.builds(Account, st.just(AccountId(number)), address, st.just(""), enabled, none, none)
    aliases = st.builds(Alias, address=address, targets=some, enabled=enabled)
    lists = st.builds(
        MailingList, address=address, members=some, post=st.just(Post.ANYONE), owners=some, enabled=enabled
    )
    return st.one_of(none, accounts, aliases, lists)


shelves = st.builds(
    Shelf,
    st.builds(
        Domain,
        name=st.just("example.test"),
        postmaster=st.one_of(st.none(), st.sampled_from(NAMES)),
        catch_all=some,
    ),
    st.tuples(*(entry_of(number, name) for number, name in enumerate(NAMES, 1))),
)


def check(found: Resolution) -> None:
    """Everybody once, nobody disabled, nothing of ours among what is elsewhere."""
    here: list[Account | MailingList] = [*found.accounts, *found.lists]
    everything = [one.address.key for one in here] + [one.key for one in found.remote]
    assert len(everything) == len(set(everything))
    assert all(one.enabled for one in here)
    assert {one.domain for one in found.remote} <= {"elsewhere.test"}


@given(shelves, addresses)
def test_expansion_ends(shelf: Shelf, address: Address) -> None:
    """An address expands to whom it reaches, each once, or to nobody; never to something disabled."""
    with suppress(NotFound):
        found = expand(address, shelf)
        check(found)
        assert found.accounts or found.remote or found.lists
        assert not found.is_caught or address.key not in shelf.entries
    with suppress(NotFound):
        members = expand_members(address, shelf)
        check(members)
        assert members.lists == ()


@given(shelves)
def test_somebody_reads(shelf: Shelf) -> None:
    """Where there is an account, mail for postmaster, abuse and the owner of a list reaches somebody, and no list."""
    if shelf.first_account("example.test") is None:
        return
    lists = [one for one in shelf.entries.values() if isinstance(one, MailingList) and one.enabled]
    always = [Address("postmaster", "example.test"), Address("abuse", "example.test")]
    for address in always + [one.owner_address for one in lists]:
        found = expand(address, shelf)
        assert found.accounts or found.remote
        assert found.lists == ()
        assert not found.is_caught


@given(shelves)
def test_lists_do_not_reach_themselves(shelf: Shelf) -> None:
    """Where no circle is found, no list is among those whom its owner's address or its members lead to.

    A catch-all may lead back to it: that is asked of no owner and no member, but of who writes to such an address.
    """
    aliases = [one for one in shelf.entries.values() if isinstance(one, Alias)]
    lists = [one for one in shelf.entries.values() if isinstance(one, MailingList)]
    with suppress(Conflict):
        refuse_circles(aliases, lists)
        for one in lists:
            for target in (*one.members, *one.owners):
                with suppress(NotFound):
                    found = expand(target, shelf)
                    assert found.is_caught or one not in found.lists
