"""What the directory keeps of declarations (`Entries.declared`), so that the next apply can tell whose a value is.

One JSON object: what was declared when it was applied last, with fingerprints instead of secrets; where those secrets
were read; what has left the declaration before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.admin.ownership import Applied, Named, Objects

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    applied: Applied = field(default_factory=Applied)
    references: Mapping[Named, str] = field(default_factory=dict)
    """Where the secret of an object was read, `str` of a SecretRef; of what has left, too."""

    @classmethod
    def parse(cls, text: str | None) -> "Record":
        """Reads `Entries.declared`. Parts that an earlier version did not write are empty."""
        data = {} if text is None else json.loads(text)
        references = {Named.parse(name): reference for name, reference in data.get("references", {}).items()}
        applied = Applied(objects=_objects(data.get("objects", {})), left=_objects(data.get("left", {})))
        return cls(applied=applied, references=references)

    def __str__(self) -> str:
        data = {
            "version": _VERSION,
            "objects": {str(named): fields for named, fields in self.applied.objects.items()},
            "left": {str(named): fields for named, fields in self.applied.left.items()},
            "references": {str(named): reference for named, reference in self.references.items()},
        }
        return json.dumps(data, ensure_ascii=False, sort_keys=True)


def _objects(data: dict[str, dict[str, bool | int | str | list[str] | None]]) -> Objects:
    return {
        Named.parse(name): {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        for name, fields in data.items()
    }
