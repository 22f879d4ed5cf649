"""THREAD: messages put into trees, and these as octets. RFC 5256 §3, §4.

Nothing here calls itself, however long a conversation is.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from maillib.message.subjects import Subject


class Threaded(NamedTuple):
    """A message, as far as threads are concerned."""

    number: int
    """What is told: message number or UID. They ascend as messages in the mailbox do."""
    sent_s: int
    subject: Subject
    id: str
    """Empty: none."""
    references: Sequence[str]
    """The message that it answers comes last."""


class Node:
    """One message and what follows it; or what holds messages together whose common ancestor is not there."""

    __slots__ = ("children", "message", "parent")

    def __init__(self, message: Threaded | None = None) -> None:
        self.message = message
        self.parent: Node | None = None
        self.children: list[Node] = []

    def adopt(self, child: "Node") -> None:
        """Take it from whoever has it."""
        if child.parent is not None:
            child.parent.children.remove(child)
        child.parent = self
        self.children.append(child)

    @property
    def first(self) -> Threaded:
        """Its message, or else the first below it; dummies that are asked have one."""
        return self.message or self.children[0].first

    @property
    def order(self) -> tuple[int, int]:
        first = self.first
        return first.sent_s, first.number


def by_subject(messages: Iterable[Threaded]) -> list[Node]:
    """ORDEREDSUBJECT: of each subject a thread, whose messages all answer the first."""
    threads: dict[str, Node] = {}
    for message in sorted(messages, key=lambda one: (one.sent_s, one.number)):
        node = Node(message)
        if message.subject.base in threads:
            threads[message.subject.base].adopt(node)
        else:
            threads[message.subject.base] = node
    return list(threads.values())


def by_references(messages: Sequence[Threaded]) -> list[Node]:
    """REFERENCES; the steps are those of the RFC."""
    roots = _pruned(_linked(messages))
    for root in roots:
        root.children.sort(key=_order)
    roots.sort(key=_order)
    roots = _gathered(roots)
    for root in roots:
        left = [root]
        while left:
            node = left.pop()
            node.children.sort(key=_order)
            left += node.children
    roots.sort(key=_order)
    return roots


def _order(node: Node) -> tuple[int, int]:
    return node.order


def _linked(messages: Sequence[Threaded]) -> list[Node]:
    """Steps 1 and 2: those without parent."""
    by_id: dict[str, Node] = {}
    nodes: list[Node] = []
    """All of them, dummies too."""

    def known(its_id: str) -> Node:
        node = by_id.get(its_id)
        if node is None:
            node = by_id[its_id] = Node()
            nodes.append(node)
        return node

    for message in messages:
        node = known(message.id) if message.id else Node()
        if not message.id:
            nodes.append(node)
        elif node.message is not None:  # an id that was used twice is no id
            node = Node()
            nodes.append(node)
        node.message = message
        before: Node | None = None
        for reference in message.references:
            here = known(reference)
            if before is not None and here.parent is None and not _is_below(before, here):
                before.adopt(here)
            before = here
        if node.parent is not None:
            node.parent.children.remove(node)
            node.parent = None
        if before is not None and not _is_below(before, node):
            before.adopt(node)
    return [node for node in nodes if node.parent is None]


def _is_below(node: Node, other: Node) -> bool:
    """`node` is `other`, or follows it."""
    if not other.children:
        return node is other
    here: Node | None = node
    while here is not None and here is not other:
        here = here.parent
    return here is other


def _pruned(roots: list[Node]) -> list[Node]:
    """Step 3: no dummies but at the top, where they hold several messages together."""
    in_order: list[Node] = []
    left = list(roots)
    while left:
        node = left.pop()
        in_order.append(node)
        left += node.children
    for node in reversed(in_order):  # what is below is done first
        node.children = [each for child in node.children for each in ((child,) if child.message else child.children)]
        for child in node.children:
            child.parent = node
    kept = []
    for root in roots:
        if root.message is not None or len(root.children) > 1:
            kept.append(root)
        elif root.children:
            kept.append(root.children[0])
    for root in kept:
        root.parent = None
    return kept


def _gathered(roots: list[Node]) -> list[Node]:
    """Step 5: threads about the same subject become one."""
    of_subject: dict[str, Node] = {}
    for root in roots:
        about = root.first.subject
        there = of_subject.get(about.base)
        if not about.base:
            continue
        if there is None or (
            there.message is not None
            and (root.message is None or (there.message.subject.is_reply and not root.message.subject.is_reply))
        ):
            of_subject[about.base] = root
    merged: dict[Node, None] = dict.fromkeys(roots)
    for root in roots:
        about = root.first.subject
        there = of_subject.get(about.base) if about.base else None
        if there is None or there is root:
            continue
        if there.message is None and root.message is None:
            for child in list(root.children):
                there.adopt(child)
        elif there.message is None or (
            root.message is not None and root.message.subject.is_reply and not there.message.subject.is_reply
        ):
            there.adopt(root)
        else:
            both = Node()
            both.adopt(there)
            both.adopt(root)
            of_subject[about.base] = both
            del merged[there]
            merged[both] = None
        del merged[root]
    return list(merged)


def render(roots: Iterable[Node]) -> bytes:
    """The untagged response. RFC 5256 §4, §5 thread-data."""
    written: list[str] = []
    left: list[Node | str] = ["\r\n"]
    for root in reversed(list(roots)):
        left += (")", root, "(")
    while left:
        piece = left.pop()
        if isinstance(piece, str):
            written.append(piece)
            continue
        node = piece
        numbers = []
        while node.message is not None:
            numbers.append(str(node.message.number))
            if len(node.children) != 1:
                break
            node = node.children[0]
        written.append(" ".join(numbers))
        if node.children and numbers:
            written.append(" ")
        for child in reversed(node.children):
            left += (")", child, "(")
    text = "".join(written)
    return f"* THREAD {text}".encode() if len(written) > 1 else b"* THREAD\r\n"
