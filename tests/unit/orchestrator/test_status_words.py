"""From what was seen of a service to the word that `status` says."""

from typing import Any

import pytest

from orchestrator.holds import Hold
from orchestrator.observation import Master, Seen, Worker
from orchestrator.status import Expected, ServiceStatus, State, describe, state, table
from orchestrator.supervisor import Program, ProgramState

NOW = 1_000_000.0


def _worker(**more: Any) -> Worker:
    return Worker(**{"pid": 2, "generation": 1, "state": "ready", "sessions": 0, "deadline": None, **more})


def _master(**more: Any) -> Master:
    fields: dict[str, Any] = {
        "pid": 1,
        "version": "1",
        "code": "c",
        "generation": 1,
        "digest": "d",
        "certificate": None,
        "started": NOW - 60,
        "state": "running",
        "workers": (_worker(),),
        "last_error": None,
        **more,
    }
    return Master(**fields)


def _program(word: ProgramState, *, age_s: float = 60, exit_status: int = 1) -> Program:
    return Program(name="pop", state=word, pid=1, since=NOW - age_s, ended=0, exit_status=exit_status, trouble="")


_DRAINER = _worker(pid=3, state="draining", sessions=2, deadline=NOW + 30)


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (Seen(master=_master()), State.RUNNING),
        (Seen(master=_master(state="starting")), State.STARTING),
        (Seen(master=_master(state="starting", last_error="no store")), State.FAILED),
        (Seen(master=_master(state="draining")), State.FINISHING),
        (Seen(program=_program(ProgramState.RUNNING, age_s=1)), State.STARTING),
        (Seen(program=_program(ProgramState.RUNNING, age_s=100)), State.FAILED),
        (Seen(program=_program(ProgramState.BACKOFF)), State.FAILED),
        (Seen(program=_program(ProgramState.FATAL)), State.FAILED),
        (Seen(program=_program(ProgramState.EXITED, exit_status=78)), State.FAILED),
        (Seen(program=_program(ProgramState.EXITED, exit_status=-1)), State.STARTING),
        (Seen(program=_program(ProgramState.STOPPING)), State.FINISHING),
        (Seen(program=_program(ProgramState.STOPPED)), State.STOPPED),
        (Seen(program=_program(ProgramState.STOPPED), others=(_DRAINER,)), State.FINISHING),
        (Seen(master=_master(), others=(_DRAINER,)), State.RUNNING),
        (Seen(others=(_worker(),)), State.FAILED),
        (Seen(), State.STOPPED),
    ],
)
def test_one_word_for_each_situation(seen: Seen, word: State) -> None:
    """A master's word counts most, then supervisord's, then what workers are left."""
    assert state(seen, NOW) is word


def _described(seen: Seen, *, enabled: bool = True) -> ServiceStatus:
    listener = {"address": "127.0.0.1:2110", "role": None, "tls": "starttls"}
    return describe(Expected(protocol="pop", enabled=enabled, listeners=(listener,)), seen, NOW)


def test_finishing_counts_sessions_of_drained_workers_wherever_they_are() -> None:
    """Old generations of a living master and drainers of a stop count alike; sessions counts all."""
    old = _worker(pid=4, state="draining", sessions=1, deadline=NOW)
    seen = Seen(master=_master(workers=(_worker(sessions=5), old)), others=(_DRAINER,))
    row = _described(seen)
    assert (row.sessions, row.finishing, row.state) == (8, 3, State.RUNNING)


def test_disabled_service_is_off_and_as_wanted() -> None:
    """`enabled: false` is wanted to be stopped: off is as wanted, running is not."""
    assert _described(Seen(), enabled=False).state is State.OFF
    assert _described(Seen(), enabled=False).as_wanted
    assert not _described(Seen(master=_master()), enabled=False).as_wanted


def test_held_service_is_not_as_wanted() -> None:
    """A hold keeps what the spec wants from being so."""
    row = _described(Seen(hold=Hold(who="alice", when=NOW, why="")))
    assert (row.desired, row.as_wanted) == ("running", False)


def test_json_has_the_fields_of_the_contract() -> None:
    """Every field that scripts rely on is there, with a hold in words and times that can be read."""
    row = _described(Seen(master=_master(), hold=Hold(who="alice", when=0.0, why="disk"))).as_json()
    assert row["hold"] == {"who": "alice", "when": "1970-01-01T00:00:00Z", "why": "disk"}
    assert row["uptime_s"] == 60
    assert set(row) >= {
        *("protocol", "enabled", "desired", "state", "pid", "sessions", "finishing", "listeners", "generation"),
        *("hold", "uptime_s"),
    }


def test_table_tells_how_many_still_finish() -> None:
    """People read the number beside the state."""
    stopped = Seen(program=_program(ProgramState.STOPPED), others=(_DRAINER,))
    assert "finishing 2" in table({"pop": _described(stopped)})
