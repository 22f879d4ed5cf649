"""Who keeps a service stopped, by the ledger and by what supervisord says."""

from pathlib import Path

import pytest

from maillib.errors import ConfigError
from orchestrator import holds
from orchestrator.holds import Hold
from orchestrator.place import AGENT
from orchestrator.supervisor import Program, ProgramState

ALICE = Hold(who="alice", when=100.0, why="new disk")


def _programs(state: ProgramState, *, since: float = 50.0, name: str = "pop") -> dict[str, Program]:
    program = Program(name=name, state=state, pid=None, since=since, ended=90.0, exit_status=0, trouble="")
    return {name: program}


def test_a_stop_by_hand_is_a_hold_before_anybody_writes_it_down(tmp_path: Path) -> None:
    """What has run and is stopped is held by supervisorctl since its end; what never ran is not, nor is the agent."""
    assert holds.in_force(tmp_path, _programs(ProgramState.STOPPED)) == {"pop": holds.by_hand(90.0)}
    assert holds.in_force(tmp_path, _programs(ProgramState.STOPPED, since=0.0)) == {}
    assert holds.in_force(tmp_path, _programs(ProgramState.STOPPED, name=AGENT)) == {}


@pytest.mark.parametrize("state", [ProgramState.EXITED, ProgramState.FATAL, ProgramState.BACKOFF, ProgramState.RUNNING])
def test_a_crash_is_no_hold(tmp_path: Path, state: ProgramState) -> None:
    """Only a stop is one."""
    assert holds.in_force(tmp_path, _programs(state)) == {}


def test_our_own_stops_and_releases_are_no_holds(tmp_path: Path) -> None:
    """A stop that was announced, or a hold that was released, makes none though the program stays stopped."""
    holds.announce_stop(tmp_path, ["pop"], by="down")
    assert holds.in_force(tmp_path, _programs(ProgramState.STOPPED)) == {}
    holds.hold(tmp_path, "pop", ALICE)
    assert holds.in_force(tmp_path, _programs(ProgramState.STOPPED)) == {"pop": ALICE}
    assert holds.release(tmp_path, ["pop", "smtp"], by="release") == {"pop"}
    assert holds.in_force(tmp_path, _programs(ProgramState.STOPPED)) == {}


def test_a_hold_outlives_supervisord_and_ends_with_a_start(tmp_path: Path) -> None:
    """Without a program it is in force, with one that runs it is not; forgotten, nothing is left of it."""
    holds.hold(tmp_path, "pop", ALICE)
    holds.hold(tmp_path, "pop", holds.by_hand(200.0))
    assert holds.in_force(tmp_path, {}) == {"pop": ALICE}
    assert holds.in_force(tmp_path, _programs(ProgramState.RUNNING)) == {}
    assert holds.forget(tmp_path, ["pop"]) == {"pop"}
    assert holds.forget(tmp_path, ["pop"]) == set()
    assert holds.in_force(tmp_path, {}) == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"holds": {"pop": 1}, "announced": {}}', '{"holds": [], "announced": 7}']
)
def test_a_damaged_ledger_is_named(tmp_path: Path, text: str) -> None:
    """Whoever reads it learns which file it is and what removing it means."""
    (tmp_path / holds.LEDGER).write_text(text)
    with pytest.raises(ConfigError, match=r"holds\.json is damaged.*ends all holds"):
        holds.read(tmp_path)
