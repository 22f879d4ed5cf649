"""Asking many control sockets at once."""

import selectors
import threading
from pathlib import Path

from maillib.command_socket import CommandSocket
from maillib.control import Verb
from orchestrator.asking import ask_all

LONG_S = 3600.0
"""More than any test may take: what waits for a silence hangs."""


def test_where_nobody_is_nobody_is_waited_for(tmp_path: Path) -> None:
    """A suite that is down was looked at for two seconds."""
    assert ask_all([tmp_path / str(number) for number in range(300)], {"verb": Verb.STATUS}, timeout_s=LONG_S) == {}


def test_who_answers_is_heard_beside_those_who_are_gone(tmp_path: Path) -> None:
    """Each answer has its path; who is not there is missing."""
    over = threading.Event()

    def serve() -> None:
        with selectors.DefaultSelector() as selector:
            commands = CommandSocket(
                selector, lambda client, request: client.answer({"ok": True, "to": request["verb"]})
            )
            commands.listen(tmp_path / "there")
            listening.set()
            while not over.is_set():
                for key, _ in selector.select(0.02):
                    key.data()
            commands.close()

    listening = threading.Event()
    server = threading.Thread(target=serve)
    server.start()
    listening.wait()
    try:
        answers = ask_all([tmp_path / "gone", tmp_path / "there"], {"verb": Verb.STATUS}, timeout_s=LONG_S)
    finally:
        over.set()
        server.join()
    assert answers == {tmp_path / "there": {"ok": True, "to": "status"}}
