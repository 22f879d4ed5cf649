"""How a new master comes to the listeners: from whoever serves them now, or by binding.

Before it are, at most: a master that lost its supervisord and still serves, or workers whose master was killed. Both
hand over copies of their sockets when asked, keep accepting, and drain when they are told that the new workers are
ready. So a crash of a master or of supervisord refuses nobody.
"""

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from maillib import control, maillog
from maillib.control import Verb, WorkerState
from maillib.errors import Conflict, MailError, Transient
from maillib.runtime import listeners
from maillib.settings.base import load
from maillib.settings.service import Listener

BIND_RETRY_S = 15.0
"""How long a taken port is tried again: masterless workers let go of theirs after 5 s."""

ASK_S = 2.0
"""How long a predecessor may take to answer."""

PREDECESSOR = "predecessor-"
"""Begins the name to which a living predecessor's control socket is moved."""

Sockets = dict[tuple[str, int], socket.socket]
"""Host and port to listening socket."""


@dataclass(slots=True)
class Predecessors:
    """Who served before us, to be told when we are ready."""

    sockets: Sockets = field(default_factory=dict)
    control_sockets: list[Path] = field(default_factory=list)

    def add(self, others: "Predecessors") -> None:
        """What was found later; of two copies of one socket the first is kept."""
        self.control_sockets += [path for path in others.control_sockets if path not in self.control_sockets]
        for address, sock in others.sockets.items():
            if address in self.sockets:
                sock.close()
            else:
                self.sockets[address] = sock

    def tell_taken(self) -> None:
        """The new workers serve: whoever was before may close its copies and drain."""
        for path in self.control_sockets:
            try:
                control.ask(path, {"verb": Verb.TAKEN}, timeout_s=ASK_S)
            except Transient as error:
                maillog.problem(what="predecessor", error=str(error))  # it ends by itself: nobody is its master
            if path.name.startswith(PREDECESSOR):
                path.unlink(missing_ok=True)
        self.control_sockets.clear()


def find(run: Path, service: str) -> Predecessors:
    """Ask a living master first: it speaks for its workers. Then each worker that serves without one."""
    found = Predecessors()
    folder = control.service_dir(run, service)
    paths = [control.master_socket(run, service), *folder.glob(f"{PREDECESSOR}*")]
    for record in control.read_records(run, service):
        if record.state is not WorkerState.DRAINING:
            paths.append(control.worker_socket(run, service, record.pid))
    for path in paths:
        try:
            sockets = _ask_listeners(path)
        except Transient:
            continue  # no master lives, or this worker belongs to one that has answered
        if path == paths[0]:  # our own socket takes that name: keep the predecessor's within reach
            path = path.rename(folder / f"{PREDECESSOR}{os.getpid()}.sock")
        found.add(Predecessors(sockets, [path]))
    return found


def acquire(
    run: Path, service: str, wanted: Iterable[Listener]
) -> tuple[list[tuple[Listener, socket.socket]], Predecessors]:
    """The sockets for `wanted`: a predecessor's where it has one, else newly bound.

    Blocks up to BIND_RETRY_S while a port is taken. Raises Conflict then, MailError when a port may not be had.
    """
    predecessors = find(run, service)
    until = time.monotonic() + BIND_RETRY_S
    opened: list[tuple[Listener, socket.socket]] = []
    for listener in wanted:
        while True:
            sock = predecessors.sockets.pop((listener.host, listener.port), None)
            try:
                opened.append((listener, sock or listeners.open_listener(listener)))
                break
            except Conflict:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
                predecessors.add(find(run, service))  # it may have been at its own start when it was asked first
    for sock in predecessors.sockets.values():  # addresses that are not wanted any more: nobody serves them after us
        listeners.refuse_from_now_on(sock)
    predecessors.sockets.clear()
    return opened, predecessors


def _ask_listeners(path: Path) -> Sockets:
    """Raises Transient when nobody answers, or the answer is no."""
    with control.connect(path, timeout_s=ASK_S) as stream:
        try:
            stream.sendall(control.encode({"verb": Verb.LISTENERS}))
            line, descriptors, _, _ = socket.recv_fds(stream, control.MAX_LINE_OCTETS, 64)
        except OSError as error:
            raise Transient(f"{path}: {error}") from None
    try:
        answer = control.decode(line) if line else {}
        addresses = answer.get("listeners")
        if not answer.get("ok") or not isinstance(addresses, list) or len(addresses) != len(descriptors):
            raise Transient(f"{path} hands nothing over")
        handed = [(load(Listener, data), fd) for data, fd in zip(addresses, descriptors, strict=True)]
        if not all(_listens(fd, listener) for listener, fd in handed):
            raise Transient(f"{path} hands over what is not what it says")
    except MailError as error:
        for fd in descriptors:
            os.close(fd)
        raise Transient(str(error)) from None
    return {(listener.host, listener.port): socket.socket(fileno=fd) for listener, fd in handed}


def _listens(fd: int, listener: Listener) -> bool:
    """Whether `fd` is a listening socket of that address: a worker that was taken over may send anything."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return False
    try:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        host, port, *_ = sock.getsockname()
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        numbers = {socket.inet_pton(sock.family, text) for text in (host, listener.host or host)}
        return bool(listens) and port == listener.port and len(numbers) == 1
    except OSError:  # the listener is of the other family
        return False
    finally:
        sock.detach()
