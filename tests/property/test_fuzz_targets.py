"""What fuzzing (`make fuzz`) starts from and what it has found, thrown at the parsers once."""

import random
from pathlib import Path

import pytest

from tests.fuzz.fuzzer import fuzz, outcome
from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).resolve().parents[1] / "fuzz" / "found"


@pytest.mark.parametrize("name", TARGETS)
def test_targets_hold(name: str) -> None:
    """No seed, no input that once broke a parser, and none of a few new ones raises anything but our errors."""
    target = TARGETS[name]
    for path in sorted((FOUND / name).glob("*")):
        outcome(target.run, path.read_bytes())
    _, _, found = fuzz(target, random.Random(name), seconds=0.1)
    assert found is None
