"""start, stop and the other verbs on what runs, with services that speak lines."""

import json
import os
import signal
import subprocess
from itertools import islice

import pytest

from orchestrator import audit, locks
from tests.support.real_suite import LineClient, RealSuite, eventually, free_ports, is_refused

pytestmark = pytest.mark.real


@pytest.fixture
def port(line_suite: RealSuite) -> int:
    """Where the service `lines` of an applied suite listens."""
    [port] = free_ports(1)
    line_suite.write({"services": {"lines": {"protocol": "pop", "listen": [{"address": f"127.0.0.1:{port}"}]}}})
    line_suite.ok("apply")
    return port


def test_stop_lets_the_session_finish_and_start_works_at_once(line_suite: RealSuite, port: int) -> None:
    """stop refuses new connections and keeps the open one; start serves others while it goes on."""
    with LineClient(port) as client:
        line_suite.ok("stop", "lines", "--reason", "new\n disk")
        assert is_refused(port)
        row = line_suite.status()["lines"]
        assert (row["desired"], row["state"], row["sessions"], row["finishing"]) == ("running", "finishing", 1, 1)
        assert row["hold"]["why"] == "new disk" and "postroom stop" in row["hold"]["who"]
        assert line_suite.run("status").code == 3
        assert client.say("hello") == b"+OK hello\r\n"
        line_suite.ok("start", "lines")
        with LineClient(port) as other:
            assert other.say("hello") == b"+OK hello\r\n"
        assert client.say("again") == b"+OK again\r\n"
        row = line_suite.status()["lines"]
        assert (row["state"], row["finishing"], row["hold"]) == ("running", 1, None)
    line_suite.ok("status")


def test_supervisorctl_stop_is_a_hold_that_apply_respects(line_suite: RealSuite, port: int) -> None:
    """A stop by hand becomes a hold; apply leaves it (exit 0), --override reset starts the service."""
    with LineClient(port) as client:
        assert line_suite.supervisorctl("stop", "lines").code == 0
        assert is_refused(port)
        assert client.say("hello") == b"+OK hello\r\n"
    eventually(lambda: line_suite.status()["lines"]["hold"], "the agent has made a hold")
    line_suite.ok("apply")
    assert is_refused(port)
    assert "held, not started: lines" in line_suite.ok("apply").err
    assert line_suite.run("plan", "--json").json["actions"][0]["action"] == "hold"
    assert "/hold: supervisorctl, " in line_suite.ok("plan").out
    line_suite.ok("apply", "--override", "reset")
    with LineClient(port) as client:
        assert client.greeting.startswith(b"+OK")
    line_suite.ok("status")


def test_stop_wait_tells_how_many_were_cut(line_suite: RealSuite, port: int) -> None:
    """stop --wait exits 3 with the number of sessions that were cut, which status and audit keep; 0 when none was."""
    with LineClient(port):
        done = line_suite.run("stop", "lines", "--wait", "--drain", "0s", "--reason", "upgrade")
    assert done.code == 3 and "lines: 1" in done.err
    assert line_suite.status()["lines"]["cut"] == 1
    assert "lines: 1 sessions had to be cut" in line_suite.run("status", "lines").err
    [entry] = [entry for entry in audit.since(line_suite.place.state_dir, 0.0) if entry.verb == "stop"]
    assert (entry.names, entry.reason) == (("lines",), "upgrade") and "lines: 1" in entry.result
    line_suite.ok("start", "lines")
    with LineClient(port):
        done = line_suite.run("stop", "lines", "--wait", "--timeout", "0s")
        assert done.code == 3 and "still finish" in done.err
    line_suite.ok("stop", "lines", "--wait")


def test_restart_and_reload_keep_pid_and_sessions(line_suite: RealSuite, port: int) -> None:
    """The master keeps its pid, open sessions go on."""
    before = line_suite.pids()
    with LineClient(port) as client:
        line_suite.ok("restart", "lines")
        line_suite.ok("reload", "lines")
        assert client.say("hello") == b"+OK hello\r\n"
    assert line_suite.pids() == before


def test_reload_and_restart_limit_how_long_old_sessions_go_on(line_suite: RealSuite, port: int) -> None:
    """--now and --wait end the sessions of the old workers; exit 3 tells how many had to be cut, and new ones serve."""
    for verb in ("reload", "restart"):
        with LineClient(port):
            done = line_suite.run(verb, "lines", "--now", "--wait")
            assert done.code == 3 and "lines: 1" in done.err
        with LineClient(port) as client:
            assert client.say("hello") == b"+OK hello\r\n"
        line_suite.ok(verb, "lines", "--wait")


