"""What a declaration cannot have beside what is there, for plans to find before the directory refuses it. Pure.

What is wrong inside of the declaration alone, `accounts_file` has told with its place already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maillib.address import Address
from maillib.circles import circles
from maillib.ports.lists import OWNER_SUFFIX
from orchestrator.admin.ownership import AccountAction, Kind, Named, Objects, Value, Verb
from orchestrator.problems import nearest


@dataclass(frozen=True, slots=True)
class Clash:
    object: Named
    """One of the declaration, if there is one to blame."""
    message: str


WITH_ADDRESS: tuple[Kind, ...] = ("account", "alias", "list")


def clashes(declared: Objects, actions: Sequence[AccountAction], after: Objects) -> Iterator[Clash]:
    """What is wrong with a directory that is as it will be `after` the actions for `declared`."""
    yield from _second_owners(declared, after)
    yield from _circles(declared, after)
    yield from _without_account(actions, after)


def _second_owners(declared: Objects, after: Objects) -> Iterator[Clash]:
    owners: dict[str, Named] = {}
    for named, fields in after.items():
        if not fields["enabled"] or named.kind not in WITH_ADDRESS:
            continue
        for key in addresses(named):
            first = owners.setdefault(key, named)
            if first == named:
                continue
            by_hand, other = (named, first) if first in declared else (first, named)
            message = (
                f"{first} and {named} would both have the address {key}; the {by_hand.kind} was made by hand: disable"
                f" or remove it, or take the {other.kind} out of the declaration"
            )
            yield Clash(other, message)


def addresses(named: Named) -> tuple[str, ...]:
    """That nobody else may have while it is enabled."""
    if named.kind != "list":
        return (named.key,)
    local, _, domain = named.key.rpartition("@")
    return (named.key, f"{local}{OWNER_SUFFIX}@{domain}")


def _circles(declared: Objects, after: Objects) -> Iterator[Clash]:
    names: dict[str, Named] = {}
    leading: dict[str, list[str]] = {}
    for named, fields in after.items():
        if named.kind in ("alias", "list"):
            targets = (*_texts(fields.get("targets")), *_texts(fields.get("members")), *_texts(fields.get("owners")))
            leading.setdefault(named.key, []).extend(Address.parse(target).key for target in targets)
            if names.get(named.key) not in declared:
                names[named.key] = named
    graph = {key: [*enumerate(there for there in keys if there in leading)] for key, keys in leading.items()}
    for members, _ in circles(graph):
        to_blame = next((names[key] for key in members if names[key] in declared), names[members[0]])
        message = f"aliases and lists would lead in a circle: {' -> '.join([*members, members[0]])}"
        yield Clash(to_blame, f"{message}; some of them were made by hand: break it there, or in the declaration")


def _without_account(actions: Sequence[AccountAction], after: Objects) -> Iterator[Clash]:
    """What is there already may stay without its account: nothing is fetched then."""
    accounts = {named.key for named in after if named.kind == "account"}
    for action in actions:
        named = action.object
        if named.kind != "retrieval" or action.verb not in (Verb.ADD, Verb.SET) or not after[named]["enabled"]:
            continue
        account = str(after[named]["account"])
        if Address.parse(account).key not in accounts:
            hint = nearest(account, sorted(accounts))
            message = f"there is no account {account}; allowed: one that is declared, or there already"
            yield Clash(named, f"{message}; {hint}" if hint else message)


def _texts(value: Value) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()
