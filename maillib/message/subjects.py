"""What a conversation is about: the subject without what replying, forwarding and mailing lists have put around it.

RFC 5256 §2.1.
"""

import re
from typing import NamedTuple

MAX_CHARACTERS = 1000
"""Looked at: each of many brackets is taken off by itself."""

_BLOB = r"\[[^\[\]]*+\]\s*+"
_LEADER = re.compile(rf"(?:{_BLOB})*+(?:re|fwd?)\s*+(?:{_BLOB})?:")
_FIRST_BLOB = re.compile(_BLOB)


class Subject(NamedTuple):
    base: str
    is_reply: bool
    """Or a forward: something that says so was taken off."""


def subject(folded: str) -> Subject:
    """Of a decoded subject in lower case."""
    text = " ".join(folded[:MAX_CHARACTERS].split())
    is_reply = False
    while True:
        while text.endswith("(fwd)"):
            text = text.removesuffix("(fwd)").rstrip()
            is_reply = True
        while True:
            if leader := _LEADER.match(text):
                text = text[leader.end() :].lstrip()
                is_reply = True
            elif (blob := _FIRST_BLOB.match(text)) and blob.end() < len(text):
                text = text[blob.end() :]
            else:
                break
        if not (text.startswith("[fwd:") and text.endswith("]")):
            return Subject(text, is_reply)
        text = text.removeprefix("[fwd:").removesuffix("]").strip()
        is_reply = True
