"""Generations on disk: whole or not there, numbers never used twice, one of them in force."""

import json
import stat
from pathlib import Path

import pytest

from orchestrator import generation

_FILES = {"spec.yaml": "version: 1\n", "services/pop.json": json.dumps({"service": {"name": "pop"}})}


def test_written_generation_is_complete_and_closed_to_others(tmp_path: Path) -> None:
    """All files are there with their text; nobody but owner and group can read them."""
    made = generation.write(tmp_path, 1, _FILES)
    assert made.path.name == "000001"
    assert made.text("spec.yaml") == "version: 1\n"
    assert made.service("pop") == {"name": "pop"}
    assert made.service("smtp") is None
    for path in [made.path, *made.path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0


def test_what_the_check_refuses_is_not_left_behind(tmp_path: Path) -> None:
    """A generation whose files are refused while aside does not come to be, and leaves nothing."""

    def refuse(aside: Path) -> None:
        assert (aside / "spec.yaml").exists()
        raise ValueError

    with pytest.raises(ValueError):
        generation.write(tmp_path, 1, _FILES, check=refuse)
    assert list((tmp_path / "generations").iterdir()) == []


def test_remains_of_a_crash_are_written_over(tmp_path: Path) -> None:
    """A folder that a killed apply left aside does not get into a generation."""
    aside = tmp_path / "generations" / "000001.tmp"
    aside.mkdir(parents=True)
    (aside / "garbage").touch()
    made = generation.write(tmp_path, 1, _FILES)
    assert not (made.path / "garbage").exists()


def test_numbers_grow_even_when_none_holds(tmp_path: Path) -> None:
    """The number of a generation that failed is not used again."""
    assert generation.next_number(tmp_path) == 1
    generation.write(tmp_path, 7, _FILES)
    assert generation.next_number(tmp_path) == 8
    assert generation.current(tmp_path) is None


def test_switch_moves_one_link_and_back(tmp_path: Path) -> None:
    """The path that masters are given leads to the generation in force; without one it leads nowhere."""
    first = generation.write(tmp_path, 1, _FILES)
    second = generation.write(tmp_path, 2, {**_FILES, "supervisord.conf": "; 2\n"})
    generation.switch(tmp_path, first)
    assert generation.current(tmp_path) == first
    generation.switch(tmp_path, second)
    assert generation.current(tmp_path) == second
    assert generation.configuration(tmp_path).read_text() == "; 2\n"
    assert generation.service_file(tmp_path, "pop").exists()
    generation.switch(tmp_path, None)
    assert generation.current(tmp_path) is None
    assert not generation.configuration(tmp_path).is_symlink()


def test_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """What came of a generation can be recorded, and recorded anew."""
    made = generation.write(tmp_path, 1, _FILES)
    assert made.data("result.json") is None
    made.record({"outcome": "held"})
    made.record({"outcome": "applied"})
    assert made.data("result.json") == {"outcome": "applied"}
