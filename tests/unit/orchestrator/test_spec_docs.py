"""Documentation and JSON Schema come from the models and are current."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import docs, schema
from orchestrator.admin import accounts_schema

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize("name", docs.files())
def test_current(name: str) -> None:
    """What lies under docs/ is what `python -m orchestrator.docs` would write now."""
    assert (DOCS / name).read_text(encoding="utf-8") == docs.files()[name]


@pytest.mark.parametrize("name", ["services", "accounts"])
def test_modeline(name: str) -> None:
    """Each shipped file names the schema that lies in the tree."""
    first = (DOCS.parent / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema=./docs/{name}.schema.json"


@pytest.mark.parametrize("json_schema", [schema.json_schema, accounts_schema.json_schema])
def test_every_key_is_described(json_schema: Callable[[], dict[str, Any]]) -> None:
    """Every key of a schema has a description, and no key is open to others."""
    found = json_schema()
    assert found["$schema"] == schema.DIALECT
    parts: list[dict[str, Any]] = [found, *found["$defs"].values()]
    for part in parts:
        assert part["additionalProperties"] is False
        assert all(shape["description"] for shape in part["properties"].values())


@pytest.mark.parametrize("json_schema", [schema.json_schema, accounts_schema.json_schema])
def test_references_lead_somewhere(json_schema: Callable[[], dict[str, Any]]) -> None:
    """Every reference inside a schema has its target."""
    found = json_schema()

    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    assert {name.removeprefix("#/$defs/") for name in references(found)} == set(found["$defs"])
