"""How a service stops: no new session from that moment, the open ones finish."""

import signal
import time
from pathlib import Path

from maillib import control
from maillib.control import Verb
from maillib.settings.service import Listener, Stop
from tests.support.program import Program, free_port, until


def test_a_stop_refuses_new_connections_and_serves_the_open_ones(program: Program) -> None:
    """With two processes on IPv4 and IPv6, SIGTERM refuses everywhere; an open session keeps all its commands."""
    other = free_port("::1")
    master = program.start(listen=(*program.config.listen, Listener(host="::1", port=other, tls="none")))
    with program.client() as client, program.client() as second:
        master.send_signal(signal.SIGTERM)
        until(program.is_refused, "refusal")
        until(lambda: program.is_refused(other, "::1"), "refusal on IPv6")
        assert client.say("hello") == b"+OK hello\r\n"
        assert second.say("QUIT") == b"+OK QUIT\r\n"
        assert master.poll() is None
        assert client.say("QUIT") == b"+OK QUIT\r\n"
    assert master.wait(20) == 0
    assert program.records() == []


def test_the_drain_limit_ends_with_a_goodbye(program: Program) -> None:
    """A session that outlives `stop.drain` hears the protocol's goodbye, and the log counts it as cut."""
    master = program.start(stop=Stop(drain=0.5), processes=1)
    with program.client() as client:
        assert client.say("hello") == b"+OK hello\r\n"
        master.send_signal(signal.SIGTERM)
        assert client.hear() == b"-ERR goodbye\r\n"
        assert client.hear() == b""
    assert master.wait(20) == 0
    assert "cut=1" in program.log


def test_after_kill_cuts_without_a_word(program: Program) -> None:
    """`stop.after: kill` ends the sessions that are left at once."""
    master = program.start(stop=Stop(drain=0.2, after="kill"), processes=1)
    with program.client() as client:
        master.send_signal(signal.SIGTERM)
        assert client.hear() == b""
    assert master.wait(20) == 0


def test_ctrl_c_twice_says_goodbye_at_once(program: Program) -> None:
    """In a shell the first Ctrl-C drains, the second one does not wait for the limit."""
    master = program.start(processes=1)
    with program.client() as client:
        master.send_signal(signal.SIGINT)
        until(program.is_refused, "refusal")
        until(lambda: all(record.state == "draining" for record in program.records()), "drain")
        master.send_signal(signal.SIGINT)
        assert client.hear() == b"-ERR goodbye\r\n"
    assert master.wait(20) == 0


def test_a_drainer_can_be_hurried(program: Program) -> None:
    """A shorter limit given to a draining worker replaces the one it has, a longer one does not."""
    master = program.start(processes=1)
    with program.client() as client:
        master.send_signal(signal.SIGTERM)
        until(lambda: [r for r in program.records() if r.state == "draining"], "drain")
        (record,) = program.records()
        assert record.deadline is not None and 0 < record.deadline - time.monotonic() <= 60  # no clock that can be set
        sock = control.worker_socket(program.run, "lines", record.pid)
        assert control.ask(sock, {"verb": Verb.DRAIN, "limit_s": 3000.0}, timeout_s=5)["ok"]
        (after,) = program.records()
        assert after.deadline == record.deadline
        assert control.ask(sock, {"verb": Verb.DRAIN, "limit_s": 0.0}, timeout_s=5)["ok"]
        assert client.hear() == b"-ERR goodbye\r\n"
    assert master.wait(20) == 0


def test_start_right_after_a_stop_serves_while_old_sessions_finish(program: Program, tmp_path: Path) -> None:
    """The port is free for a new master at once; the old session goes on beside it."""
    master = program.start(processes=1)
    with program.client() as old:
        master.send_signal(signal.SIGTERM)
        until(program.is_refused, "refusal")
        began = time.monotonic()
        second = program.launch()
        until(lambda: not program.is_refused(), "second master")
        assert time.monotonic() - began < 15, "it did not have to wait for the old session"
        with program.client() as new:
            assert new.say("new") == b"+OK new\r\n"
            assert old.say("old") == b"+OK old\r\n"
        assert second.poll() is None
