"""Listening sockets and what the connections have from them."""

import socket

from maillib.runtime.listeners import VANISHED_S, open_listener, set_options
from maillib.settings.service import Listener


def test_a_client_that_vanishes_is_noticed() -> None:
    """Each accepted connection asks after its client, idle or not, and gives up within two minutes."""
    with open_listener(Listener(host="127.0.0.1", port=0, tls="none")) as listening:
        set_options(listening)
        listening.setblocking(True)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle, every, times = (
                accepted.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
            assert idle + every * times <= 2 * VANISHED_S == 120
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == VANISHED_S * 1000
