"""Asks many control sockets at the same time: however many are silent, it takes little longer than one silence.

A suite of 200 services has 200 masters and more workers; asked one after the other, each frozen one would cost its own
wait. `control.ask` is for one.
"""

import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from maillib import control
from maillib.control import Message
from maillib.errors import Transient

_AT_ONCE = 200
"""Descriptors that are open at a time; further sockets wait for their turn."""

_RETRY_S = 0.02
"""When to try again where so many ask already that no more can connect."""


def ask_all(paths: Iterable[Path], request: Message, *, timeout_s: float) -> dict[Path, Message]:
    """The last line of each answer. Who is not there, or says nothing for `timeout_s`, is missing."""
    line = control.encode(request)
    answers: dict[Path, Message] = {}
    waiting: deque[tuple[Path, float | None]] = deque((path, None) for path in paths)
    """What has not been asked yet, and the monotonic time at which to give up trying; None: not tried yet."""
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            crowded = []
            while waiting and len(selector.get_map()) < _AT_ONCE:
                path, deadline = waiting.popleft()
                asked = _Asked(path, deadline or time.monotonic() + timeout_s)
                if asked.begin(line):
                    selector.register(asked.stream, selectors.EVENT_READ, asked)
                elif asked.is_crowded:
                    crowded.append((path, asked.deadline))
            waiting.extend(crowded)
            if not selector.get_map() and not crowded:
                continue  # nobody of these is there: nothing to wait for
            for key, _ in selector.select(_RETRY_S if crowded else timeout_s):
                asked = key.data
                answer = asked.hear()
                if answer is not None:
                    answers[asked.path] = answer
                if asked.is_over:
                    selector.unregister(asked.stream)
                    asked.stream.close()
            now = time.monotonic()
            for key in [key for key in selector.get_map().values() if key.data.deadline <= now]:
                selector.unregister(key.fileobj)
                key.data.stream.close()
    return answers


class _Asked:
    """One socket that is being asked."""

    def __init__(self, path: Path, deadline: float) -> None:
        self.path = path
        self.deadline = deadline
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.is_crowded = False
        self.is_over = False
        self._buffer = b""

    def begin(self, line: bytes) -> bool:
        """Connect and ask, without waiting. False: nobody is there, or too many ask already."""
        self.stream.setblocking(False)
        try:
            self.stream.connect(os.fspath(self.path))
            self.stream.sendall(line)
        except OSError as error:
            self.is_crowded = isinstance(error, BlockingIOError) and time.monotonic() < self.deadline
            self.stream.close()
            return False
        return True

    def hear(self) -> Message | None:
        """The last line of the answer, once it is there."""
        try:
            chunk = self.stream.recv(65_536)
            self._buffer += chunk
            *lines, self._buffer = self._buffer.split(b"\n")
            last = next((message for message in map(control.decode, lines) if "ok" in message), None)
        except (OSError, Transient):
            self.is_over = True
            return None
        self.is_over = last is not None or not chunk or len(self._buffer) > control.MAX_LINE_OCTETS
        return last
