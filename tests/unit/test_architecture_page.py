"""docs/architecture.md says where everything in maillib is."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("architecture.md", "queue.md", "store.md")
"""The map, and the two pages to which it leaves the modules of spool and store."""


def named() -> set[str]:
    """Every word in backticks that may be a module, with or without its folder and `.py`."""
    text = "".join((ROOT / "docs" / page).read_text("utf-8") for page in PAGES)
    words = {word for quoted in re.findall(r"`([^`\n]+)`", text) for word in quoted.split()}
    return {word.removesuffix(".py").rpartition("/")[2] for word in words}


def test_every_module_is_on_the_map() -> None:
    """Who looks for the room of a thing finds each module by its name."""
    modules = {path.stem for path in (ROOT / "maillib").rglob("*.py")} - {"__init__"}
    on_the_map = named()
    assert {name for name in modules if not any(fnmatchcase(name, word) for word in on_the_map)} == set()


def test_the_map_names_no_module_that_has_gone() -> None:
    """Each `folder/module` of the three pages is there."""
    text = "".join((ROOT / "docs" / page).read_text("utf-8") for page in PAGES)
    folders = "|".join(path.name for path in (ROOT / "maillib").iterdir() if path.is_dir())
    quoted = set(re.findall(rf"`((?:{folders})/[a-z0-9_]+)(?:\.py)?`", text))
    assert {name for name in quoted if not (ROOT / "maillib" / f"{name}.py").exists()} == set()
