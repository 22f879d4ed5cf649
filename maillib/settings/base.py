"""Units and the loader that a worker uses: resolved JSON into frozen dataclasses, without a validator's library.

`Octets` and `Seconds` are an int and a float with a `Unit` beside them: the orchestrator's validator reads `50MiB` and
`5m` where it sees one; in the resolved JSON they are plain numbers.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Annotated, TypeVar, Union

from maillib.errors import ConfigError

Json = Union[None, bool, int, float, str, list["Json"], dict[str, "Json"]]  # noqa: UP007 - recursive

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """Marks a number's unit: `octets` or `seconds`."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Least and greatest value allowed, both included; of a list, least and greatest number of items."""

    least: float
    most: float


Octets = Annotated[int, Unit("octets")]
Seconds = Annotated[float, Unit("seconds")]


def load(kind: type[T], data: Json, path: str = "") -> T:
    """`data` as an instance of the dataclass `kind`. Raises ConfigError that names the place in the JSON."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path or 'the file'}: an object is expected")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ConfigError(f"{path}: unknown keys: {', '.join(unknown)}")
    values = {name: _value(hints[name], value, f"{path}/{name}") for name, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{path or 'the file'}: {error}") from None


def dump(value: object) -> Json:
    """The JSON form that `load` reads back to an equal value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: dump(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [dump(item) for item in value]
    if isinstance(value, dict):
        return {str(key): dump(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _value(hint: object, data: Json, path: str) -> object:
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(hint), data, path)
    if origin is tuple:
        if not isinstance(data, list):
            raise ConfigError(f"{path}: a list is expected")
        item_hint = typing.get_args(hint)[0]
        return tuple(_value(item_hint, item, f"{path}/{number}") for number, item in enumerate(data))
    if origin is typing.Literal:
        if data not in typing.get_args(hint):
            raise ConfigError(f"{path}: {data!r} is none of {typing.get_args(hint)}")
        return data
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return load(hint, data, path)
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if isinstance(hint, type) and isinstance(data, hint) and (hint is bool or not isinstance(data, bool)):
        return data
    raise ConfigError(f"{path}: {data!r} is not of type {getattr(hint, '__name__', hint)}")


def _union(options: tuple[object, ...], data: Json, path: str) -> object:
    if data is None and type(None) in options:
        return None
    problems = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _value(option, data, path)
        except ConfigError as error:
            problems.append(str(error))
    raise ConfigError("; ".join(problems) or f"{path}: null is expected")
