"""The control socket of a worker: asked by the command line, by the agent, and by a new master.

It outlives the worker's master, which is how drainers and masterless workers are found and spoken to.
"""

import asyncio
import os
import socket
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from maillib import control
from maillib.control import Message, Verb
from maillib.errors import Transient

if TYPE_CHECKING:
    from maillib.runtime.worker import Worker

REQUEST_S = 2.0
"""How long a client may take to ask, and to take the answer."""

MAX_REQUEST_OCTETS = 4096


class WorkerControl:
    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._sock: socket.socket | None = None
        self._path: Path | None = None
        self._task: asyncio.Task[None] | None = None
        self._clients: set[asyncio.Task[None]] = set()

    def listen(self, path: Path) -> None:
        path.unlink(missing_ok=True)  # of an earlier process with our pid
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(os.fspath(path))
        sock.listen(16)
        sock.setblocking(False)
        self._sock, self._path = sock, path
        self._task = asyncio.get_running_loop().create_task(self._serve(sock))

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._sock is not None and self._path is not None:
            self._sock.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                stream, _ = await loop.sock_accept(sock)
            except OSError:
                await asyncio.sleep(1.0)  # no descriptor free: the mail sessions come first
                continue
            task = loop.create_task(self._client(stream))
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)

    async def _client(self, stream: socket.socket) -> None:
        with stream:
            stream.setblocking(False)
            if not control.peer_is_trusted(stream):
                return
            try:
                async with asyncio.timeout(REQUEST_S):
                    await self._answer(stream, await self._request(stream))
            except (OSError, TimeoutError, Transient):
                return  # it went away, or never asked: nobody waits for an answer

    async def _request(self, stream: socket.socket) -> Message:
        loop = asyncio.get_running_loop()
        data = b""
        while b"\n" not in data and len(data) < MAX_REQUEST_OCTETS:
            chunk = await loop.sock_recv(stream, MAX_REQUEST_OCTETS)
            if not chunk:
                break
            data += chunk
        return control.decode(data.partition(b"\n")[0])

    async def _answer(self, stream: socket.socket, request: Message) -> None:
        loop = asyncio.get_running_loop()
        worker = self._worker
        limit_s = request.get("limit_s")
        match request.get("verb"):
            case Verb.STATUS:
                answer = worker.status
            case Verb.SESSIONS:
                answer = {"ok": True, "sessions": [asdict(session.describe()) for session in worker.registry]}
            case Verb.DRAIN if worker.is_draining and isinstance(limit_s, (int, float)):
                worker.drain(limit_s, reason="asked to hurry")
                answer = {"ok": True}
            case Verb.LISTENERS if not worker.has_master and not worker.is_draining:
                descriptors = [sock.fileno() for _, sock in worker.listeners]
                described: list[object] = [asdict(listener) for listener, _ in worker.listeners]
                socket.send_fds(stream, [control.encode({"ok": True, "listeners": described})], descriptors)
                worker.handed_over()
                return
            case Verb.TAKEN if not worker.has_master:
                worker.taken()
                answer = {"ok": True}
            case verb:
                answer = {"ok": False, "error": f"{verb!r} cannot be asked of this worker now"}
        await loop.sock_sendall(stream, control.encode(answer))
