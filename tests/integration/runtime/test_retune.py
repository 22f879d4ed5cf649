"""Retune: the running workers take new values and listeners, nobody starts, nobody drains."""

import contextlib
import os
import signal
import socket
import threading

from maillib.control import Verb
from maillib.settings.service import Limits, Listener, Stop
from tests.support.program import Client, Program, free_port, until

REFUSAL = b"-ERR too many connections\r\n"


def _on(*ports: int) -> tuple[Listener, ...]:
    return tuple(Listener(host="127.0.0.1", port=port, tls="none") for port in ports)


def test_a_new_limit_holds_in_the_workers_that_run(program: Program) -> None:
    """The same workers refuse by the new limit, open sessions stay; they report the new generation."""
    program.start()
    before = program.workers()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(program.client()) for _ in range(3)]
        for client in clients:
            client.say("USER")
        program.change(limits=Limits(connections=3, connections_per_ip=100), stop=Stop(drain=1.0))
        assert program.ask({"verb": Verb.RETUNE})["ok"]
        with program.client() as refused:
            assert refused.greeting == REFUSAL
        assert [client.say("here") for client in clients] == [b"+OK here\r\n"] * 3
    assert program.workers() == before
    assert {record.generation for record in program.records()} == {2} == {program.status()["generation"]}


def test_listeners_come_and_go_under_load_and_sessions_stay(program: Program) -> None:
    """A port that stays refuses nobody while others open and close; a session from a port that goes is served on."""
    program.start()
    stays, goes, comes = program.port, free_port(), free_port()
    program.change(listen=_on(stays, goes))
    assert program.ask({"verb": Verb.RETUNE})["ok"]
    before = program.workers()
    wrong: list[OSError] = []
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            try:
                with Client(stays) as client:
                    assert client.say("QUIT") == b"+OK QUIT\r\n"
            except OSError as error:
                wrong.append(error)

    loop = threading.Thread(target=load)
    loop.start()
    with Client(goes) as old:
        for ports in ((stays, comes), (stays, goes, comes), (comes, stays)):
            program.change(listen=_on(*ports))
            assert program.ask({"verb": Verb.RETUNE})["ok"]
            assert [program.is_refused(port) for port in (goes, comes)] == [goes not in ports, False]
        assert old.say("QUIT") == b"+OK QUIT\r\n"
    over.set()
    loop.join()
    assert wrong == [] and program.workers() == before


def test_what_needs_new_workers_is_refused(program: Program) -> None:
    """A key of a dearer class, more connections than can be counted, a taken port: an answer, and nothing changed."""
    program.start()
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = foreign.getsockname()[1]
        for changes, words in (
            ({"processes": 3}, "needs a reload"),
            ({"processes": 2, "limits": Limits(connections=5000)}, "for more a reload is needed"),
            ({"limits": Limits(), "listen": _on(program.port, taken)}, str(taken)),
        ):
            program.change(**changes)
            answer = program.ask({"verb": Verb.RETUNE})
            assert not answer["ok"] and words in str(answer["error"])
    assert program.status()["generation"] == 1
    with program.client() as client:
        assert client.say("QUIT") == b"+OK QUIT\r\n"


def test_two_services_exchange_a_port(program: Program) -> None:
    """A service lets a port go, another takes it, and the first opens the other's: sessions of both go on."""
    other = Program(program.folder, name="others")
    try:
        mine, theirs = program.port, other.port
        program.start()
        other.start()
        with program.client() as first, other.client() as second:
            address = program.config.listen[0].address
            assert program.ask({"verb": Verb.LET_GO, "addresses": [address]})["ok"]
            assert program.status()["listening"] == []
            other.change(listen=_on(mine))
            program.change(listen=_on(theirs))
            assert other.ask({"verb": Verb.RETUNE})["ok"] and program.ask({"verb": Verb.RETUNE})["ok"]
            assert first.say("QUIT") == second.say("QUIT") == b"+OK QUIT\r\n"
        for port, host in ((mine, other), (theirs, program)):
            with Client(port) as client:
                client.say("USER")
                assert [session["listener"] for session in host.sessions()] == [f"127.0.0.1:{port}"]
    finally:
        other.clear()


def test_a_listener_that_was_let_go_is_opened_again_by_the_same_file(program: Program) -> None:
    """What an interrupted exchange left closed, a retune from the configuration in force opens."""
    program.start()
    program.ask({"verb": Verb.LET_GO, "addresses": [program.config.listen[0].address]})
    assert program.is_refused()
    assert program.ask({"verb": Verb.RETUNE})["ok"]
    with program.client() as client:
        assert client.say("QUIT") == b"+OK QUIT\r\n"


def test_a_worker_that_does_not_answer_is_replaced(program: Program) -> None:
    """One that hangs does not keep the change from coming true: it goes on as a reload."""
    program.start()
    before = program.workers()
    program.change(limits=Limits(connections=30))
    os.kill(before[0], signal.SIGSTOP)
    try:
        assert program.ask({"verb": Verb.RETUNE})["ok"]
    finally:
        os.kill(before[0], signal.SIGCONT)
    until(lambda: not set(before) & {record.pid for record in program.records()}, "end of the old workers")
    assert len(program.workers()) == 2
