"""Turns the plain settings classes of `maillib.settings` into strict models.

Workers load those classes without a validator's library; here each becomes a model with the same fields and defaults,
which reads numbers as a person writes them where a `Unit` stands beside a field, and keeps to its `Range`.
"""

import dataclasses
import typing
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, Strict, WithJsonSchema, create_model
from pydantic_core import CoreSchema, core_schema

from maillib.settings.base import Range, Unit
from orchestrator.units import UNITS, range_text, unit_text
from orchestrator.validation import Model, refuse


class Settings:
    """Marks a field whose type is a plain dataclass of `maillib.settings`; the value is an instance of that."""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        names = [field.name for field in dataclasses.fields(source)]

        def build(value: Model) -> object:
            return source(**{name: getattr(value, name) for name in names})

        return core_schema.no_info_after_validator_function(build, handler.generate_schema(model_of(source)))


@cache
def model_of(kind: type) -> type[Model]:
    """The strict model of a settings dataclass: the same fields and defaults, units read as a person writes them."""
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: (_annotation(hints[field.name]), _default(field)) for field in dataclasses.fields(kind)}
    made = create_model(kind.__name__, __base__=Model, __doc__=kind.__doc__, **fields)  # type: ignore[call-overload]
    return typing.cast(type[Model], made)


def written_default(kind: type, name: str) -> object:
    """The default of a settings field that has one, numbers as a person writes them."""
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    hint = typing.get_type_hints(kind, include_extras=True)[name]
    if isinstance(field.default, tuple):
        return [_written(_metadata(typing.get_args(_metadata(hint)[0])[0])[1], item) for item in field.default]
    return _written(_metadata(hint)[1], field.default)


def _written(metadata: tuple[object, ...], value: object) -> object:
    unit = next((entry.name for entry in metadata if isinstance(entry, Unit)), "")
    return unit_text(unit, value) if unit and isinstance(value, int | float) else value


def _metadata(hint: object) -> tuple[object, tuple[object, ...]]:
    """A type, and what is written beside it."""
    if typing.get_origin(hint) is Annotated:
        bare, *metadata = typing.get_args(hint)
        return bare, tuple(metadata)
    return hint, ()


def _default(field: "dataclasses.Field[object]") -> object:
    return ... if field.default is dataclasses.MISSING else field.default


def _annotation(hint: object) -> object:
    hint, metadata = _metadata(hint)
    if typing.get_origin(hint) is tuple:
        item = _annotation(typing.get_args(hint)[0])
        hint = Annotated[tuple[item, ...], Strict(False)]  # type: ignore[valid-type]  # YAML gives a list
    unit = next((entry.name for entry in metadata if isinstance(entry, Unit)), "")
    limits = next((entry for entry in metadata if isinstance(entry, Range)), None)
    added: list[object] = []
    if unit:
        notation = UNITS[unit]
        allowed = range_text(limits, unit) if limits else unit
        added += [BeforeValidator(notation.parse), WithJsonSchema({**notation.schema, "x-allowed": allowed})]
    elif limits and hint is int:
        added.append(WithJsonSchema({"type": "integer", "minimum": limits.least, "maximum": limits.most}))
    if limits:
        added.append(within(limits, unit=unit))
    return Annotated[(hint, *added)] if added else hint


def within(limits: Range, *, unit: str) -> AfterValidator:
    """Refuses what is out of range; empty `unit`: a plain number."""

    def check(value: object) -> object:
        """Of a list, the number of items."""
        number = len(value) if isinstance(value, tuple) else value
        assert isinstance(number, int | float)
        if limits.least <= number <= limits.most:
            return value
        counted = f"{number} items are" if isinstance(value, tuple) else f"{unit_text(unit, number)} is"
        raise refuse("out-of-range", f"{counted} out of range; allowed: {range_text(limits, unit)}")

    return AfterValidator(check)
