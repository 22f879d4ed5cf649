"""The channel between a master and one worker: whole JSON messages with descriptors, and the news of a death.

A seqpacket socket pair keeps messages whole. Each end sees the other's death as end of file, however it died; that is
the one thing about it that a kill -9 cannot forge or delay. What is big or secret (configuration, keys) travels as a
memfd beside the message, so that nothing of it is in argv, environment or a file.
"""

import json
import os
import socket

from maillib.control import Message, decode
from maillib.errors import Transient

MAX_MESSAGE_OCTETS = 32_768
"""Messages are a few words; the configuration travels as a memfd."""

MAX_DESCRIPTORS = 128
"""Listeners and memfds of one message; the kernel allows 253. unix(7), SCM_RIGHTS."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, neither inherited by programs that are started."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Message, descriptors: list[int] | None = None) -> bool:
    """Send without blocking. False: the other end is gone, or has stopped reading for so long that it is as good as."""
    data = json.dumps(message, separators=(",", ":")).encode()
    try:
        socket.send_fds(channel, [data], descriptors or [], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors, which are ours to close. None: the other end has died.

    Blocks as the socket does; a non-blocking one raises BlockingIOError when nothing is there. Raises Transient for
    what is no message.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE_OCTETS, MAX_DESCRIPTORS)
    except ConnectionError:
        return None
    if not data:
        return None
    for fd in descriptors:
        os.set_inheritable(fd, False)
    try:
        return decode(data), descriptors
    except Transient:
        for fd in descriptors:
            os.close(fd)
        raise


def memory_file(name: str, data: bytes) -> int:
    """A descriptor of an anonymous file that holds `data`, positioned at its start."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def read_memory_file(fd: int) -> bytes:
    """All octets of `fd` from its start; closes it."""
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()
