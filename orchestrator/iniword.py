"""The only text that may reach supervisord's INI.

supervisor's parser has no escape that holds for every character: a line break, ` ;`, `%` or a quote can cut a value off
or begin another section. Over this alphabet every value comes back as it was written.
"""

import re
from typing import NewType

IniWord = NewType("IniWord", str)

ALPHABET = "A-Za-z0-9._/:@+=,-"
_OUTSIDE = re.compile(rf"[^{ALPHABET}]")


def ini_word(text: str) -> IniWord:
    """`text`, proved to be of the alphabet. Raises ValueError that names the first character that is not."""
    found = _OUTSIDE.search(text)
    if found or not text:
        character = f"the character {found.group()!r}" if found else "nothing"
        raise ValueError(f"holds {character}; allowed: {ALPHABET}")
    return IniWord(text)
