"""What one process remembers of the directory: bounded, and the useful part of it."""

import pytest

from maillib.embedded.answers import Answers


def knows(answers: Answers[str, str], key: str) -> bool:
    try:
        answers.recall(key)
    except KeyError:
        return False
    return True


def test_what_was_kept_is_recalled() -> None:
    """An answer, "nobody" too, until all is forgotten; what was not asked is no answer."""
    answers: Answers[str, str] = Answers(10)
    answers.keep("alice", "here")
    answers.keep("bob", None)
    assert answers.recall("alice") == "here"
    assert answers.recall("bob") is None
    with pytest.raises(KeyError):
        answers.recall("carol")
    answers.forget()
    assert not knows(answers, "alice") and not knows(answers, "bob")


def test_what_was_wanted_last_stays() -> None:
    """When it is full, the answer goes that nobody has asked for longest."""
    answers: Answers[str, str] = Answers(2)
    for key in ("a", "b"):
        answers.keep(key, key)
    answers.recall("a")
    answers.keep("c", "c")
    assert [key for key in "abc" if knows(answers, key)] == ["a", "c"]


def test_names_of_nobody_drive_out_nobody() -> None:
    """However many names are tried that nobody has, who is there stays remembered; those names are bounded, too."""
    answers: Answers[str, str] = Answers(3)
    answers.keep("alice", "here")
    for number in range(100):
        answers.keep(str(number), None)
    assert answers.recall("alice") == "here"
    assert [key for key in map(str, range(100)) if knows(answers, key)] == ["97", "98", "99"]


def test_large_answers_count_for_more() -> None:
    """The bound is for the weight of all answers; one that is heavier than that alone drives out nothing."""
    answers: Answers[str, str] = Answers(10, weight=len)
    answers.keep("a", "x" * 4)
    answers.keep("b", "x" * 4)
    answers.keep("huge", "x" * 11)
    assert knows(answers, "a") and knows(answers, "b") and not knows(answers, "huge")
    answers.keep("c", "x" * 9)
    assert [key for key in "abc" if knows(answers, key)] == ["c"]
    answers.keep("d", "x")
    assert knows(answers, "c") and knows(answers, "d")
