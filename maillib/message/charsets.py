"""Which charsets are read: all that Python knows and a stranger's octets cannot make slow or strange."""

import codecs
from functools import lru_cache

_MAX_NAME = 64

_NO_CHARSETS = {"idna", "mbcs", "oem", "palmos", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
"""Codecs for text that are no charset of mail; some take quadratic time."""


@lru_cache(maxsize=256)
def codec(name: str) -> codecs.CodecInfo | None:
    """None: there is no such charset. The name is in any case."""
    if not name.isascii() or not name.isprintable() or len(name) > _MAX_NAME:
        return None
    try:
        found = codecs.lookup(name)
    except LookupError:
        return None
    if not found._is_text_encoding or found.name.replace("_", "-") in _NO_CHARSETS:
        return None
    return found
