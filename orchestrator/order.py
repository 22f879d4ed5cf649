"""The order in which services start: each after all it depends on. Stops go the other way round."""

from collections.abc import Iterable, Mapping


def in_order(depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """The keys, each after those of them it depends on; otherwise as they come.

    In a circle (the spec has none) whoever is reached first comes last.
    """
    begun: set[str] = set()
    placed: list[str] = []
    for first in depends_on:
        # Not recursive: a chain may be longer than Python's stack.
        path = [] if first in begun else [(first, iter(depends_on[first]))]
        begun.add(first)
        while path:
            name, others = path[-1]
            following = next((other for other in others if other in depends_on and other not in begun), None)
            if following is None:
                placed.append(name)
                path.pop()
            else:
                begun.add(following)
                path.append((following, iter(depends_on[following])))
    return placed
