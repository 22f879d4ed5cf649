"""docs/rfc.md and the code tell the same story."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CITED = re.compile(r"RFC (\d{3,5})")
ROW = re.compile(r"^\| (\d{3,5}) \|.*?\| (yes|partly|no)\b.*$", re.MULTILINE)


def _cited() -> dict[str, str]:
    """RFC number to a file that cites it."""
    found: dict[str, str] = {}
    for package in ("maillib", "workers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for number in CITED.findall(path.read_text(encoding="utf-8")):
                found.setdefault(number, str(path.relative_to(ROOT)))
    return found


def test_every_cited_rfc_is_listed() -> None:
    """Whatever standard the code refers to has a row that says how far it is kept."""
    listed = {number for number, _ in ROW.findall((ROOT / "docs/rfc.md").read_text(encoding="utf-8"))}
    assert {number: path for number, path in _cited().items() if number not in listed} == {}


def test_every_yes_is_cited() -> None:
    """A standard that is said to be kept is named at the code that keeps it."""
    said = {number for number, word in ROW.findall((ROOT / "docs/rfc.md").read_text(encoding="utf-8")) if word == "yes"}
    assert said - _cited().keys() == set()