def test_start_need_not_wait(line_suite: RealSuite, port: int) -> None:
    """start --no-wait returns while the service starts."""
    line_suite.ok("stop", "lines")
    line_suite.ok("start", "lines", "--no-wait")
    line_suite.ok("wait", "lines")


def test_sessions_lists_open_and_finishing_ones(line_suite: RealSuite, port: int) -> None:
    """Each session is listed with its peer; after a reload the old one is marked."""
    with LineClient(port):
        line_suite.ok("reload", "lines")
        with LineClient(port):
            rows = line_suite.ok("sessions", "lines", "--json").json["sessions"]
            assert [row["finishing"] for row in rows] == [True, False]
            assert all(row["peer"].startswith("127.0.0.1:") for row in rows)
            head, *lines = line_suite.ok("sessions", "lines").out.splitlines()
            assert head.split()[:3] == ["id", "user", "peer"] and len(lines) == 2


def test_wait_reaches_each_state(line_suite: RealSuite, port: int) -> None:
    """wait returns 0 when the state is reached and 3 when it is not in time."""
    line_suite.ok("wait", "--for", "ready")
    assert line_suite.run("wait", "lines", "--for", "stopped", "--timeout", "1s").code == 3
    with LineClient(port):
        line_suite.ok("stop", "lines")
        line_suite.ok("wait", "lines", "--for", "stopped", "--timeout", "5s")
        assert line_suite.run("wait", "lines", "--for", "drained", "--timeout", "1s").code == 3
    line_suite.ok("wait", "lines", "--for", "drained", "--timeout", "30s")


def test_everything_works_with_the_agent_dead(line_suite: RealSuite, port: int) -> None:
    """Without an agent status is true, stop and start work, and apply brings the agent back."""
    assert line_suite.supervisorctl("stop", "agent").code == 0
    line_suite.ok("status")
    with LineClient(port) as client:
        line_suite.ok("stop", "lines")
        assert is_refused(port)
        row = line_suite.status()["lines"]
        assert (row["state"], row["finishing"]) == ("finishing", 1)
        assert client.say("hello") == b"+OK hello\r\n"
    eventually(lambda: line_suite.status()["lines"]["state"] == "stopped", "the foreground drain is over")
    line_suite.ok("start", "lines")
    line_suite.ok("apply")
    assert line_suite.run("status", "--json").json["internal"]["agent"]["state"] == "running"


def test_verbs_without_supervisord_say_so(line_suite: RealSuite, port: int) -> None:
    """Exit 69 for what needs a supervisord that was killed."""
    os.kill(int((line_suite.place.run / "supervisord.pid").read_text()), signal.SIGKILL)
    eventually(lambda: line_suite.run("status").code == 69, "status says so")
    assert line_suite.run("stop", "lines").code == 69
    assert line_suite.run("start", "lines").code == 69
    with LineClient(port) as client:
        assert line_suite.run("restart", "lines").code == 69
        assert line_suite.run("sessions", "lines", "--json").json["sessions"][0]["finishing"] is False
        assert client.say("hello") == b"+OK hello\r\n"


def test_unknown_service_is_named(line_suite: RealSuite, port: int) -> None:
    """A name that is no service is an error of usage that lists those there are."""
    done = line_suite.run("stop", "lnes")
    assert done.code == 64 and "lines" in done.err


def test_second_change_at_the_same_time_is_told_to_try_again(line_suite: RealSuite, port: int) -> None:
    """While somebody holds the lock, verbs wait as they were told and exit 75, naming the holder; stop works."""
    with locks.exclusive(line_suite.place.state_dir, "rollback", wait_s=0.0):
        for words in (("apply", "--wait", "0s"), ("restart", "lines", "--timeout", "0s")):
            done = line_suite.run(*words)
            assert done.code == 75 and "postroom rollback" in done.err
        line_suite.ok("stop", "lines")


def test_logs_and_status_go_on_until_they_are_interrupted(line_suite: RealSuite, port: int) -> None:
    """logs prints what the service logged; status --watch --json prints one object a line, again and again."""
    with LineClient(port) as client:
        client.say("hello")
    eventually(lambda: "disconnected" in line_suite.ok("logs", "lines").out, "the session is in the log")
    assert line_suite.run("logs", "all").code == 64
    command = [*line_suite.command, "-f", str(line_suite.spec_path), "status", "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        for line in islice(watching.stdout, 2):
            assert json.loads(line)["services"]["lines"]["state"] == "running"
        watching.send_signal(signal.SIGINT)
    assert watching.returncode == 130
