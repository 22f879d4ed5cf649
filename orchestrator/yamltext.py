"""Reads a YAML file that a person wrote into plain data with a position for every key and value.

Guarantees: one document of at most 1 MiB of UTF-8; keys are strings and unique; values are dict, list, str, int, float,
bool or None, with no more nodes (aliases expanded) and no deeper than fits a hand-written file. What YAML 1.1 and 1.2
read differently (octal, base 60, dates, `1_000`) is refused. Problems are collected: after each but those of syntax
and size, reading goes on without the value in question, so that the rest can be validated in the same go.
Leaves to others: what the keys mean.

It works on libyaml's events rather than its tree: no recursion, every mistake with its own place.
"""

import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol, Union

import yaml

from orchestrator.problems import MAX_PROBLEMS, Position, Problem, SpecErrors, Where, path_text, shown

Plain = Union[None, bool, int, float, str, list["Plain"], dict[str, "Plain"]]  # noqa: UP007 - recursive
Scalar = None | bool | int | float | str

MAX_OCTETS = 1 << 20
"""Of a file, unless its reader says otherwise."""
MAX_NODES = 200_000
"""Keys and values after aliases are expanded: ten thousand accounts with every field stay below."""
MAX_DEPTH = 32
"""The deepest key of our files is at 8; recursion over the plain data stays far from the interpreter's limit."""
MAX_DIGITS = 18
"""Longest number: fits 64 bits."""

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"))
_FALSE = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"))
_NUMERIC = frozenset("+-.0123456789")
"""What a number, or what is ambiguous, begins with."""
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_AMBIGUOUS = re.compile(
    r"""[-+]?0[0-9_]+                                   # octal in YAML 1.1
      | [-+]?0o[0-7]+ | [-+]?0b[01_]+ | [-+]?0x[0-9a-fA-F_]+
      | [-+]?[0-9][0-9_]*_[0-9_]*
      | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?    # base 60
      | [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)
      | [0-9]{4}-[0-9]{2}-[0-9]{2}
      | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*""",
    re.VERBOSE,
)


@dataclass(slots=True, eq=False)
class _Node:
    """One value. Aliases share the contents of what they name; the position is their own."""

    position: Position
    value: "Scalar | list[_Node] | dict[str, _Entry]"
    text: str = ""
    """A scalar as written, without quotes."""
    plain_style: bool = False
    size: int = 1
    depth: int = 1
    closed: bool = True


class _Entry(NamedTuple):
    key: Position
    node: _Node


@dataclass(slots=True)
class _Frame:
    """A list or mapping still being read."""

    node: _Node
    where: Where
    key: str | None = None
    """Key of the value that comes next; None also for one that was refused, see `expects_value`."""
    key_position: Position = field(default_factory=lambda: Position(1, 1))
    expects_value: bool = False

    @property
    def next_where(self) -> Where:
        if isinstance(self.node.value, list):
            return (*self.where, len(self.node.value))
        return self.where if self.key is None else (*self.where, self.key)


@dataclass(frozen=True)
class Document:
    """What was read. `problems` are those of reading; what they are about is missing from `value`, or None there."""

    file: str
    """Name for messages, as the caller gave it."""
    data: bytes
    """The file itself."""
    problems: tuple[Problem, ...]
    _root: _Node

    @cached_property
    def value(self) -> Plain:
        return _plain(self._root)

    def position(self, where: Where) -> Position:
        """Of the value at `where`; of the nearest thing around it, when there is none."""
        node = self._root
        for step in where:
            below = _step(node, step)
            if below is None:
                break
            node = below.node
        return node.position

    def key_position(self, where: Where) -> Position:
        """Of the key (or list item) at `where`; of the nearest thing around it, when there is none."""
        node, position = self._root, self._root.position
        for step in where:
            below = _step(node, step)
            if below is None:
                return node.position
            node, position = below.node, below.key
        return position

    def written(self, where: Where) -> str | None:
        """The text of an unquoted scalar, as it is in the file; None for all else."""
        node = self._root
        for step in where:
            below = _step(node, step)
            if below is None:
                return None
            node = below.node
        return node.text if node.plain_style else None

    def problem(
        self, where: Where, message: str, *, code: str, hint: str | None = None, at_key: bool = False
    ) -> Problem:
        """A problem with the value at `where`, or with its key."""
        position = self.key_position(where) if at_key else self.position(where)
        return Problem(
            code=code,
            file=self.file,
            line=position.line,
            column=position.column,
            path=path_text(where),
            message=message,
            hint=hint,
        )


