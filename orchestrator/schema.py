"""JSON Schema (2020-12) of services.yaml, from the models that validate it: for editors and other tools.

It says what a schema can say; ports used twice, unknown dependencies and the like are found by `validate` only.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from maillib.settings import change
from maillib.settings.change import Change
from maillib.settings.service import SETTINGS, Limits, ServiceCommon, Stop
from orchestrator import crosscheck, fields, model, settingsmodel
from orchestrator.fielddocs import field_docs, summary

DIALECT = "https://json-schema.org/draft/2020-12/schema"

MODELS: tuple[type[BaseModel], ...] = (
    model.SpecFile,
    model.Tls,
    fields.FileReference,
    *model.SERVICES.values(),
    model.SmtpListener,
    model.Listener,
)
KINDS: Mapping[str, type] = {kind.__name__: kind for kind in (*MODELS, Stop, Limits, *SETTINGS.values())}
"""Every part of services.yaml by its name in the schema, in the order of the documentation."""

_PARTS_OF: Mapping[type, str] = {
    model.Listener: "listen",
    model.SmtpListener: "listen",
    model.Tls: "tls",
    fields.FileReference: "tls",
}
"""Parts of services.yaml that end up in one field of a service's file, and share its class of change."""

JsonObject = dict[str, Any]  # what pydantic gives, edited in place


def json_schema() -> JsonObject:
    """The schema, descriptions and defaults included."""
    _, found = models_json_schema(
        [(kind, "validation") for kind in (model.SpecFile, *model.SERVICES.values())],
    )
    definitions: JsonObject = found["$defs"]
    for name, definition in definitions.items():
        _describe(KINDS[name], definition)
    top: JsonObject = definitions.pop(model.SpecFile.__name__)
    top["properties"]["services"] |= _services()
    return {"$schema": DIALECT, **top, "$defs": definitions}


def change_of(kind: type, name: str) -> Change | None:
    """What a change of a key of services.yaml costs; None where that is no such matter: its parts say it, or it starts,
    stops, adds or removes services."""
    common = change.declared(ServiceCommon)
    return change.declared(kind).get(name) or common.get(_PARTS_OF.get(kind, name))


def _services() -> JsonObject:
    branches = [
        {
            "if": {"properties": {"protocol": {"const": protocol}}, "required": ["protocol"]},
            "then": {"$ref": f"#/$defs/{kind.__name__}"},
        }
        for protocol, kind in model.SERVICES.items()
    ]
    protocols = {"enum": list(model.SERVICES), "description": field_docs(model.Service)["protocol"]}
    return {
        "propertyNames": {"pattern": f"^{crosscheck.NAME.pattern}$", "not": {"enum": list(crosscheck.RESERVED)}},
        "additionalProperties": {
            "type": "object",
            "properties": {"protocol": protocols},
            "required": ["protocol"],
            "allOf": branches,
        },
    }


def describe(kind: type, definition: JsonObject) -> None:
    """Put what the docstrings of `kind` say into its schema."""
    definition["description"] = summary(kind)
    definition.pop("title", None)
    docs = field_docs(kind)
    for name, shape in definition["properties"].items():
        shape.pop("title", None)
        shape["description"] = docs[name]


def _describe(kind: type, definition: JsonObject) -> None:
    describe(kind, definition)
    for name, shape in definition["properties"].items():
        needed = change_of(kind, name)
        if needed is not None:
            shape["x-change"] = needed.value
            shape["description"] += f" Change: {needed}."
        if isinstance(shape.get("default"), dict):
            del shape["default"]  # of the parts, each key has its own
        elif dataclasses.is_dataclass(kind) and "default" in shape:
            shape["default"] = settingsmodel.written_default(kind, name)
