"""What it costs to change a setting: each key says it beside its field, and plan and master go by it.

A class stands for the smallest step after which the new value counts. It is declared once, in the type of a field:
`Annotated[int, Range(1, 100), Change.LIVE]`; what is inside of a field (the parts of a listener) has the class of that
field unless it says otherwise.
"""

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from typing import Annotated


class Change(StrEnum):
    """The cheapest first: of several changed keys the last one here decides."""

    LIVE = "live"
    """The running workers take it: whoever connects from then on has the new value, open sessions keep theirs."""
    RELISTEN = "re-listen"
    """Listeners open and close; the same workers go on, and what they have open."""
    RELOAD = "reload"
    """New workers on the same listeners; the old ones take no more, and their sessions have the drain limit to end."""
    RESTART = "restart"
    """The program ends and begins again: new connections are refused meanwhile."""

    @property
    def rank(self) -> int:
        return [*Change].index(self)


def dearest(changes: Iterable[Change]) -> Change | None:
    """The one that covers all; None: there is none."""
    return max(changes, key=lambda change: change.rank, default=None)


@cache
def declared(kind: type) -> dict[str, Change]:
    """Field to the class that its type declares; fields without one are missing."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {name: _of(hint) for name, hint in hints.items()}
    return {name: change for name, change in found.items() if change is not None}


def at(kind: type, keys: Sequence[str]) -> Change | None:
    """The class of the key to which `keys` lead from the dataclass `kind`; None: it declares none."""
    found: Change | None = None
    for key in keys:
        found = declared(kind).get(key, found)
        inner = typing.get_type_hints(kind).get(key)
        if not isinstance(inner, type) or not dataclasses.is_dataclass(inner):
            break
        kind = inner
    return found


def between(before: object, after: object) -> Iterator[Change]:
    """What it takes to come from one instance of a settings class to another; `RELOAD` where nothing is declared."""
    if type(before) is not type(after) or not dataclasses.is_dataclass(before):
        yield Change.RELOAD
        return
    for field in dataclasses.fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old == new:
            continue
        own = declared(type(before)).get(field.name)  # type: ignore[arg-type]  # an instance's type is a class
        if own is not None:
            yield own
        else:
            yield from between(old, new)


def _of(hint: object) -> Change | None:
    if typing.get_origin(hint) is not Annotated:
        return None
    return next((entry for entry in typing.get_args(hint)[1:] if isinstance(entry, Change)), None)