def read(path: Path, *, max_octets: int = MAX_OCTETS) -> Document:
    """The document in the file `path`. Raises SpecErrors when nothing of it can be used."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a pipe is not waited for
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SpecErrors([_of_file(str(path), "unreadable", "cannot be read: it is no file")])
            data = file.read(max_octets + 1)
    except OSError as error:
        raise SpecErrors([_of_file(str(path), "unreadable", f"cannot be read: {error.strerror}")]) from None
    return parse(data, file=str(path), max_octets=max_octets)


def parse(data: bytes, *, file: str, max_octets: int = MAX_OCTETS) -> Document:
    """As `read`, for bytes at hand. Raises SpecErrors."""
    if len(data) > max_octets:
        allowed = f"{max_octets} octets ({max_octets >> 20} MiB)"
        raise SpecErrors([_of_file(file, "too-large", f"is larger than {allowed}")])
    reader = _Reader(file)
    root = reader.read(_decode(data, file))
    return Document(file, data, tuple(reader.problems), root)


def _decode(data: bytes, file: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = _position(data[: error.start].decode("utf-8-sig"))
        raise SpecErrors([_at(position, file, "encoding", "invalid UTF-8; write the file in UTF-8")]) from None
    if refused := [text.index(character) for character in set(text) if not _is_yaml(ord(character))]:
        first = min(refused)
        position = _position(text[:first])
        message = f"the character U+{ord(text[first]):04X} is not allowed in YAML"
        raise SpecErrors([_at(position, file, "character", message)])
    return text


def _is_yaml(code: int) -> bool:
    """YAML 1.2 §5.1, and no byte order mark inside the text."""
    return (
        0x20 <= code <= 0x7E
        or code in (0x09, 0x0A, 0x0D, 0x85)
        or 0xA0 <= code <= 0xD7FF
        or (0xE000 <= code <= 0xFFFD and code != 0xFEFF)
        or code >= 0x10000
    )


def _position(before: str) -> Position:
    """Of what follows `before`."""
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", before)  # YAML 1.1 line breaks, as libyaml counts them
    return Position(len(lines), len(lines[-1]) + 1)


class _Mark(Protocol):
    """What libyaml knows of a place; both count from 0."""

    line: int
    column: int


def _marked(mark: _Mark | None) -> Position:
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _of_file(file: str, code: str, message: str) -> Problem:
    return Problem(code=code, file=file, line=None, column=None, path="", message=message)


def _at(position: Position, file: str, code: str, message: str, where: Where = (), hint: str | None = None) -> Problem:
    return Problem(
        code=code,
        file=file,
        line=position.line,
        column=position.column,
        path=path_text(where),
        message=message,
        hint=hint,
    )


def kind_of(value: object) -> str:
    """What a value is, in the words of YAML."""
    if value is None:
        return "empty (null)"
    kinds = {bool: "a boolean", int: "a number", float: "a fraction", str: "text", list: "a list", dict: "a mapping"}
    return kinds[type(value)]


def _step(node: _Node, step: str | int) -> _Entry | None:
    value = node.value
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
        return _Entry(value[step].position, value[step])
    return None


def _plain(node: _Node) -> Plain:
    """Recursion is bounded by MAX_DEPTH, work by MAX_NODES."""
    if isinstance(node.value, dict):
        return {key: _plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(item) for item in node.value]
    return node.value


class _Reader:
    """Builds the tree from events; one instance reads one text."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._root: _Node | None = None
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Node] = {}
        self._nodes = 0

    def read(self, text: str) -> _Node:
        """Raises SpecErrors for what ends the reading; other problems are in `problems` afterwards."""
        documents = 0
        for event in self._events(text):
            position = _marked(event.start_mark)
            match event:
                case yaml.ScalarEvent():
                    self._tag(event.tag, position)
                    self._add(self._scalar(event, position), event.anchor)
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        self._fatal(position, "several-documents", "a second document begins; one is allowed")
                case yaml.SequenceStartEvent():
                    self._tag(event.tag, position)
                    self._open(_Node(position, [], closed=False), event.anchor)
                case yaml.MappingStartEvent():
                    self._tag(event.tag, position)
                    self._open(_Node(position, {}, closed=False), event.anchor)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self._close()
                case yaml.AliasEvent():
                    self._alias(event.anchor or "", position)
        return self._root or _Node(Position(1, 1), None)

    def _events(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=yaml.CSafeLoader)
        except yaml.MarkedYAMLError as error:
            said = ", ".join(part for part in (error.context, error.problem) if part)
            self._fatal(_marked(error.problem_mark or error.context_mark), "syntax", f"not YAML: {said}")

    def _fatal(self, position: Position, code: str, message: str) -> NoReturn:
        self._problem(position, code, message)
        raise SpecErrors(self.problems)

    def _problem(
        self, position: Position, code: str, message: str, hint: str | None = None, *, key: str | None = None
    ) -> None:
        where = self._frames[-1].next_where if self._frames else ()
        if key is not None:
            where = (*where, key)
        self.problems.append(_at(position, self._file, code, message, where, hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise SpecErrors(self.problems)

    def _tag(self, tag: str | None, position: Position) -> None:
        if tag is not None:
            self._problem(position, "tag", f"the tag {shown(tag)} is not allowed; plain values only")

    def _count(self, position: Position, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._fatal(position, "too-many-nodes", f"more than {MAX_NODES} keys and values, aliases expanded")

    def _open(self, node: _Node, anchor: str | None) -> None:
        where = self._frames[-1].next_where if self._frames else ()
        self._frames.append(_Frame(node, where))
        if len(self._frames) > MAX_DEPTH:
            self._fatal(node.position, "too-deep", f"nested deeper than {MAX_DEPTH} levels")
        self._count(node.position, 1)
        if anchor is not None:
            self._anchors[anchor] = node

    def _close(self) -> None:
        node = self._frames.pop().node
        node.closed = True
        self._attach(node)

    def _alias(self, anchor: str, position: Position) -> None:
        target = self._anchors.get(anchor)
        if target is None:
            self._problem(position, "alias", f"there is no anchor &{anchor} before this alias")
            target = _Node(position, None)
        elif not target.closed:
            self._fatal(position, "alias", f"the alias *{anchor} is inside of what it stands for")
        elif len(self._frames) + target.depth > MAX_DEPTH:
            self._fatal(position, "too-deep", f"the alias *{anchor} nests deeper than {MAX_DEPTH} levels")
        self._count(position, target.size)
        self._attach(
            _Node(position, target.value, target.text, target.plain_style, size=target.size, depth=target.depth)
        )

    def _add(self, node: _Node, anchor: str | None) -> None:
        self._count(node.position, 1)
        if anchor is not None:
            self._anchors[anchor] = node
        self._attach(node)

    def _attach(self, node: _Node) -> None:
        """Make `node` the root, the next item, the next key or the value of the last key."""
        if not self._frames:
            self._root = node
            return
        frame = self._frames[-1]
        around = frame.node
        around.size += node.size
        if node.depth >= around.depth:
            around.depth = node.depth + 1
        if isinstance(around.value, list):
            around.value.append(node)
        elif isinstance(around.value, dict):
            if not frame.expects_value:
                frame.key, frame.key_position = self._key(node, around.value), node.position
            elif frame.key is not None:
                around.value[frame.key] = _Entry(frame.key_position, node)
                frame.key = None
            frame.expects_value = not frame.expects_value

    def _key(self, node: _Node, known: dict[str, _Entry]) -> str | None:
        """The key; None when it is refused, and its value is left out."""
        key = node.value
        if node.plain_style and node.text == "<<":
            self._problem(node.position, "key", "merge keys are not allowed; write the keys out", key="<<")
        elif not isinstance(key, str):
            hint = f"write {shown(node.text)}" if node.plain_style else None
            said = f"this key is {kind_of(key)} in YAML 1.1; keys are text"
            self._problem(node.position, "key", said, hint, key=node.text or None)
        elif key in known:
            said = f"duplicate key, first in line {known[key].key.line}; a key may stand once"
            self._problem(node.position, "duplicate-key", said, key=key)
        else:
            return key
        return None

    def _scalar(self, event: yaml.ScalarEvent, position: Position) -> _Node:
        text = event.value
        if not event.implicit[0]:
            return _Node(position, text, text)
        value: Scalar = text
        if text in _NULL:
            value = None
        elif text in _TRUE or text in _FALSE:
            value = text in _TRUE
        elif text[0] not in _NUMERIC:
            pass
        elif _INTEGER.fullmatch(text):
            value = self._number(int, text, position)
        elif _FLOAT.fullmatch(text):
            value = self._number(float, text, position)
        elif _AMBIGUOUS.fullmatch(text):
            value = None
            said = f"{shown(text)[1:-1]} is octal, base 60, a date or the like in YAML 1.1; decimal numbers are allowed"
            self._problem(position, "ambiguous", said, hint="put text in quotes")
        return _Node(position, value, text, plain_style=True)

    def _number(self, kind: type[int] | type[float], text: str, position: Position) -> int | float | None:
        if len(text.lstrip("+-")) <= MAX_DIGITS:
            number = kind(text)
            if math.isfinite(number):
                return number
        self._problem(position, "out-of-range", f"the number {shown(text)[1:-1]} is too large or too long")
        return None
