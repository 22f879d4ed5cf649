"""Ports that change hands in a plan: who has to let one go before another can listen on it. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from maillib.settings.base import Json
from orchestrator.fields import SocketAddress
from orchestrator.order import in_order

Service = Mapping[str, Json]
"""`service` of a JSON file, as it is or as it will be."""

Addresses = frozenset[SocketAddress]


@dataclass(frozen=True, slots=True)
class Held:
    """A listener, and whose it is."""

    service: str
    address: str


@dataclass(frozen=True, slots=True)
class Moves:
    order: list[str]
    """Who lets a port go comes before who takes it, as far as that can be."""
    first: Mapping[str, tuple[Held, ...]]
    """Service to the listeners that have to close right before its turn: its own that are in its own way (`:2110` and
    `127.0.0.1:2110`, say), and those of services that come later since they take a port in exchange."""
    early: frozenset[str]
    """Services that close a listener before they open another."""


def moves(wanted: Mapping[str, Service], held: Mapping[str, Addresses]) -> Moves:
    """The order of `wanted`, changed as little as may be; `held`: what the services that run listen on."""
    will_have = {name: addresses(service) for name, service in wanted.items()}
    leaving = defaultdict(list)
    for name, mine in held.items():
        for address in sorted(mine - will_have.get(name, frozenset()), key=str):
            leaving[address.port].append((name, address))

    def in_the_way_of(name: str) -> Iterator[Held]:
        for address in sorted(will_have[name] - held.get(name, frozenset()), key=str):
            for other, theirs in leaving[address.port]:
                if other in wanted and address.clashes_with(theirs):
                    yield Held(other, str(theirs))

    in_the_way = {name: tuple(dict.fromkeys(in_the_way_of(name))) for name in wanted}
    order = in_order({name: [one.service for one in in_the_way[name] if one.service != name] for name in wanted})
    turn = {name: number for number, name in enumerate(order)}
    first = {
        name: tuple(one for one in listeners if turn[one.service] >= turn[name])
        for name, listeners in in_the_way.items()
    }
    return Moves(order, first, frozenset(one.service for listeners in first.values() for one in listeners))


def addresses(service: Service) -> Addresses:
    """Where it listens."""
    listen = service.get("listen")
    return frozenset(
        SocketAddress(str(listener.get("host") or ""), port)
        for listener in (listen if isinstance(listen, list) else ())
        if isinstance(listener, dict) and isinstance(port := listener.get("port"), int)
    )
