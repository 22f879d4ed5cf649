"""kill -9 of any process of a service: who goes on, who takes over."""

import os
import shutil
import signal
from pathlib import Path

from tests.integration.runtime.test_change import Load
from tests.support.program import Client, Program, until


def test_a_killed_worker_is_replaced_and_the_other_goes_on(program: Program) -> None:
    """The sessions of the other worker notice nothing; the service is whole again."""
    program.start()
    with program.client() as client:
        (mine,) = [r.pid for r in program.records() if _has_session(program, r.pid)]
        (other,) = set(program.workers()) - {mine}
        os.kill(other, signal.SIGKILL)
        until(lambda: len(set(program.workers()) - {other}) == 2, "replacement")
        assert client.say("QUIT") == b"+OK QUIT\r\n"
    assert "signal 9" in program.log
    until(lambda: program.status()["connections"] == 0, "no connection counted")


def test_a_worker_that_says_nonsense_is_replaced(program: Program) -> None:
    """A worker that somebody has taken over costs its service one worker, not the master, nor any descriptor of it."""
    master = program.start(processes=1)
    (worker,) = program.workers()
    descriptors = Path(f"/proc/{master.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with program.client() as client:
        client.say("GARBLE")
        until(lambda: len(set(program.workers()) - {worker}) == 1, "replacement")
    assert program.status()["pid"] == master.pid
    until(lambda: len(list(descriptors.iterdir())) <= before, "no descriptor left of what came with it")


def _has_session(program: Program, pid: int) -> bool:
    from maillib import control
    from maillib.control import Verb

    path = control.worker_socket(program.run, "lines", pid)
    return bool(control.ask(path, {"verb": Verb.SESSIONS}, timeout_s=20)["sessions"])


def test_a_killed_master_leaves_workers_that_its_successor_takes_over(program: Program) -> None:
    """Nobody is refused between the death of a master and the first word of the next; open sessions go on."""
    first = program.start()
    orphans = program.workers()
    with program.client() as old, Load(program.port) as load:
        first.kill()
        first.wait()
        program.launch()
        until(lambda: len(program.workers()) == 2 and not set(program.workers()) & set(orphans), "successors")
        served = load.served
        until(lambda: load.served > served, "clients of the successor")
        assert old.say("still here") == b"+OK still here\r\n"
        assert old.say("QUIT") == b"+OK QUIT\r\n"
    assert load.wrong == []
    until(lambda: not {record.pid for record in program.records()} & set(orphans), "end of the orphans")


def test_a_second_master_takes_over_from_a_living_one(program: Program) -> None:
    """As after the death of supervisord: the old master hands over, lets its sessions finish, and ends."""
    first = program.start()
    with program.client() as old:
        program.launch()
        until(lambda: program.status().get("pid") not in (None, first.pid), "second master")
        until(lambda: len(program.workers()) == 2, "its workers")
        with program.client() as new:
            assert new.say("QUIT") == b"+OK QUIT\r\n"
        assert old.say("QUIT") == b"+OK QUIT\r\n"
    assert first.wait(20) == 0
    with program.client() as client:
        assert client.say("QUIT") == b"+OK QUIT\r\n"


def test_workers_without_a_master_close_the_port_after_a_while(program: Program) -> None:
    """When no master comes, the port is free again and the sessions have finished."""
    first = program.start()
    with program.client() as client:
        first.kill()
        first.wait()
        until(program.is_refused, "closed port")
        assert client.say("QUIT") == b"+OK QUIT\r\n"
    until(lambda: not program.records(), "end of the workers")


def test_a_run_directory_that_is_removed_ends_nobody_and_keeps_nobody_from_ending(program: Program) -> None:
    """Service and session go on without it; a stop still ends master and workers, and the log says what is missing."""
    master = program.start()
    with program.client() as client:
        shutil.rmtree(program.run)
        with program.client() as other:
            assert other.say("QUIT") == b"+OK QUIT\r\n"
        master.terminate()
        until(program.is_refused, "refusal")
        assert client.say("QUIT") == b"+OK QUIT\r\n"
    assert master.wait(20) == 0
    assert "record of this worker" in program.log


def test_a_worker_that_keeps_dying_is_started_with_pauses(program: Program) -> None:
    """A service that cannot start says why in its status, and does not spin."""
    program.change(hostname="fail.example.test")
    program.launch()
    until(lambda: program.status().get("last_error") == "told to fail", "reason")
    until(lambda: "pause_s=1.0" in program.log, "a pause")
    program.change(hostname="mail.example.test")
    from maillib.control import Verb

    assert program.ask({"verb": Verb.RELOAD})["ok"]
    with Client(program.port) as client:
        assert client.say("QUIT") == b"+OK QUIT\r\n"
