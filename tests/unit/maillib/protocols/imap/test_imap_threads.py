"""THREAD: the steps of RFC 5256, and what conversations look like on the wire."""

import pytest

from maillib.message.subjects import subject
from maillib.protocols.imap.threads import Node, Threaded, by_references, by_subject, render


def message(
    number: int, its_id: str = "", references: str = "", about: str = "", sent_s: int | None = None
) -> Threaded:
    sent_s = number if sent_s is None else sent_s
    return Threaded(number, sent_s, subject(about or f"s{number}"), its_id, references.split())


def shown(roots: list[Node]) -> str:
    return render(roots).decode().removeprefix("* THREAD").removesuffix("\r\n").strip()


def leaf(number: int, *children: Node) -> Node:
    node = Node(message(number))
    for child in children:
        node.adopt(child)
    return node


def test_the_examples_of_the_rfc() -> None:
    """RFC 5256 §4: a chain is a list, siblings are in parentheses, a missing ancestor has no number."""
    one = leaf(3, leaf(6, leaf(4, leaf(23)), leaf(44, leaf(7, leaf(96)))))
    assert render([leaf(2), one]) == b"* THREAD (2)(3 6 (4 23)(44 7 96))\r\n"
    dummy = Node()
    dummy.adopt(leaf(3))
    dummy.adopt(leaf(5))
    assert render([dummy]) == b"* THREAD ((3)(5))\r\n"
    assert render([]) == b"* THREAD\r\n"


def test_ordered_subject() -> None:
    """Threads are ordered by their first message, in which all others are; re and fwd make no difference."""
    found = by_subject(
        [
            message(1, about="b", sent_s=20),
            message(2, about="re: a", sent_s=10),
            message(3, about="a", sent_s=30),
            message(4, about="b", sent_s=5),
            message(5, about="fwd: a", sent_s=40),
            message(6, about="c", sent_s=5),
        ]
    )
    assert shown(found) == "(4 1)(6)(2 (3)(5))"


@pytest.mark.parametrize(
    ("messages", "threads"),
    [
        ([message(1, "a"), message(2, "b", "a"), message(3, "c", "a b")], "(1 2 3)"),
        ([message(1, "c", "a b"), message(2, "b", "a"), message(3, "a")], "(3 2 1)"),
        ([message(1, "a"), message(2, "b", "a"), message(3, "c", "a")], "(1 (2)(3))"),
        ([message(1, "b", "gone"), message(2, "c", "gone")], "((1)(2))"),
        ([message(1, "b", "gone")], "(1)"),
        ([message(1, "a"), message(2, "c", "a gone")], "(1 2)"),
        ([message(1, "a"), message(2, "c", "a gone"), message(3, "d", "a gone")], "(1 (2)(3))"),
        ([message(1), message(2)], "(1)(2)"),
        ([message(1, "a"), message(2, "a"), message(3, "b", "a")], "(1 3)(2)"),
        ([message(1, "a", "b"), message(2, "b", "a")], "(2 1)"),
        ([message(1, "a", "a")], "(1)"),
        ([message(1, "a", "x y x y")], "(1)"),
        ([message(1, "a", sent_s=9), message(2, "b", sent_s=3)], "(2)(1)"),
        ([message(1, "a"), message(2, "b", "a", sent_s=9), message(3, "c", "a", sent_s=3)], "(1 (3)(2))"),
        ([message(1, about="x"), message(2, about="re: x")], "(1 2)"),
        ([message(1, about="re: x"), message(2, about="x")], "(2 1)"),
        ([message(1, about="x"), message(2, about="x")], "((1)(2))"),
        ([message(1, about="re: x"), message(2, about="re: x")], "((1)(2))"),
        ([message(1, about="x"), message(2, about="x"), message(3, about="re: x")], "((1)(2)(3))"),
        ([message(1, "b", "g", "x"), message(2, "c", "g", "x"), message(3, about="re: x")], "((1)(2)(3))"),
        (
            [message(1, "b", "g", "x"), message(2, "c", "g"), message(3, "d", "h", "x"), message(4, "e", "h")],
            "((1)(2)(3)(4))",
        ),
        ([message(1, about="(fwd)"), message(2, about="re:")], "(1)(2)"),
        ([message(1, "a"), message(2, "b", "a gone"), message(3, "b2", "x gone")], "(1 (2)(3))"),
    ],
)
def test_references(messages: list[Threaded], threads: str) -> None:
    """Links, dummies, doubled ids, loops, order by date, and threads about one subject."""
    assert shown(by_references(messages)) == threads


def test_every_message_is_in_one_place() -> None:
    """A chain of thousands, in any order, with ids that contradict each other, keeps every message once."""
    many = [message(n, f"i{n}", f"i{(n * 7) % 3000} i{(n * 13 + 1) % 3000}") for n in range(1, 3000)]
    text = shown(by_references(many)).replace("(", " ").replace(")", " ").split()
    assert sorted(map(int, text)) == list(range(1, 3000))
    chain = [message(n, f"i{n}", f"i{n - 1}") for n in range(3000, 0, -1)]
    assert shown(by_references(chain)) == f"({' '.join(map(str, range(1, 3001)))})"
