"""What is wrong between the services of a spec, or between a spec and its place on disk.

These checks read the document itself rather than the validated models: they run on whatever parsed, so that one wrong
value does not hide the mistakes beside it. What has a wrong type or form is passed over; validation tells of it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from maillib.circles import circles
from orchestrator.fields import WILDCARDS, SocketAddress, absolute
from orchestrator.iniword import ini_word
from orchestrator.problems import Problem, Where, nearest, path_text, shown
from orchestrator.yamltext import Document, Plain

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
RESERVED = ("all", "agent", "manage")
"""`all` is supervisorctl's word; the others are programs of our own."""


def crosscheck(document: Document, folder: Path, default_state_dir: str) -> Iterator[Problem]:
    """Every problem; `folder` is where relative paths start."""
    top = document.value
    if not isinstance(top, dict):
        return
    yield from _state_dir(document, folder, top.get("state_dir", default_state_dir))
    services = top.get("services")
    if not isinstance(services, dict):
        return
    yield from _names(document, services)
    mappings = {name: service for name, service in services.items() if isinstance(service, dict)}
    enabled = {name: service for name, service in mappings.items() if service.get("enabled") is not False}
    yield from _ports(document, enabled)
    yield from _dependencies(document, services, mappings)


def _state_dir(document: Document, folder: Path, value: Plain) -> Iterator[Problem]:
    if not isinstance(value, str) or not value.isprintable():
        return
    path = absolute(folder, value)
    try:
        ini_word(path)
    except ValueError as error:
        yield document.problem(("state_dir",), f"the path {shown(path)} {error}", code="state-dir")


def _names(document: Document, services: Mapping[str, Plain]) -> Iterator[Problem]:
    for name in services:
        if not NAME.fullmatch(name) or name in RESERVED:
            message = f"{shown(name)} is no service name; allowed: {NAME.pattern}, not {', '.join(RESERVED)}"
            yield document.problem(("services", name), message, code="service-name", at_key=True)


def _ports(document: Document, services: Mapping[str, dict[str, Plain]]) -> Iterator[Problem]:
    taken: dict[int, dict[str, tuple[SocketAddress, Where]]] = {}
    for name, service in services.items():
        for where, address in _addresses(name, service):
            others = taken.setdefault(address.port, {})  # by host; looked up, not searched: there may be thousands
            likely = (others[host] for host in (address.host, *WILDCARDS) if host in others)
            near = chain(likely, others.values() if address.host in WILDCARDS else ())
            clash = next((found for found in near if address.clashes_with(found[0])), None)
            others.setdefault(address.host, (address, where))
            if clash is not None:
                line = document.position(clash[1]).line
                message = f"{address} is taken by {clash[0]} in line {line}; allowed: each port once"
                hint = "write :PORT for IPv4 and IPv6" if "::" in (address.host, clash[0].host) else None
                yield document.problem(where, message, code="port-taken", hint=hint)


def _addresses(name: str, service: Mapping[str, Plain]) -> Iterator[tuple[Where, SocketAddress]]:
    listen = service.get("listen")
    for number, listener in enumerate(listen if isinstance(listen, list) else ()):
        text = listener.get("address") if isinstance(listener, dict) else None
        if not isinstance(text, str):
            continue
        try:
            yield ("services", name, "listen", number, "address"), SocketAddress.parse(text)
        except ValueError:
            continue


def _dependencies(
    document: Document, services: Mapping[str, Plain], mappings: Mapping[str, dict[str, Plain]]
) -> Iterator[Problem]:
    graph: dict[str, list[tuple[int, str]]] = {}
    for name, service in mappings.items():
        listed = service.get("depends_on")
        named = [
            (number, wanted)
            for number, wanted in enumerate(listed if isinstance(listed, list) else ())
            if isinstance(wanted, str)
        ]
        graph[name] = [(number, wanted) for number, wanted in named if wanted in mappings]
        for number, wanted in named:
            if wanted not in services:
                message = f"there is no service {shown(wanted)}; allowed: {_listing(services, ', ')}"
                where = ("services", name, "depends_on", number)
                yield document.problem(where, message, code="depends-on", hint=nearest(wanted, mappings))
    for circle, number in circles(graph):
        message = f"circular: {_listing([*circle, circle[0]], ' -> ')}; allowed: no way back to the service itself"
        where = ("services", circle[-1], "depends_on", number)
        yield document.problem(where, message, code="depends-on")


def _listing(names: Iterable[str], separator: str) -> str:
    """At most a dozen of `names`, escaped."""
    some = [path_text((name,)) for name in islice(names, 13)]
    return separator.join([*some[:12], "…"] if len(some) > 12 else some)
