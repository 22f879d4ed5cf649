"""kill -9 of the agent and of supervisord: `docs/when-something-dies.md`, shown."""

import os
import signal
import time

import pytest

from orchestrator.supervisor import Supervisor
from tests.support.real_suite import LineClient, RealSuite, eventually, is_refused

pytestmark = pytest.mark.real


def _agent(suite: RealSuite) -> int | None:
    with Supervisor(suite.place.supervisor) as supervisor:
        return supervisor.processes()["agent"].pid


def test_a_killed_agent_comes_back_and_adopts_drainers(line_suite: RealSuite) -> None:
    """The session of a stopped service goes on without its agent; the next agent waits for it at a shutdown."""
    ports = line_suite.apply_lines(one=[])
    with LineClient(ports["one"]) as client:
        line_suite.supervisorctl("stop", "one")
        before = _agent(line_suite)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        eventually(lambda: _agent(line_suite) not in (None, before), "next agent")
        eventually(lambda: line_suite.status()["one"]["hold"] is not None, "hold")
        assert client.say("hello") == b"+OK hello\r\n"
        line_suite.supervisorctl("shutdown")
        assert client.say("still here") == b"+OK still here\r\n"
        assert line_suite.processes()
        client.say("QUIT")
    eventually(lambda: not line_suite.processes(), "end of all")


def test_without_the_agent_a_stop_drains_in_the_foreground(line_suite: RealSuite) -> None:
    """supervisorctl stop and start work, status is true, sessions finish; the missed stop becomes a hold."""
    ports = line_suite.apply_lines(one=[], two=[])
    line_suite.supervisorctl("stop", "agent")  # killed, it would be started again
    with LineClient(ports["one"]) as client:
        line_suite.ok("stop", "two")
        with Supervisor(line_suite.place.supervisor) as supervisor:
            supervisor.stop(["one"])
        eventually(lambda: is_refused(ports["one"]), "refusal")
        row = line_suite.status()["one"]
        assert (row["state"], row["finishing"]) == ("finishing", 1)
        assert client.say("QUIT") == b"+OK QUIT\r\n"
    eventually(lambda: line_suite.status()["one"]["state"] == "stopped", "stopped")
    line_suite.supervisorctl("start", "two")
    eventually(lambda: line_suite.status()["two"]["state"] == "running", "running")
    line_suite.supervisorctl("start", "agent")
    eventually(lambda: line_suite.status()["one"]["hold"] is not None, "hold")
    assert line_suite.status()["two"]["state"] == "running"


def test_an_agent_that_hangs_delays_nothing(line_suite: RealSuite) -> None:
    """Frozen, it does not answer: the master waits for it a moment only, and then drains in the foreground."""
    ports = line_suite.apply_lines(one=[])
    agent = _agent(line_suite)
    assert agent is not None
    os.kill(agent, signal.SIGSTOP)
    try:
        with LineClient(ports["one"]) as client:
            with Supervisor(line_suite.place.supervisor) as supervisor:
                supervisor.stop(["one"])
            eventually(lambda: is_refused(ports["one"]), "refusal")
            assert client.say("QUIT") == b"+OK QUIT\r\n"
        eventually(lambda: line_suite.status()["one"]["state"] == "stopped", "stopped")
    finally:
        os.kill(agent, signal.SIGCONT)
    eventually(lambda: line_suite.status()["one"]["hold"] is not None, "hold")


def test_a_killed_supervisord_stops_no_session(line_suite: RealSuite) -> None:
    """Services serve on; status says 69; the next apply brings supervisord back and replaces the masters."""
    ports = line_suite.apply_lines(one=[], two=["one"])
    with Supervisor(line_suite.place.supervisor) as supervisor:
        pid = supervisor.pid()
    with LineClient(ports["one"]) as old:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: line_suite.run("status").code == 69, "69")
        with LineClient(ports["two"]) as new:
            assert new.say("QUIT") == b"+OK QUIT\r\n"
        assert line_suite.status()["one"]["state"] == "running"
        line_suite.ok("apply")
        line_suite.ok("status")
        assert old.say("QUIT") == b"+OK QUIT\r\n"
    with LineClient(ports["one"]) as new:
        assert new.say("QUIT") == b"+OK QUIT\r\n"


def test_down_ends_what_a_killed_supervisord_left(line_suite: RealSuite) -> None:
    """With supervisord dead, down still leaves no process and no port."""
    ports = line_suite.apply_lines(one=[], two=[])
    with Supervisor(line_suite.place.supervisor) as supervisor:
        os.kill(supervisor.pid(), signal.SIGKILL)
    line_suite.ok("down")
    assert not line_suite.processes()
    assert is_refused(ports["one"]) and is_refused(ports["two"])


def test_a_killed_master_is_replaced_without_refusing_anybody(line_suite: RealSuite) -> None:
    """supervisord starts the next master, which takes over from the orphaned workers."""
    ports = line_suite.apply_lines(one=[])
    master = line_suite.pids()["one"]
    with LineClient(ports["one"]) as old:
        os.kill(master, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while line_suite.status()["one"]["pid"] in (None, master):
            with LineClient(ports["one"]) as new:
                assert new.say("QUIT") == b"+OK QUIT\r\n"
            assert time.monotonic() < deadline
        eventually(lambda: line_suite.run("status").code == 0, "all as wanted")
        assert old.say("QUIT") == b"+OK QUIT\r\n"
