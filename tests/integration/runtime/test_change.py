"""Reload and restart: new workers on the same listeners, nobody refused, nobody cut."""

import os
import signal
import socket
import threading

import pytest

from maillib.control import Verb
from maillib.settings.service import Listener
from tests.support.program import Client, Program, free_port, until


class Load:
    """Clients that connect, speak and leave until told to stop; what went wrong is counted by kind."""

    def __init__(self, port: int, clients: int = 8) -> None:
        self.served = 0
        self.wrong: list[str] = []
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._loop) for _ in range(clients)]

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                with Client(self._port) as client:
                    answers = [client.greeting, client.say("one"), client.say("QUIT")]
            except OSError as error:
                answers = [repr(error).encode()]
            with self._lock:
                if answers == [b"+OK ready\r\n", b"+OK one\r\n", b"+OK QUIT\r\n"]:
                    self.served += 1
                else:
                    self.wrong.append(repr(answers))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_restarts_under_load_lose_nobody(program: Program) -> None:
    """Ten restarts, each with a new image of the master, under a loop of clients: 0 refused, 0 reset, 0 hung."""
    master = program.start()
    first = program.workers()
    with Load(program.port) as load:
        for _ in range(10):
            before = load.served
            assert program.ask({"verb": Verb.RESTART})["ok"]
            until(lambda before=before: load.served > before, "clients served")  # type: ignore[misc]
    assert load.wrong == []
    assert master.poll() is None
    assert program.status()["pid"] == master.pid
    assert not set(first) & set(program.workers())


def test_a_session_outlives_reload_and_restart(program: Program) -> None:
    """The old workers keep their sessions; two old generations drain beside the current one."""
    program.start(processes=1)
    with program.client() as first:
        assert program.ask({"verb": Verb.RELOAD})["ok"]
        with program.client() as second:
            assert program.ask({"verb": Verb.RESTART})["ok"]
            with program.client() as third:
                assert len(program.sessions()) == 3
                for client in (first, second, third):
                    assert client.say("still here") == b"+OK still here\r\n"
        until(lambda: len(program.sessions()) == 1, "end of the others")
        assert first.say("QUIT") == b"+OK QUIT\r\n"


def test_a_third_old_generation_waits_for_the_oldest(program: Program) -> None:
    """While two old generations drain, a further reload says that it waits, and goes on when the oldest has ended."""
    from maillib import control

    program.start(processes=1)
    with program.client() as first:
        program.ask({"verb": Verb.RELOAD})
        with program.client():
            program.ask({"verb": Verb.RELOAD})
            answers = control.exchange(control.master_socket(program.run, "lines"), {"verb": Verb.RELOAD}, timeout_s=20)
            assert "waiting for the oldest" in str(next(answers)["event"])
            assert first.say("QUIT") == b"+OK QUIT\r\n"
            assert next(answers)["ok"]


def test_workers_that_do_not_start_are_not_cut_over_to(program: Program) -> None:
    """A configuration whose workers fail is refused with their words; the old ones never stopped serving."""
    program.start()
    before = program.workers()
    program.change(hostname="fail.example.test")
    answer = program.ask({"verb": Verb.RELOAD})
    assert (answer["ok"], answer["error"]) == (False, "told to fail")
    assert program.workers() == before
    assert program.status()["generation"] == 1
    with program.client() as client:
        assert client.say("QUIT") == b"+OK QUIT\r\n"


def test_a_reload_opens_new_listeners_and_closes_those_that_left(program: Program) -> None:
    """The new port serves, the old one refuses, a session that came through the old one goes on."""
    program.start()
    with program.client() as old:
        left, arrived = program.port, free_port()
        program.change(listen=(Listener(host="127.0.0.1", port=arrived, tls="none"),))
        assert program.ask({"verb": Verb.RELOAD})["ok"]
        with Client(arrived) as new:
            assert new.say("QUIT") == b"+OK QUIT\r\n"
        with pytest.raises(ConnectionRefusedError):
            Client(left)
        assert old.say("QUIT") == b"+OK QUIT\r\n"


def test_a_taken_port_refuses_the_reload(program: Program) -> None:
    """A port that another process has is named in the answer, and nothing changes."""
    program.start()
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = Listener(host="127.0.0.1", port=foreign.getsockname()[1], tls="none")
        program.change(listen=(*program.config.listen, taken))
        answer = program.ask({"verb": Verb.RELOAD})
        assert not answer["ok"]
        assert taken.address in str(answer["error"])
    with program.client() as client:
        assert client.say("QUIT") == b"+OK QUIT\r\n"


def test_hangup_takes_the_new_configuration_and_reopens_the_log(program: Program) -> None:
    """SIGHUP is a reload from the file the master was started with; a log that was moved away is written anew."""
    master = program.start()
    log = program.state_dir / "log" / "lines.log"
    log.rename(log.with_name("moved"))
    program.change(processes=3)
    os.kill(master.pid, signal.SIGHUP)
    until(lambda: len(program.workers()) == 3, "three workers")
    until(lambda: log.exists() and "ready" in log.read_text(), "new log")
