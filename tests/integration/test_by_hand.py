"""What people do to a suite with supervisorctl and kill: `status` tells it truly, and `apply` mends it.

The rows are those of the table in docs/when-something-dies.md, all on one suite.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from maillib import control
from orchestrator import audit, holds
from orchestrator.supervisor import Supervisor
from tests.support.real_suite import RealSuite, eventually

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "when-something-dies.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    words: str
    """First cell of the line."""
    act: Callable[[RealSuite], None]
    code: int
    """Exit code of `status` once the act has had its effect, before any apply."""
    held: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    """Those that do not run then; the others do."""
    disturbs_nobody: bool = False
    """Every master is the same as before."""


def _ctl(*words: str) -> Callable[[RealSuite], None]:
    def act(suite: RealSuite) -> None:
        suite.supervisorctl(*words)

    return act


def _kill(find: Callable[[RealSuite], int | None]) -> Callable[[RealSuite], None]:
    """And wait for the successor."""

    def act(suite: RealSuite) -> None:
        killed = find(suite)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: find(suite) not in (None, killed), "successor")

    return act


def _kill_supervisord(suite: RealSuite) -> None:
    killed = _supervisord(suite)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not control.is_alive(killed, None), "its end")


def _supervisord(suite: RealSuite) -> int:
    with Supervisor(suite.place.supervisor) as supervisor:
        return supervisor.pid()


def _agent(suite: RealSuite) -> int | None:
    pid: int | None = suite.run("status", "--json").json["internal"]["agent"]["pid"]
    return pid


def _master(suite: RealSuite) -> int | None:
    return suite.pids()["two"]


def _worker(suite: RealSuite) -> int | None:
    records = control.read_records(suite.place.run, "one")
    return next((record.pid for record in records if record.state is control.WorkerState.READY), None)


def _stop_then_kill_supervisord(suite: RealSuite) -> None:
    suite.supervisorctl("stop", "one")
    _kill_supervisord(suite)


def _stop_then_shut_down(suite: RealSuite) -> None:
    suite.supervisorctl("stop", "one")
    suite.supervisorctl("shutdown")


def _take_out(suite: RealSuite) -> None:
    with Supervisor(suite.place.supervisor) as supervisor:
        supervisor.stop(["two"])
        eventually(lambda: supervisor.processes()["two"].pid is None, "stop")
        supervisor.remove("two")


def _take_out_and_in(suite: RealSuite) -> None:
    _take_out(suite)
    suite.supervisorctl("add", "two")


def _stop_and_start_all(suite: RealSuite) -> None:
    suite.supervisorctl("stop", "all")
    suite.supervisorctl("start", "all")


def _stop_and_start_without_agent(suite: RealSuite) -> None:
    suite.ok("stop", "one")
    suite.supervisorctl("stop", "agent")
    suite.supervisorctl("start", "one")
    eventually(lambda: suite.status()["one"]["state"] == "running", "running")
    assert suite.run("status").code == 0
    suite.supervisorctl("start", "agent")


ONE, TWO = frozenset({"one"}), frozenset({"two"})

ROWS = (
    Row(words="`supervisorctl reread`", act=_ctl("reread"), code=0, disturbs_nobody=True),
    Row(words="`supervisorctl update`", act=_ctl("update"), code=0, disturbs_nobody=True),
    Row(words="`supervisorctl restart NAME`", act=_ctl("restart", "one"), code=0),
    Row(words="`supervisorctl restart all`", act=_ctl("restart", "all"), code=0),
    Row(words="`supervisorctl stop NAME`", act=_ctl("stop", "one"), code=3, held=ONE, stopped=ONE),
    Row(words="`supervisorctl stop all`", act=_ctl("stop", "all"), code=3, held=ONE | TWO, stopped=ONE | TWO),
    Row(words="`supervisorctl start all` after it", act=_stop_and_start_all, code=0),
    Row(words="`supervisorctl start NAME` of a held service, no agent", act=_stop_and_start_without_agent, code=0),
    Row(words="`supervisorctl shutdown`", act=_ctl("shutdown"), code=3, stopped=ONE | TWO),
    Row(
        words="`supervisorctl shutdown` right after a `supervisorctl stop NAME`",
        act=_stop_then_shut_down,
        code=3,
        held=ONE,
        stopped=ONE | TWO,
    ),
    Row(words="`supervisorctl reload`", act=_ctl("reload"), code=0),
    Row(words="`supervisorctl remove NAME`", act=_take_out, code=3, stopped=TWO),
    Row(words="`supervisorctl add NAME` after it", act=_take_out_and_in, code=0),
    Row(words="`supervisorctl signal KILL NAME`", act=_ctl("signal", "KILL", "one"), code=0),
    Row(words="`kill -9` of a worker", act=_kill(_worker), code=0),
    Row(words="`kill -9` of a master", act=_kill(_master), code=0),
    Row(words="`kill -9` of the agent", act=_kill(_agent), code=0),
    Row(words="`kill -9` of supervisord", act=_kill_supervisord, code=69),
    Row(
        words="`kill -9` of supervisord right after a `supervisorctl stop NAME`",
        act=_stop_then_kill_supervisord,
        code=69,
        held=ONE,
        stopped=ONE,
    ),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSuite]:
    """A suite of two services for all rows."""
    suite = RealSuite.of_lines(tmp_path_factory.mktemp("by-hand"))
    suite.apply_lines(one=[], two=["one"])
    yield suite
    suite.take_down()


def _told(suite: RealSuite) -> tuple[int, frozenset[str], frozenset[str]]:
    """What `status` says: exit code, what is held, what does not run."""
    done = suite.run("status", "--json")
    rows = done.json["services"].items()
    held = frozenset(name for name, row in rows if row["hold"] is not None)
    return done.code, held, frozenset(name for name, row in rows if row["state"] != "running")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.words)
def test_what_is_done_by_hand_is_told_and_mended(shared: RealSuite, row: Row) -> None:
    """status says what runs and what is held, drift too; apply starts all but what is held, with reset that as well."""
    before = shared.pids() if row.disturbs_nobody else {}
    row.act(shared)
    eventually(lambda: _told(shared) == (row.code, row.held, row.stopped), f"status {_told(shared)} after {row.words}")
    if row.disturbs_nobody:
        assert shared.pids() == before
    if row.code == 0:
        assert shared.ok("apply").out.startswith("no change")
    else:
        assert shared.run("drift", "--detailed-exitcode").code == (69 if row.code == 69 else 2)
        shared.ok("apply")
        assert _told(shared) == (3 if row.held else 0, row.held, row.held)
        assert _agent(shared) is not None
    if row.held:
        rows = shared.status()
        assert all(rows[name]["hold"]["who"] == "supervisorctl" for name in row.held)
        shared.ok("apply", "--override", "reset")
        shared.ok("status")
    assert shared.ok("drift", "--json", "--detailed-exitcode").json["drift"] == []


def test_the_page_has_every_row() -> None:
    """The table of docs/when-something-dies.md is the list of what is tested here."""
    cells = re.findall(r"^\| ([^|]+) \|", PAGE.read_text("utf-8").partition("## By hand")[2], re.MULTILINE)
    assert cells[2:] == [row.words for row in ROWS]


def test_programs_of_others_are_told_and_left_alone(line_suite: RealSuite) -> None:
    """A program edited into the configuration goes on through apply; status and drift name it; the file is mended."""
    line_suite.apply_lines(one=[])
    configuration = line_suite.folder / "var" / "run" / "supervisord.conf"
    configuration.chmod(0o640)
    with configuration.open("a") as file:
        file.write("[program:other]\ncommand=/bin/sleep 1000\n")
    layers = {item["layer"] for item in line_suite.ok("drift", "--json").json["drift"]}
    assert layers == {"files", "unmanaged"}
    line_suite.supervisorctl("update")

    def other() -> int | None:
        with Supervisor(line_suite.place.supervisor) as supervisor:
            return supervisor.processes()["other"].pid

    pid = other()
    before = line_suite.pids()
    assert pid is not None
    assert "not ours, left alone: other" in line_suite.ok("status").err
    assert line_suite.ok("status", "--json").json["unmanaged"] == ["other"]
    line_suite.ok("apply")
    assert (line_suite.pids(), other()) == (before, pid)
    assert "program:other" not in configuration.read_text()
    items = line_suite.ok("drift", "--json").json["drift"]
    assert [(item["layer"], item["service"]) for item in items] == [("unmanaged", "other")]
    line_suite.ok("apply")
    assert other() == pid


def test_holds_end_with_release_and_with_their_service(line_suite: RealSuite) -> None:
    """The next agent holds nothing that was released; a stop by hand is audited; a removed service has no hold."""
    line_suite.apply_lines(one=[], two=[])
    line_suite.ok("stop", "one", "--reason", "new disk")
    assert "new disk" in line_suite.run("status").out
    line_suite.ok("release", "one", "--reason", "disk is there")
    _kill(_agent)(line_suite)
    line_suite.supervisorctl("stop", "two")
    eventually(lambda: holds.read(line_suite.place.state_dir).keys() == {"two"}, "the stop is written down")
    stops = [entry for entry in audit.since(line_suite.place.state_dir, 0.0) if entry.verb == "stop"]
    assert [(entry.names, entry.who, entry.reason) for entry in stops[1:]] == [(("two",), holds.BY_HAND, "")]
    line_suite.ok("apply")
    assert _told(line_suite) == (3, TWO, TWO)
    line_suite.apply_lines(one=[])
    assert holds.read(line_suite.place.state_dir) == {}
    line_suite.apply_lines(one=[], two=[])
    line_suite.ok("status")
