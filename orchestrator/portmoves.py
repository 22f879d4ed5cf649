"""Ports that change hands in a plan: who has to let one go before another can listen on it. Pure."""

from collections.abc import Iterator, Mapping

from maillib.settings.base import Json
from orchestrator.fields import SocketAddress

Service = Mapping[str, Json]
"""`service` of a JSON file, as it is or as it will be."""


def in_its_own_way(before: Service, after: Service) -> bool:
    """Whether a listener that is new clashes with one of the same service: `:2110` and `127.0.0.1:2110`, say."""
    held, new = _addresses(before), _addresses(after)
    return any(address.clashes_with(other) for address in new - held for other in held - new)


def givers_first(wanted: Mapping[str, Service], live: Mapping[str, Service]) -> list[str]:
    """Names of `wanted` in its order, but each after those of `live` that hold a port it will listen on.

    Two that exchange their ports stay as they are: neither can be first.
    """
    held = {name: _addresses(service) for name, service in live.items()}
    ordered: dict[str, None] = {}
    begun: set[str] = set()

    def place(name: str) -> None:
        begun.add(name)
        for giver in givers(name):
            if giver not in begun:
                place(giver)
        ordered[name] = None

    def givers(name: str) -> Iterator[str]:
        new = _addresses(wanted[name]) - held.get(name, frozenset())
        for other, addresses in held.items():
            if other != name and other in wanted:
                let_go = addresses - _addresses(wanted[other])
                if any(address.clashes_with(theirs) for address in new for theirs in let_go):
                    yield other

    for name in wanted:
        if name not in begun:
            place(name)
    return list(ordered)


def _addresses(service: Service) -> frozenset[SocketAddress]:
    listen = service.get("listen")
    return frozenset(
        SocketAddress(str(listener.get("host") or ""), port)
        for listener in (listen if isinstance(listen, list) else ())
        if isinstance(listener, dict) and isinstance(port := listener.get("port"), int)
    )
