"""Stops by hand become holds, our own stops do not; the agent starts services in dependency order."""

import pytest

from orchestrator import holds
from tests.support.real_suite import LineClient, RealSuite, eventually, is_refused

pytestmark = pytest.mark.real


def test_supervisorctl_stop_returns_at_once_and_start_serves_beside_the_old_session(line_suite: RealSuite) -> None:
    """The stop refuses new connections while the open session goes on; start serves at once; status counts both."""
    ports = line_suite.apply_lines(one=[], two=[])
    with LineClient(ports["one"]) as old:
        line_suite.supervisorctl("stop", "one")
        assert is_refused(ports["one"])
        row = line_suite.status()["one"]
        assert (row["state"], row["finishing"]) == ("finishing", 1)
        assert line_suite.supervisorctl("start", "one").code == 0
        eventually(lambda: not is_refused(ports["one"]), "serving again")
        eventually(lambda: line_suite.status()["one"]["state"] == "running", "running")
        with LineClient(ports["one"]) as new:
            assert new.say("QUIT") == b"+OK QUIT\r\n"
        assert line_suite.status()["one"]["finishing"] == 1
        assert old.say("QUIT") == b"+OK QUIT\r\n"
    eventually(lambda: line_suite.status()["one"]["finishing"] == 0, "end of the drainer")


def test_a_stop_by_hand_is_a_hold_that_survives_supervisord(line_suite: RealSuite) -> None:
    """It names supervisorctl; apply respects it; a new supervisord does not start the service; release does."""
    ports = line_suite.apply_lines(one=[], two=[])
    line_suite.supervisorctl("stop", "one")
    eventually(lambda: line_suite.status()["one"]["hold"] is not None, "hold")
    assert line_suite.status()["one"]["hold"]["who"] == "supervisorctl"
    assert line_suite.run("status").code == 3
    assert line_suite.run("apply").code == 0
    assert is_refused(ports["one"])
    line_suite.ok("down")
    line_suite.ok("apply")
    assert line_suite.status()["two"]["state"] == "running"
    assert line_suite.status()["one"]["hold"] is not None and is_refused(ports["one"])
    line_suite.ok("apply", "--override", "reset")
    assert line_suite.status()["one"]["hold"] is None and not is_refused(ports["one"])
    line_suite.ok("status")


def test_a_start_by_hand_ends_a_hold(line_suite: RealSuite) -> None:
    """`postroom stop` holds with a reason; `supervisorctl start` starts and releases."""
    ports = line_suite.apply_lines(one=[])
    line_suite.ok("stop", "one", "--reason", "maintenance")
    hold = line_suite.status()["one"]["hold"]
    assert hold["why"] == "maintenance"
    line_suite.supervisorctl("start", "one")
    eventually(lambda: line_suite.status()["one"]["hold"] is None, "release")
    eventually(lambda: not is_refused(ports["one"]), "serving")


def test_services_start_after_what_they_depend_on(line_suite: RealSuite) -> None:
    """When supervisord comes up, the agent starts each service once those it depends on are ready."""
    line_suite.apply_lines(three=["two"], two=["one"], one=[])
    line_suite.ok("down")
    line_suite.ok("apply")
    rows = line_suite.status()
    started = {name: -row["uptime_s"] for name, row in rows.items()}
    assert started["one"] <= started["two"] <= started["three"]
    line_suite.supervisorctl("shutdown")
    eventually(lambda: not line_suite.processes(), "end of all")
    line_suite.ok("apply")
    line_suite.ok("status")


def test_a_shutdown_waits_for_sessions(line_suite: RealSuite) -> None:
    """`supervisorctl shutdown` refuses at once; supervisord and the agent end when the last session has."""
    ports = line_suite.apply_lines(one=[])
    with LineClient(ports["one"]) as client:
        line_suite.supervisorctl("shutdown")
        eventually(lambda: is_refused(ports["one"]), "refusal")
        assert client.say("hello") == b"+OK hello\r\n"
        assert line_suite.processes()
        assert client.say("QUIT") == b"+OK QUIT\r\n"
    eventually(lambda: not line_suite.processes(), "end of all")
    assert holds.read(line_suite.place.state_dir) == {}
