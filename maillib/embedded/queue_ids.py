"""Queue IDs: eleven characters of time, five of chance; the same alphabet without the look-alikes I, L, O and U.

Sorting by ID is sorting by time of arrival. What makes an ID unique over processes and clock steps is chance (one in
33 million for each microsecond), and in the end the O_EXCL of the file that bears it.
"""

import re
import secrets

from maillib.ports.queue import QueueId

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TIME_CHARACTERS = 11
"""55 bits of microseconds since 1970: enough for a thousand years."""
_CHANCE_CHARACTERS = 5

_SHIFTS = range(5 * (_TIME_CHARACTERS + _CHANCE_CHARACTERS) - 10, -1, -10)
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]

_ID = re.compile(r"[0-9A-Za-z]{1,32}", re.ASCII)


def new_id(now_s: float) -> QueueId:
    """`now_s`: Unix time."""
    chance_bits = 5 * _CHANCE_CHARACTERS
    number = int(now_s * 1_000_000) << chance_bits | secrets.randbits(chance_bits)
    return QueueId("".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS]))


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def time_of(queue_id: QueueId) -> float:
    """Unix time at which `new_id` made it; 0 for one that it did not make."""
    number = 0
    for character in queue_id[:_TIME_CHARACTERS]:
        digit = _ALPHABET.find(character)
        if digit < 0:
            return 0.0
        number = number << 5 | digit
    return number / 1_000_000
