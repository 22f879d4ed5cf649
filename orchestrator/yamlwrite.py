"""Writes values so that `yamltext`, and any other reader of YAML, reads them back as they were.

Text stands plain only where no version of YAML takes it for anything else.
"""

import json
import re
from collections.abc import Mapping, Sequence

Written = bool | int | str | Sequence["Written"] | Mapping[str, "Written"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.@+-]*(?: [A-Za-z_][A-Za-z0-9_.@+-]*)*|[0-9]{1,15}(?:[smhd]|[KMG]iB)")
_WORDS_OF_YAML = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


def flow(value: Written) -> str:
    """On one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return text(value)
        case Mapping():
            return f"{{{', '.join(f'{text(key)}: {flow(item)}' for key, item in value.items())}}}"
        case _:
            return f"[{', '.join(map(flow, value))}]"


def text(value: str) -> str:
    """A key or a value."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escaped(char) for char in quoted)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
