"""Load on an SMTP server: Postfix's smtp-source where it is installed, else threads of our own.

Neither pipelines commands. smtp-source takes the least of the CPU that it shares with the server, so figures of one
generator do not compare with figures of the other; `GENERATOR` says which one it is.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.suite import HOST, LIMIT_S, USER

SMTP_SOURCE = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin")

GENERATOR = "smtp-source" if SMTP_SOURCE else "threads of Python"

SENDER = "sender@elsewhere.test"
CLIENT = "load.elsewhere.test"


@dataclass(frozen=True, slots=True)
class Load:
    """So many messages, all to the one user."""

    messages: int
    size_octets: int = 10 * 1024
    sessions: int = 10
    """Connections at the same time."""
    keep: bool = False
    """One connection for many messages; else a connection for each."""


def send(port: int, load: Load) -> float:
    """Returns the seconds it took until the last message was accepted. Raises when one was not."""
    begun = time.perf_counter()
    if SMTP_SOURCE:
        _smtp_source(SMTP_SOURCE, port, load)
    else:
        _threads(port, load)
    return time.perf_counter() - begun


def _smtp_source(program: str, port: int, load: Load) -> None:
    command = [program, "-f", SENDER, "-t", USER, "-M", CLIENT, *(["-d"] if load.keep else [])]
    command += ["-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size_octets), f"{HOST}:{port}"]
    subprocess.run(command, check=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)


def _threads(port: int, load: Load) -> None:
    share, more = divmod(load.messages, load.sessions)
    shares = [share + (number < more) for number in range(load.sessions)]
    with ThreadPoolExecutor(load.sessions) as pool:
        list(pool.map(lambda count: _session(port, load, count), shares))


def _say(connection: socket.socket, line: str, reply: Callable[[], bytes], code: bytes) -> None:
    connection.sendall(line.encode() + b"\r\n")
    _expect(reply(), code)


def _expect(reply: bytes, code: bytes) -> None:
    if not reply.startswith(code):
        raise ConnectionError(f"{code.decode()} was expected, the server says {reply!r}")


def _session(port: int, load: Load, count: int) -> None:
    line = b"x" * 78 + b"\r\n"
    body = line * (load.size_octets // len(line))
    while count:
        part = count if load.keep else 1
        count -= part
        with (
            socket.create_connection((HOST, port), timeout=LIMIT_S) as connection,
            connection.makefile("rb") as replies,
        ):
            _expect(replies.readline(), b"220")
            _say(connection, f"HELO {CLIENT}", replies.readline, b"250")
            for _ in range(part):
                _say(connection, f"MAIL FROM:<{SENDER}>", replies.readline, b"250")
                _say(connection, f"RCPT TO:<{USER}>", replies.readline, b"250")
                _say(connection, "DATA", replies.readline, b"354")
                header = f"From: {SENDER}\r\nTo: {USER}\r\nMessage-ID: <{secrets.token_hex(12)}@{CLIENT}>\r\n\r\n"
                connection.sendall(header.encode() + body)
                _say(connection, ".", replies.readline, b"250")
            _say(connection, "QUIT", replies.readline, b"221")
