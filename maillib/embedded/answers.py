"""Answers of the directory that one process remembers.

Guarantees: bounded, whatever is asked; who asks for thousands of names that nobody has drives out no answer about one
that is there. Leaves to others: whether the answers still hold (`directory`).
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Answers(Generic[K, V]):
    """To one kind of question, those that were wanted last. None, nobody has it, is an answer like any other."""

    def __init__(self, most: int, *, weight: Callable[[V], int] = lambda _: 1) -> None:
        """`most`: the weight of all that are kept, and the number of Nones kept beside them."""
        self._most = most
        self._weigh = weight
        self._weight = 0
        self._found: OrderedDict[K, V] = OrderedDict()
        self._none: OrderedDict[K, None] = OrderedDict()

    def recall(self, key: K) -> V | None:
        """Raises KeyError: it was not asked, or was forgotten."""
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        self._none.move_to_end(key)
        return None

    def keep(self, key: K, answer: V | None) -> None:
        """`key` has no other answer yet. One that weighs more than all may is not kept."""
        if answer is None:
            self._none[key] = None
            if len(self._none) > self._most:
                self._none.popitem(last=False)
        elif key not in self._found and (weight := self._weigh(answer)) <= self._most:
            self._found[key] = answer
            self._weight += weight
            while self._weight > self._most:
                _, dropped = self._found.popitem(last=False)
                self._weight -= self._weigh(dropped)

    def forget(self) -> None:
        self._found.clear()
        self._none.clear()
        self._weight = 0
