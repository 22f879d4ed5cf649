"""Listening sockets: only a master makes, listens on and shuts them down.

`shutdown(SHUT_RD)` acts on every copy of the socket in every process: new connections are refused at once, and each
`accept` answers EINVAL. A later `listen` on any copy would open the port again, which is why no worker ever calls it.
"""

import errno
import socket

from maillib.errors import Conflict, MailError
from maillib.settings.service import Listener

BACKLOG = 4096
"""Connections that may wait for `accept`, those that will be refused too: in a flood, a fifth of a second of them. Who
comes beyond it is not heard, and tries again a second later. The kernel bounds it by net.core.somaxconn."""

VANISHED_S = 60
"""How long a client may be silent before the kernel asks whether its host is still there, and how long it may take to
answer that, or to acknowledge what it was sent: who has vanished is gone after two minutes."""


def open_listener(listener: Listener) -> socket.socket:
    """A non-blocking listening socket. Raises Conflict when the port is taken, MailError when it may not be had."""
    host = listener.host
    family = socket.AF_INET if host and ":" not in host else socket.AF_INET6
    if not host and not socket.has_dualstack_ipv6():
        family, host = socket.AF_INET, ""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(listener.host)))
        sock.bind((host, listener.port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        text = f"cannot listen on {listener.address}: {error.strerror or error}"
        raise (Conflict(text) if error.errno == errno.EADDRINUSE else MailError(text)) from None
    return sock


def refuse_from_now_on(sock: socket.socket) -> None:
    """Refuse new connections at once, whoever else holds a copy; then drop ours."""
    try:
        sock.shutdown(socket.SHUT_RD)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # another holder was first
            raise
    sock.close()


def set_options(sock: socket.socket) -> None:
    """For the connections that are accepted from it, which inherit them: who has vanished without a word is noticed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, VANISHED_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, VANISHED_S // 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_S * 1000)
