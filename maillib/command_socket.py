"""The control socket of a master or of the agent, in its select loop: requests in, answers out, never blocking it."""

import contextlib
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from maillib import control
from maillib.control import Message
from maillib.errors import Transient

MAX_REQUEST_OCTETS = 65_536
MAX_CLIENTS = 64


class Client:
    """Somebody who has asked: gets progress lines, then one answer, then the end."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._buffer = b""

    def read(self) -> Message | None:
        """The request once it is whole; None: not yet. Raises Transient when there will be none."""
        try:
            data = self.stream.recv(MAX_REQUEST_OCTETS)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Transient(f"control client: {error}") from None
        self._buffer += data
        line, end, _ = self._buffer.partition(b"\n")
        if end:
            return control.decode(line)
        if not data or len(self._buffer) >= MAX_REQUEST_OCTETS:
            raise Transient("a control client asked nothing")
        return None

    def tell(self, event: str) -> None:
        """A progress line. One that goes away, or does not read, misses it."""
        self._send({"event": event})

    def answer(self, message: Message, descriptors: list[int] | None = None) -> None:
        """The last line, with descriptors if there are any; then the end."""
        self._send(message, descriptors)
        self.close()

    def fail(self, error: str) -> None:
        self.answer({"ok": False, "error": error})

    def close(self) -> None:
        self.stream.close()

    def _send(self, message: Message, descriptors: list[int] | None = None) -> None:
        with contextlib.suppress(OSError):
            socket.send_fds(self.stream, [control.encode(message)], descriptors or [], socket.MSG_NOSIGNAL)


class CommandSocket:
    """Listens on `path` and gives each whole request to `handle`, which answers now or later."""

    def __init__(self, selector: selectors.BaseSelector, handle: Callable[[Client, Message], None]) -> None:
        self._selector = selector
        self._handle = handle
        self.clients = 0
        self.sock: socket.socket | None = None
        self._path: Path | None = None
        self._inode = 0
        """Of the name, to know later whether it is still ours."""

    def listen(self, path: Path) -> None:
        """Make the socket, in place of one that an earlier master left there."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        aside = path.with_name(f".{os.getpid()}.sock")
        aside.unlink(missing_ok=True)
        sock.bind(os.fspath(aside))
        sock.listen(MAX_CLIENTS)
        aside.rename(path)
        self.adopt(sock, path)

    def adopt(self, sock: socket.socket, path: Path) -> None:
        """Go on with a socket that was inherited."""
        sock.setblocking(False)
        self.sock, self._path = sock, path
        self._inode = path.stat().st_ino
        self._selector.register(sock, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Answer no more, and take the name away unless a successor has it by now."""
        if self.sock is None or self._path is None:
            return
        self._selector.unregister(self.sock)
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self.sock.close()
        self.sock = None

    def _accept(self) -> None:
        assert self.sock is not None
        try:
            stream, _ = self.sock.accept()
        except OSError:
            return
        if self.clients >= MAX_CLIENTS or not control.peer_is_trusted(stream):
            stream.close()
            return
        stream.setblocking(False)
        client = Client(stream)
        self.clients += 1
        self._selector.register(stream, selectors.EVENT_READ, lambda: self._read(client))

    def _read(self, client: Client) -> None:
        try:
            request = client.read()
        except Transient:
            self._forget(client)
            client.close()
            return
        if request is not None:
            self._forget(client)
            self._handle(client, request)

    def _forget(self, client: Client) -> None:
        self._selector.unregister(client.stream)
        self.clients -= 1
