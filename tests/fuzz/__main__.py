"""`python -m tests.fuzz [--seconds S] [--seed N] [TARGET...]`: throw octets at every parser; exit 1 when one breaks.

What broke it is kept under `found/TARGET/`, from where the test suite throws it ever after.
"""

import argparse
import hashlib
import random
import sys
from pathlib import Path

from tests.fuzz.fuzzer import fuzz
from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).with_name("found")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz")
    options.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    options.add_argument("--seconds", type=float, default=5.0, help="for each target; default: 5")
    options.add_argument("--seed", type=int, default=random.randrange(2**32), help="to repeat a run")
    given = options.parse_args()
    if unknown := set(given.targets) - TARGETS.keys():
        options.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    print(f"seed {given.seed}")
    broken = 0
    for name in given.targets or TARGETS:
        tried, kinds, found = fuzz(TARGETS[name], random.Random(f"{given.seed} {name}"), given.seconds)
        print(f"{name:14} {tried:8} inputs, {kinds:5} kinds of outcome")
        if found is not None:
            broken += 1
            path = FOUND / name / hashlib.sha256(found.octets).hexdigest()[:12]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(found.octets)
            print(f"  {found.problem[:500]}\n  {path}: {len(found.octets)} octets")
    return 1 if broken else 0


sys.exit(main())
