"""Where two JSON values differ, as deep as they can be compared. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from maillib.settings.base import Json


@dataclass(frozen=True, slots=True)
class Difference:
    """One place: where (a JSON pointer, or a fact of this host), what is or was, what will be or is."""

    path: str
    before: Json
    after: Json


def differences(before: Json, after: Json, path: str = "") -> Iterator[Difference]:
    """Each place once; lists of unlike length as a whole. What one side does not have is None there."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), f"{path}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}/{index}")
    elif before != after or isinstance(before, bool) is not isinstance(after, bool):
        yield Difference(path, before, after)
