"""An IMAP client that costs next to nothing: it looks for the end of an answer, at more only when asked."""

import re
import socket
import time

from benchmarks import suite

_TAIL_OCTETS = 4096
"""A tagged response is shorter."""


class Client:
    """A connection in clear."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((suite.HOST, port), timeout=suite.LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._room = bytearray(1 << 20)
        self._buffered = b""
        self._number = 0
        self.line()

    def fileno(self) -> int:
        return self._socket.fileno()

    def log_in(self, box: str | None = None) -> "Client":
        self.command(f"LOGIN {suite.USER} {suite.PASSWORD}")
        if box:
            self.command(f"SELECT {box}")
        return self

    def log_out(self) -> None:
        self.command("LOGOUT")
        self._socket.close()

    def command(self, text: str, *, keep: bool = False, may_fail: bool = False) -> bytes:
        """What is answered, if it is to be kept; a long answer costs little more than to receive it."""
        return self._answer(self.say(text.encode()), keep=keep, may_fail=may_fail)

    def append(self, box: str, *messages: bytes, flags: str = "") -> None:
        """In one command, which needs LITERAL+, and MULTIAPPEND for several."""
        literals = b"".join(b" (%b) {%d+}\r\n%b" % (flags.encode(), len(octets), octets) for octets in messages)
        self._answer(self.say(b"APPEND %b%b" % (box.encode(), literals)), keep=False, may_fail=False)

    def idle(self) -> None:
        self.say(b"IDLE")
        while not self.line().startswith(b"+"):
            pass

    def done(self) -> None:
        """With IDLE."""
        self._socket.sendall(b"DONE\r\n")
        self._answer(b"t%d" % self._number, keep=False, may_fail=False)

    def wait_for(self, word: bytes) -> float:
        """Until a line with it has come; the time of that."""
        while word not in self.line():
            pass
        return time.perf_counter()

    def line(self) -> bytes:
        while (end := self._buffered.find(b"\n")) < 0:
            self._buffered += self._receive()
        line, self._buffered = self._buffered[: end + 1], self._buffered[end + 1 :]
        return line

    def say(self, text: bytes) -> bytes:
        """Send a command; its tag."""
        self._number += 1
        tag = b"t%d" % self._number
        self._socket.sendall(b"%b %b\r\n" % (tag, text))
        return tag

    def _answer(self, tag: bytes, *, keep: bool, may_fail: bool) -> bytes:
        end = re.compile(rb"(?:\A|\n)%b (OK|NO|BAD)[^\n]*\n\Z" % tag)
        kept = [self._buffered]
        tail, self._buffered = self._buffered, b""
        while (found := end.search(tail)) is None:
            piece = self._receive()
            tail = (tail + piece[-_TAIL_OCTETS:])[-_TAIL_OCTETS:]
            if keep:
                kept.append(piece)
        if found[1] != b"OK" and not may_fail:
            raise ConnectionError(f"the server says {found[0].strip()!r}")
        return b"".join(kept)

    def _receive(self) -> bytes:
        count = self._socket.recv_into(self._room)
        if not count:
            raise ConnectionError("the server has closed the connection")
        return bytes(memoryview(self._room)[:count])
