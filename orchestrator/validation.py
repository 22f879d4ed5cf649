"""Validates a document with pydantic models, and says what is wrong in our own words and places.

Guarantees: every problem of a document in one go, each with the position of its key or value and, for a name that is
not known, the nearest one that is; a value that reading has already refused is not complained about twice.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from orchestrator.problems import MAX_PROBLEMS, Problem, Where, nearest, shown
from orchestrator.yamltext import Document, kind_of


class Model(BaseModel):
    """Base of all models of what a person writes: no unknown keys, no guessing of types."""

    # defer_build: most models are only part of another, which has their schema in its own.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


M = TypeVar("M", bound=BaseModel)

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
}

_CONSTRAINTS = {
    "too_short": ("too-few", "the list has {actual_length} items; allowed: {min_length} or more"),
    "string_pattern_mismatch": ("form", "the text is not of the right form; allowed: {pattern}"),
}
"""Constraints of pydantic that the models use, in our words: code and message."""


def refuse(code: str, message: str, hint: str | None = None) -> PydanticCustomError:
    """What a validator of one field raises: `message` says what is wrong; what is allowed."""
    return PydanticCustomError("postroom", "{said}", {"said": message, "code": code, "hint": hint})


def validate(document: Document, kind: type[M], where: Where = ()) -> tuple[M | None, list[Problem]]:
    """The value at `where` as a `kind`, or None and what is wrong with it."""
    value: object = document.value
    for step in where:
        value = value[step]  # type: ignore[index]  # the caller has seen it there
    try:
        return kind.model_validate(value), []
    except ValidationError as error:
        told = error.errors(include_url=False)[:MAX_PROBLEMS]
    found = [_problem(document, kind, where, details) for details in told]
    return None, elsewhere(found, document.problems)


def elsewhere(problems: Iterable[Problem], earlier: Iterable[Problem]) -> list[Problem]:
    """Those about a place that no `earlier` one is about."""
    known = {(problem.line, problem.column) for problem in earlier}
    return [problem for problem in problems if (problem.line, problem.column) not in known]


def _problem(document: Document, kind: type[BaseModel], where: Where, details: ErrorDetails) -> Problem:
    below = tuple(details["loc"])
    place = (*where, *below)
    context = details.get("ctx", {})
    value = details["input"]
    match details["type"]:
        case "postroom":
            return document.problem(place, context["said"], code=context["code"], hint=context["hint"])
        case "missing":
            position = document.key_position(place[:-1])
            problem = document.problem(place, "this key is missing; it has no default", code="missing-key")
            return dataclasses.replace(problem, line=position.line, column=position.column)
        case "extra_forbidden":
            known = _keys(kind, below[:-1])
            message = f"unknown key; allowed: {', '.join(known)}"
            return document.problem(
                place, message, code="unknown-key", hint=nearest(str(below[-1]), known), at_key=True
            )
        case "literal_error":
            allowed = [str(option) for option in typing.get_args(_type_at(kind, below))]
            message = f"{shown(value)} is not known; allowed: {', '.join(allowed)}"
            return document.problem(place, message, code="unknown-value", hint=nearest(str(value), allowed))
        case found if found in _EXPECTED:
            hint = None
            if _EXPECTED[found] == "text" and (written := document.written(place)):
                hint = f'write "{written}"'
            message = f"{kind_of(value)} stands here; {_EXPECTED[found]} is expected"
            return document.problem(place, message, code="wrong-type", hint=hint)
        case found:
            code, message = _CONSTRAINTS.get(found, (found, "{msg}"))
            return document.problem(place, message.format(msg=details["msg"], **context), code=code)


def _keys(kind: object, where: Where) -> list[str]:
    return list(_fields(_type_at(kind, where)))


def _type_at(kind: object, where: Where) -> object:
    """The type that the models give to the value at `where`."""
    found = _bare(kind)
    for step in where:
        if isinstance(found, type):
            found = _bare(_fields(found).get(str(step)))
        else:
            arguments = typing.get_args(found)  # list[T], tuple[T, ...], dict[str, T]
            found = _bare(arguments[0] if typing.get_origin(found) is tuple else arguments[-1])
    return found


def _fields(kind: object) -> dict[str, object]:
    """Keys of a model, or of the dataclass that one stands for, with their types."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return dict(typing.get_type_hints(kind))
    return {}


def _bare(kind: object) -> object:
    """Without `Annotated[...]` and `| None`."""
    while True:
        origin = typing.get_origin(kind)
        if origin is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif origin in (typing.Union, types.UnionType):
            kind = next(option for option in typing.get_args(kind) if option is not type(None))
        else:
            return kind
