"""Generations on disk: whole or not there, numbers never used twice, one of them in force."""

import json
import os
import stat
from pathlib import Path

import pytest

from orchestrator import generation
from orchestrator.errors import GenerationDamaged

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


def test_services_move_one_by_one_and_the_generation_last(tmp_path: Path) -> None:
    """Each master finds the file of the generation its service was switched to; what is in force moves when told."""
    first = generation.write(tmp_path, 1, {**_FILES, "supervisord.conf": "; 1\n"})
    second = generation.write(tmp_path, 2, {**_FILES, "supervisord.conf": "; 2\n"})
    generation.load(tmp_path, first)
    assert generation.point(tmp_path, "pop", first) is None
    generation.commit(tmp_path, first)
    assert generation.is_live(tmp_path, first)
    generation.load(tmp_path, second)
    assert generation.point(tmp_path, "pop", second) == first
    assert generation.current(tmp_path) == first
    assert generation.service_file(tmp_path, "pop").resolve() == second.path / "services" / "pop.json"
    assert generation.configuration(tmp_path).read_text() == "; 2\n"
    assert not generation.is_live(tmp_path, first)
    generation.commit(tmp_path, second)
    assert generation.current(tmp_path) == second
    assert generation.is_live(tmp_path, second)


def test_what_left_the_spec_has_no_file_any_more(tmp_path: Path) -> None:
    """Links of services that a generation does not know go; until then it is not wholly live."""
    made = generation.write(tmp_path, 1, {**_FILES, "supervisord.conf": ""})
    generation.load(tmp_path, made)
    for name in ("pop", "gone"):
        generation.point(tmp_path, name, made)
    assert not generation.is_live(tmp_path, made)
    generation.forget_others(tmp_path, made)
    assert generation.is_live(tmp_path, made)


def test_withdrawn_is_as_never_applied(tmp_path: Path) -> None:
    """Nothing is in force and no path leads anywhere."""
    made = generation.write(tmp_path, 1, {**_FILES, "supervisord.conf": ""})
    generation.load(tmp_path, made)
    generation.point(tmp_path, "pop", made)
    generation.commit(tmp_path, made)
    generation.withdraw(tmp_path)
    assert generation.current(tmp_path) is None
    assert not generation.service_file(tmp_path, "pop").is_symlink()
    assert not generation.configuration(tmp_path).is_symlink()


def test_damage_is_named_file_by_file(tmp_path: Path) -> None:
    """What is missing and what was changed; what came of it does not count."""
    made = generation.write(tmp_path, 1, _FILES)
    made.record({"outcome": "applied"})
    assert made.damage() == {}
    made.verify()
    (made.path / "spec.yaml").unlink()
    (made.path / "services" / "pop.json").write_text("{")
    assert made.damage() == {"spec.yaml": "is missing", "services/pop.json": "was changed"}
    with pytest.raises(GenerationDamaged, match=r"spec\.yaml is missing"):
        made.verify()
    with pytest.raises(GenerationDamaged, match=r"pop\.json is no JSON"):
        made.service("pop")
    (made.path / "manifest.json").write_text("[")
    assert made.damage() == {"manifest.json": "is missing or no JSON"}


@pytest.mark.parametrize("target", ["000007", "elsewhere"])
def test_link_that_leads_nowhere_is_damage(tmp_path: Path, target: str) -> None:
    """It is not the same as nothing applied."""
    (tmp_path / "generations").mkdir()
    (tmp_path / "generations" / "current").symlink_to(target)
    with pytest.raises(GenerationDamaged, match=target):
        generation.current(tmp_path)


def test_old_generations_go_but_none_in_use(tmp_path: Path) -> None:
    """The newest are kept, and those in force, read by a service, or named by a process."""
    made = [generation.write(tmp_path, number, _FILES) for number in range(1, generation.KEPT + 6)]
    generation.commit(tmp_path, made[0])
    generation.point(tmp_path, "pop", made[1])
    generation.prune(tmp_path, lambda: {3})
    assert [one.number for one in generation.every(tmp_path)] == [1, 2, 3, *range(6, generation.KEPT + 6)]


def test_remains_are_swept(tmp_path: Path) -> None:
    """What a killed apply was about to write or to remove, links too."""
    home = tmp_path / "generations"
    (home / "000003.tmp" / "services").mkdir(parents=True)
    (home / "current.tmp").symlink_to("000003")
    generation.sweep(tmp_path)
    assert list(home.iterdir()) == []


def test_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """What came of a generation can be recorded, and recorded anew."""
    made = generation.write(tmp_path, 1, _FILES)
    assert made.data("result.json") is None
    made.record({"outcome": "held"})
    made.record({"outcome": "applied"})
    assert made.data("result.json") == {"outcome": "applied"}


def test_something_else_than_a_link_is_damage(tmp_path: Path) -> None:
    """What people put in the place of `current` is named, and what to do."""
    generation.folder(tmp_path).mkdir()
    (generation.folder(tmp_path) / "current").touch()
    with pytest.raises(GenerationDamaged, match="/current is no link; remove it"):
        generation.current(tmp_path)


def test_who_may_not_look_is_not_told_of_damage(tmp_path: Path) -> None:
    """Another user than the suite's is told that he is not permitted, and removes nothing."""
    generation.folder(tmp_path).mkdir(mode=0)
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)  # root may look everywhere
    try:
        with pytest.raises(PermissionError):
            generation.current(tmp_path)
    finally:
        os.seteuid(was)
