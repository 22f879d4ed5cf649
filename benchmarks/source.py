"""Load on an SMTP server: Postfix's smtp-source where it is installed, else threads of our own.

Neither pipelines commands. smtp-source takes the least of the CPU that it shares with the server, so figures of one
generator do not compare with figures of the other; `GENERATOR` says which one it is.

Recipients are numbered as smtp-source does it: `1user@example.test`, `2user@example.test`, …; a single one is
`user@example.test`.
"""

import os
import secrets
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.suite import HOST, LIMIT_S, USER

SMTP_SOURCE = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin")

GENERATOR = "smtp-source" if SMTP_SOURCE else "threads of Python"

SENDER = "sender@elsewhere.test"
CLIENT = "load.elsewhere.test"


@dataclass(frozen=True, slots=True)
class Load:
    """So many messages."""

    messages: int
    size_octets: int = 10 * 1024
    sessions: int = 10
    """Connections at the same time."""
    keep: bool = False
    """One connection for many messages; else a connection for each."""
    recipients: int = 1
    """Different ones, in turns, one for each message; `messages` is a multiple of it."""
    together: bool = False
    """Each message goes to all of the recipients instead."""

    @property
    def copies(self) -> int:
        """To be delivered."""
        return self.messages * (self.recipients if self.together else 1)


def send(port: int, load: Load) -> float:
    """Returns the seconds it took until the last message was accepted. Raises when one was not."""
    begun = time.perf_counter()
    if SMTP_SOURCE:
        _smtp_source(SMTP_SOURCE, port, load)
    else:
        _threads(port, load)
    return time.perf_counter() - begun


def _smtp_source(program: str, port: int, load: Load) -> None:
    """Several at once, where there are fewer recipients than messages: each numbers its own from 1."""
    programs = 1
    command = [program, "-f", SENDER, "-t", USER, "-M", CLIENT, *(["-d"] if load.keep else [])]
    if load.together:
        command += ["-r", str(load.recipients)]
    elif load.recipients > 1:
        command.append("-N")
        programs = load.messages // load.recipients
    command += ["-s", str(max(1, load.sessions // programs)), "-m", str(load.messages // programs)]
    command += ["-l", str(load.size_octets), f"{HOST}:{port}"]
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(programs)]
    if failed := [status for one in running if (status := _wait(one))]:
        raise ConnectionError(f"{' '.join(command)}: exit status {failed[0]}")


def _wait(program: "subprocess.Popen[bytes]") -> int:
    """Its exit status, the moment that it has ended: `Popen.wait` with a limit looks every 50 ms only."""
    watch = os.pidfd_open(program.pid)
    try:
        if not select.select((watch,), (), (), LIMIT_S)[0]:
            raise TimeoutError(f"{program.args!r} has not ended after {LIMIT_S:.0f} s")
    finally:
        os.close(watch)
    return program.wait()


def _threads(port: int, load: Load) -> None:
    if load.together:
        recipients = [[f"{number}{USER}" for number in range(1, load.recipients + 1)]] * load.messages
    elif load.recipients > 1:
        recipients = [[f"{number % load.recipients + 1}{USER}"] for number in range(load.messages)]
    else:
        recipients = [[USER]] * load.messages
    with ThreadPoolExecutor(load.sessions) as pool:
        list(pool.map(lambda first: _session(port, load, recipients[first :: load.sessions]), range(load.sessions)))


def _say(connection: socket.socket, line: str, reply: Callable[[], bytes], code: bytes) -> None:
    connection.sendall(line.encode() + b"\r\n")
    _expect(reply(), code)


def _expect(reply: bytes, code: bytes) -> None:
    if not reply.startswith(code):
        raise ConnectionError(f"{code.decode()} was expected, the server says {reply!r}")


def _session(port: int, load: Load, recipients: Sequence[Sequence[str]]) -> None:
    """One client; an item of `recipients` for each message."""
    line = b"x" * 78 + b"\r\n"
    body = line * (load.size_octets // len(line))
    for parcel in [recipients] if load.keep else [[one] for one in recipients]:
        with (
            socket.create_connection((HOST, port), timeout=LIMIT_S) as connection,
            connection.makefile("rb") as replies,
        ):
            _expect(replies.readline(), b"220")
            _say(connection, f"HELO {CLIENT}", replies.readline, b"250")
            for addresses in parcel:
                _say(connection, f"MAIL FROM:<{SENDER}>", replies.readline, b"250")
                for address in addresses:
                    _say(connection, f"RCPT TO:<{address}>", replies.readline, b"250")
                _say(connection, "DATA", replies.readline, b"354")
                header = f"From: {SENDER}\r\nTo: {USER}\r\nMessage-ID: <{secrets.token_hex(12)}@{CLIENT}>\r\n\r\n"
                connection.sendall(header.encode() + body)
                _say(connection, ".", replies.readline, b"250")
            _say(connection, "QUIT", replies.readline, b"221")
