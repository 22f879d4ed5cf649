"""Readiness seen from outside: does a listener give its protocol's greeting, under TLS where that comes first?

A probe says only that much; it knows no certificate and no account. It takes its leave as the protocol wants it, so
that logs do not show a lost connection.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable

from maillib.errors import TemporaryError
from maillib.networks import Networks
from maillib.settings.service import Listener

ATTEMPT_S = 5.0
"""How long one attempt may take; a greeting takes milliseconds, or a second on a machine that is busy."""
_RETRY_S = 0.1
_MAX_GREETING_OCTETS = 4096

_FOR_MYSELF = b"PROXY UNKNOWN\r\n"
"""What a balancer says when it connects on nobody's behalf. PROXY protocol §2.1."""

_GREETINGS = {"smtp": b"220", "imap": b"* OK", "pop": b"+OK"}
"""Protocol to what its first line begins with. Protocols without listeners have none."""

_LEAVES = {"smtp": b"QUIT\r\n", "imap": b"- LOGOUT\r\n", "pop": b"QUIT\r\n"}
"""Protocol to how a client takes its leave."""


class ProbeFailed(TemporaryError):
    """No greeting, or another one."""


def wait(protocol: str, listeners: Iterable[Listener], *, timeout_s: float) -> None:
    """Return when each listener has greeted. Raises ProbeFailed with the last reason after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    for listener in listeners:
        while True:
            try:
                probe(protocol, listener)
                break
            except ProbeFailed:
                if time.monotonic() + _RETRY_S > deadline:
                    raise
                time.sleep(_RETRY_S)


def probe(protocol: str, listener: Listener) -> None:
    """One attempt. Raises ProbeFailed."""
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(socket.create_connection(target(listener), timeout=ATTEMPT_S))
            if stream.getsockname()[0] in Networks(listener.proxy_from):
                stream.sendall(_FOR_MYSELF)
            if listener.tls == "implicit":
                stream = stack.enter_context(_trusting().wrap_socket(stream))
            greeting = _first_line(stream)
            if not greeting.startswith(_GREETINGS[protocol]):
                raise ProbeFailed(f"{listener.address} greets with {greeting.decode(errors='replace').strip()!r}")
            stream.sendall(_LEAVES[protocol])
            _first_line(stream)
    except OSError as error:
        raise ProbeFailed(f"{listener.address}: {error.strerror or error}") from None


def target(listener: Listener) -> tuple[str, int]:
    """An address that leads to the listener: loopback where it listens everywhere."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.host, listener.host), listener.port  # noqa: S104


def _trusting() -> ssl.SSLContext:
    """Whether the certificate is the right one is for clients to say, and for pre-flight; here the handshake counts."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _first_line(stream: socket.socket) -> bytes:
    data = b""
    while b"\n" not in data and len(data) < _MAX_GREETING_OCTETS:
        chunk = stream.recv(_MAX_GREETING_OCTETS)
        if not chunk:
            break
        data += chunk
    return data
