"""What a new master takes from those before it."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from maillib import control
from maillib.runtime import takeover
from maillib.settings.service import Listener


@contextmanager
def predecessor(run: Path, descriptors: list[int], listeners: list[object]) -> Iterator[None]:
    """Somebody at the control socket of a master who hands these over, once."""
    path = control.master_socket(run, "pop")
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(path))
        sock.listen()

        def answer() -> None:
            stream, _ = sock.accept()
            with stream:
                stream.recv(1000)
                socket.send_fds(stream, [control.encode({"ok": True, "listeners": listeners})], descriptors)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join()


@pytest.fixture
def served() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def listener(sock: socket.socket) -> Listener:
    return Listener(host="127.0.0.1", port=sock.getsockname()[1], tls="none")


def test_the_sockets_of_a_predecessor_are_taken(tmp_path: Path, served: socket.socket) -> None:
    """A listening socket comes with its address."""
    wanted = listener(served)
    with predecessor(tmp_path, [served.fileno()], [asdict(wanted)]):
        found = takeover.find(tmp_path, "pop")
    (address, sock), *none = found.sockets.items()
    assert (address, sock.getsockname(), none) == ((wanted.host, wanted.port), served.getsockname(), [])
    sock.close()


@pytest.mark.parametrize("what", ["pipe", "client", "address", "listeners"])
def test_what_is_no_listener_of_that_address_is_not_taken(tmp_path: Path, served: socket.socket, what: str) -> None:
    """Descriptors that are not what was said with them are closed, all of them, and nothing is taken."""
    reader, writer = os.pipe()
    client = socket.create_connection(served.getsockname())
    wanted: list[object] = [asdict(listener(served))]
    handed = {"pipe": reader, "client": client.fileno()}.get(what, served.fileno())
    if what == "address":
        wanted = [asdict(Listener(host="127.0.0.1", port=1, tls="none"))]
    elif what == "listeners":
        wanted = [{"host": "x"}]
    before = len(list(Path("/proc/self/fd").iterdir()))
    with predecessor(tmp_path, [handed], wanted):
        found = takeover.find(tmp_path, "pop")
    assert (found.sockets, found.control_sockets) == ({}, [])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    for fd in (reader, writer):
        os.close(fd)
    client.close()
