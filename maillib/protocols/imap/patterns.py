"""Which mailbox names LIST's patterns mean: `*` is anything, `%` anything but the separator. RFC 9051 §6.3.9.

All patterns of a command are one automaton whose states are the bits of an integer: a name is matched in one pass over
its characters, whatever the wildcards, and nothing is ever tried twice.
"""

from collections.abc import Iterable

_INBOX = "INBOX"

_MAX_LITERALS = 1000
"""Characters of a pattern besides wildcards: no name has more, so a longer pattern means none."""


class Patterns:
    """Of one LIST or LSUB."""

    __slots__ = ("_accepting", "_by_character", "_in_level", "_separator", "_start", "_through_all")

    def __init__(self, patterns: Iterable[str], *, separator: str) -> None:
        self._separator = separator
        self._start = 0
        self._accepting = 0
        self._through_all = 0
        """States that any character leads back to: after `*`."""
        self._in_level = 0
        """States that any character but the separator leads back to: after `%`."""
        self._by_character: dict[str, int] = {}
        """From which states a character leads on to the next one."""
        state = 0
        for pattern in dict.fromkeys(patterns):
            if len(pattern) - pattern.count("*") - pattern.count("%") <= _MAX_LITERALS:
                state = self._add(pattern, state)

    def _add(self, pattern: str, state: int) -> int:
        """`state` is the first one that is free; the result, too."""
        self._start |= 1 << state
        for character in pattern:
            match character:
                case "*":
                    self._through_all |= 1 << state
                case "%":
                    self._in_level |= 1 << state
                case _:
                    self._by_character[character] = self._by_character.get(character, 0) | 1 << state
                    state += 1
        self._accepting |= 1 << state
        return state + 1

    def match(self, name: str) -> bool:
        """INBOX, also as the first level of a name, is the same in any case. RFC 9051 §5.1."""
        by_character = self._by_character
        is_inbox = name == _INBOX or name.startswith(_INBOX + self._separator)
        states = self._start
        for position, character in enumerate(name):
            forward = by_character.get(character, 0)
            if is_inbox and position < len(_INBOX):
                forward |= by_character.get(character.lower(), 0)
            stays = self._through_all if character == self._separator else self._through_all | self._in_level
            states = (states & forward) << 1 | states & stays
            if not states:
                return False
        return bool(states & self._accepting)
