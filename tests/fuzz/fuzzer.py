"""Goes on from inputs that have done something new, changing a little at a time."""

import random
import signal
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from maillib.errors import MailError
from tests.fuzz.targets import Target

MAX_OCTETS = 64 * 1024
SLOW_S = 2.0
"""Of CPU, for one input: a hundred times what any that is not quadratic takes."""
STUCK_S = 30

_MAX_KEPT = 2000


@dataclass(frozen=True, slots=True)
class Found:
    octets: bytes
    problem: str


class Stuck(Exception):
    """One input has taken STUCK_S."""


def outcome(run: Callable[[bytes], Hashable], octets: bytes) -> Hashable:
    """What came of it. Raises what is no error of ours, Stuck, and AssertionError when it took too long."""
    started = time.thread_time()
    with _alarm():
        try:
            kind = run(octets)
        except MailError as error:
            kind = type(error), str(error)[:30]
    assert time.thread_time() - started < SLOW_S, f"slow: {time.thread_time() - started:.1f} s"
    return kind


def fuzz(target: Target, chance: random.Random, seconds: float) -> tuple[int, int, Found | None]:
    """How many inputs were tried, how many kinds of outcome they had, and one that broke it."""
    kept, seen, tried = list(target.seeds), set[Hashable](), 0
    end = time.monotonic() + seconds
    while tried < len(target.seeds) or time.monotonic() < end:
        is_seed = tried < len(target.seeds)
        octets = kept[tried] if is_seed else _changed(chance.choice(kept), kept, target.words, chance)
        tried += 1
        try:
            kind = outcome(target.run, octets)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            return tried, len(seen), Found(octets, repr(error))
        if kind not in seen:
            seen.add(kind)
            if len(kept) < _MAX_KEPT and not is_seed:
                kept.append(octets)
    return tried, len(seen), None


def _changed(octets: bytes, kept: list[bytes], words: tuple[bytes, ...], chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randint(0, len(octets))
        end = min(len(octets), at + chance.choice((1, 1, 4, 30, 1000)))
        match chance.randrange(7):
            case 0:
                new = bytes((chance.randrange(256),))
            case 1 | 2 if words:
                new = chance.choice(words)
            case 3:
                new = octets[at:end] * chance.choice((2, 2, 3, 50, 3000))
            case 4:
                other = chance.choice(kept)
                start = chance.randint(0, len(other))
                new = other[start : start + chance.choice((5, 50, 500))]
            case 5:
                new, end = b"", min(len(octets), at + chance.choice((1, 5, 50)))
            case _:
                new, end = bytes((chance.choice(b'\0\t\r\n "()*%@[\\]{}\x7f\x80\xc3\xff'),)), at
        octets = (octets[:at] + new + octets[end:])[:MAX_OCTETS]
    return octets


@contextmanager
def _alarm() -> Iterator[None]:
    def stuck(_number: int, _frame: FrameType | None) -> None:
        raise Stuck(f"{STUCK_S} s and no end")

    before = signal.signal(signal.SIGALRM, stuck)
    signal.setitimer(signal.ITIMER_REAL, STUCK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
