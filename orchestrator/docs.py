"""Writes what docs/ has from the code: settings, JSON Schemas, log events, findings: `python -m orchestrator.docs`.

A test fails when they are stale.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator import findingdocs, logdocs
from orchestrator.admin import accounts_schema
from orchestrator.fielddocs import summary
from orchestrator.schema import KINDS, json_schema

_HEAD = """\
# Settings

Every key of `services.yaml`, made from the models that validate it. `postroom validate` checks a file, `postroom
config --resolved` prints it with every default. Durations are a whole number and `s`, `m`, `h` or `d`; sizes are
octets, or a whole number and `KiB`, `MiB` or `GiB`; relative paths start at the file that names them.

The column *change* says what `apply` does when only such keys have changed; of several the last one here decides:

| change | what happens |
| --- | --- |
| live | the running processes take it; whoever connects from then on has the new value, open sessions keep theirs |
| re-listen | listeners open and close; the same workers go on, and the sessions they have |
| reload | new workers on the same listeners; the old ones take no more, and their sessions have the drain limit |
| restart | the service stops and starts: its sessions may finish, new connections are refused meanwhile |

`enabled` stops or starts its service, a name that comes or goes under `services` adds or removes one, and another
`state_dir` is another suite.
"""

_COLUMNS = "| key | value | default | change | meaning |\n| --- | --- | --- | --- | --- |"

_TITLES = {
    "SpecFile": "services.yaml",
    "Tls": "tls",
    "FileReference": "tls.private_key",
    "SmtpService": "services.NAME, protocol smtp",
    "SpoolService": "services.NAME, protocol spool",
    "ImapService": "services.NAME, protocol imap",
    "PopService": "services.NAME, protocol pop",
    "SmtpListener": "listen, protocol smtp",
    "Listener": "listen, protocols imap and pop",
    "Stop": "stop",
    "Limits": "limits",
    "SmtpSettings": "settings, protocol smtp",
    "SpoolSettings": "settings, protocol spool",
    "ImapSettings": "settings, protocol imap",
    "PopSettings": "settings, protocol pop",
}


def files() -> dict[str, str]:
    """Name under docs/ to text."""
    schema = json_schema()
    return {
        "settings.md": "\n".join([_HEAD, *_sections(schema)]),
        "log-events.md": logdocs.text(),
        "preflight.md": findingdocs.text(),
        "services.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        "accounts.schema.json": json.dumps(accounts_schema.json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _sections(schema: Mapping[str, Any]) -> Iterator[str]:
    definitions = {**schema["$defs"], "SpecFile": schema}
    for name, kind in KINDS.items():
        definition = definitions[name]
        yield f"## {_TITLES[name]}\n\n{summary(kind)}\n\n{_COLUMNS}"
        for key, shape in definition["properties"].items():
            default = "required" if key in definition.get("required", ()) else _default(shape)
            change = shape.get("x-change", "")
            meaning = _cell(shape["description"].removesuffix(f" Change: {change}."))
            yield f"| `{key}` | {_value(shape)} | {default} | {change or '-'} | {meaning} |"
        yield ""


def _default(shape: Mapping[str, Any]) -> str:
    if "default" not in shape:
        return "none" if shape.get("type") == "array" else "see there"
    value = shape["default"]
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _value(shape: Mapping[str, Any]) -> str:
    """What may stand there, in a few words."""
    if "x-allowed" in shape:
        return str(shape["x-allowed"])
    if "enum" in shape or "const" in shape:
        return ", ".join(f"`{value}`" for value in shape.get("enum", [shape.get("const")]))
    if "anyOf" in shape:
        return " or ".join(dict.fromkeys(_value(option) for option in shape["anyOf"]))
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        return f"[{_TITLES[name]}](#{_anchor(_TITLES[name])})"
    match shape.get("type"):
        case "integer":
            return f"{shape['minimum']} to {shape['maximum']}"
        case "array":
            return f"list: {_value(shape['items'])}"
        case "object":
            return "mapping"
        case kind:
            return {"string": "text", "boolean": "`true`, `false`", "null": "`null`"}[str(kind)]


def _anchor(title: str) -> str:
    return "".join(char for char in title.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    folder = Path(__file__).resolve().parent.parent / "docs"
    folder.mkdir(exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
