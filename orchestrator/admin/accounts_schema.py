"""JSON Schema (2020-12) of accounts.yaml, from the models that validate it: for editors and other tools.

It says what a schema can say; names declared twice, unknown targets and the like are found by `validate` only.
"""

from collections.abc import Mapping

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.admin import accounts_model
from orchestrator.fields import SecretReference
from orchestrator.schema import DIALECT, JsonObject, describe

KINDS: Mapping[str, type[BaseModel]] = {
    kind.__name__: kind
    for kind in (
        accounts_model.AccountsFile,
        accounts_model.Domain,
        accounts_model.User,
        accounts_model.MailingList,
        accounts_model.Contact,
        accounts_model.Retrieval,
        SecretReference,
    )
}
"""Every part of accounts.yaml by its name in the schema."""


def json_schema() -> JsonObject:
    """The schema, descriptions and defaults included."""
    _, found = models_json_schema([(accounts_model.AccountsFile, "validation")])
    definitions: JsonObject = found["$defs"]
    for name, definition in definitions.items():
        describe(KINDS[name], definition)
    top: JsonObject = definitions.pop(accounts_model.AccountsFile.__name__)
    return {"$schema": DIALECT, **top, "$defs": definitions}
