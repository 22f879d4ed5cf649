"""Reading YAML that a person wrote: values, places, and what is not read at all."""

import os
from pathlib import Path

import pytest

from orchestrator import yamltext
from orchestrator.problems import Position, SpecErrors
from orchestrator.yamltext import MAX_DEPTH, MAX_NODES, MAX_OCTETS, Plain


def parse(text: str | bytes) -> yamltext.Document:
    return yamltext.parse(text.encode() if isinstance(text, str) else text, file="f.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("\ufeffa: 1", {"a": 1}),
        ("a: ~\nb: null\nc:\nd: ''", {"a": None, "b": None, "c": None, "d": ""}),
        ("a: true\nb: No\nc: 'no'\nd: y", {"a": True, "b": False, "c": "no", "d": "y"}),
        ("a: 0\nb: -7\nc: +7\nd: '7'", {"a": 0, "b": -7, "c": 7, "d": "7"}),
        ("a: 1.5\nb: 1e3\nc: .5\nd: .\ne: 1.2.3", {"a": 1.5, "b": 1000.0, "c": 0.5, "d": ".", "e": "1.2.3"}),
        ("a: 127.0.0.1:25\nb: :25\nc: 5m\nd: 50MiB", {"a": "127.0.0.1:25", "b": ":25", "c": "5m", "d": "50MiB"}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ('"on": 1', {"on": 1}),
    ],
)
def test_values(text: str, value: Plain) -> None:
    """Plain data comes out as YAML 1.1 and 1.2 both read it."""
    document = parse(text)
    assert document.value == value
    assert document.problems == ()


def test_positions() -> None:
    """Keys and values have the line and column at which they stand, counted in characters from 1."""
    document = parse("ä: 1\nb:\n  - {c: x,\n     d: y}\n")
    assert document.position(("ä",)) == Position(1, 4)
    assert document.key_position(("b",)) == Position(2, 1)
    assert document.position(("b", 0, "d")) == Position(4, 9)
    assert document.key_position(("b", 0, "d")) == Position(4, 6)


def test_position_of_what_is_not_there() -> None:
    """A path that leads nowhere has the place of the last value it meets."""
    document = parse("a:\n  b: 1\n")
    assert document.position(("a", "x", "y")) == document.position(("a",)) == Position(2, 3)
    assert document.position(("a", 5)) == document.key_position(("a", 5)) == Position(2, 3)


def test_position_below_an_alias() -> None:
    """The place of an alias is its own, that of what it stands for is where that was written."""
    document = parse("a: &x {b: 1}\nc: *x\n")
    assert document.position(("c",)) == Position(2, 4)
    assert document.position(("c", "b")) == Position(1, 11)


def test_reading_goes_on_after_a_mistake() -> None:
    """What is refused is left out or None; everything else is there."""
    document = parse("a: 1\na: 2\non: {b: 1}\nc: 025\n<<: {d: 1}\n? [x]\n: 1\ne: *f\ng: ok\n")
    assert document.value == {"a": 1, "c": None, "e": None, "g": "ok"}
    assert [(problem.line, problem.code) for problem in document.problems] == [
        (2, "duplicate-key"),
        (3, "key"),
        (4, "ambiguous"),
        (5, "key"),
        (6, "key"),
        (8, "alias"),
    ]


@pytest.mark.parametrize(
    "text", ["025", "0o25", "0x1F", "0b1", "1_000", "12:30", "1:2:3.5", ".inf", "-.INF", ".nan", "2024-01-02", "08"]
)
def test_ambiguous(text: str) -> None:
    """What YAML 1.1 and 1.2 read differently is refused, not guessed; in quotes it is text."""
    assert [problem.code for problem in parse(f"a: {text}").problems] == ["ambiguous"]
    assert parse(f"a: '{text}'").value == {"a": text}


@pytest.mark.parametrize("text", ["9" * 19, "1" * 5000, "1e999", "-1e400"])
def test_numbers_too_large(text: str) -> None:
    """A number that does not fit 64 bits is refused."""
    assert [problem.code for problem in parse(f"a: {text}").problems] == ["out-of-range"]


@pytest.mark.parametrize(
    ("text", "line", "column", "code"),
    [
        (b"a: 1\nb: \xff", 2, 4, "encoding"),
        (b"\xff\xfea\x00", 1, 1, "encoding"),
        (b"a: \x00", 1, 4, "character"),
        ("a: 1\nb: '\x7f'", 2, 5, "character"),
        (b"a: [1,\n", 2, 1, "syntax"),
        (b"a: 1\n\tb: 2", 2, 1, "syntax"),
        (b"a: 'x", 1, 6, "syntax"),
        (b'a: "\\ud800"', 1, 7, "syntax"),
        (b"a: 1\n---\nb: 2", 2, 1, "several-documents"),
        (b"a: &a [*a]", 1, 8, "alias"),
        ("[" * (MAX_DEPTH + 1), 1, MAX_DEPTH + 1, "too-deep"),
        ("a: " + "[" * 900, 1, MAX_DEPTH + 3, "too-deep"),
    ],
)
def test_unusable(text: str | bytes, line: int, column: int, code: str) -> None:
    """What cannot be read at all says where and why."""
    with pytest.raises(SpecErrors) as refused:
        parse(text)
    problem = refused.value.problems[-1]
    assert (problem.line, problem.column, problem.code) == (line, column, code)


def test_exploding_aliases() -> None:
    """Aliases count for what they stand for: nine lines cannot become a billion values."""
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(SpecErrors, match=f"more than {MAX_NODES} keys and values"):
        parse("\n".join(lines))


def test_aliases_that_nest() -> None:
    """Aliases count for the depth of what they stand for."""
    lines = ["l0: &l0 [x]"] + [f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, MAX_DEPTH + 1)]
    with pytest.raises(SpecErrors, match="nests deeper"):
        parse("\n".join(lines))


def test_size() -> None:
    """A file may have 1 MiB, and not an octet more."""
    assert parse(b"#" * MAX_OCTETS).value is None
    with pytest.raises(SpecErrors, match="larger than 1048576 octets"):
        parse(b"#" * (MAX_OCTETS + 1))


def test_files(tmp_path: Path) -> None:
    """What cannot be read, has no end or is a pipe that nobody writes to is one problem without a position, at once."""
    pipe, circle = tmp_path / "pipe", tmp_path / "circle"
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    for path in (tmp_path / "missing", tmp_path, Path("/dev/zero"), pipe, circle):
        with pytest.raises(SpecErrors) as refused:
            yamltext.read(path)
        assert str(refused.value).startswith(f"{path}: ")
        assert refused.value.problems[0].line is None


def test_one_line_per_problem() -> None:
    """Whatever keys and values hold, a problem is one line of printable text."""
    document = parse('"a\\nb": 1\n"a\\nb": 2\n"\\u2028": 1\n"\\u2028": !<x%0ay> 1\n')
    assert document.problems
    for problem in document.problems:
        assert str(problem).isprintable()
