"""Finds circles: in what services depend on, in what aliases lead to."""

from collections.abc import Iterator, Mapping, Sequence


def circles(graph: Mapping[str, Sequence[tuple[int, str]]]) -> Iterator[tuple[list[str], int]]:
    """Each circle of `graph` that is found going along every edge once, as its members in order, and the number of the
    edge that leads from the last one back to the first. Not recursive: any depth will do.
    """
    done: set[str] = set()
    for start in graph:
        path: dict[str, Iterator[tuple[int, str]]] = {}
        follow: str | None = start if start not in done else None
        while follow is not None or path:
            if follow is not None:
                path[follow] = iter(graph[follow])
                follow = None
            for number, wanted in path[next(reversed(path))]:
                if wanted in path:
                    names = list(path)
                    yield names[names.index(wanted) :], number
                elif wanted not in done:
                    follow = wanted
                    break
            else:
                done.add(path.popitem()[0])
