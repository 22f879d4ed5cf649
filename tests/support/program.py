"""One service without supervisord: a real master with real workers, and a client for its lines."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from maillib import control
from maillib.control import Message, Verb
from maillib.errors import Transient
from maillib.settings import base
from maillib.settings.pop import PopSettings
from maillib.settings.service import Limits, Listener, ServiceConfig, Stop

SCRIPT = Path(__file__).with_name("line_service.py")
PATIENCE_S = 20.0

T = TypeVar("T")


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def until(look: Callable[[], T | bool | None], what: str) -> T:
    """What `look` gives once it is something; waits for it as long as a slow machine may need."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found  # type: ignore[return-value]
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE_S:g} s")


class Client:
    """One connection that speaks lines."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection((host, port), timeout=PATIENCE_S)
        self.file = self.sock.makefile("rwb")
        try:
            self.greeting = self.file.readline()
        except OSError:
            self.close()
            raise

    def say(self, line: str) -> bytes:
        self.file.write(line.encode() + b"\r\n")
        self.file.flush()
        return self.file.readline()

    def hear(self) -> bytes:
        return self.file.readline()

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Program:
    """A service of `script`, named `lines`: its configuration, its master and how to ask it.

    Several of one folder, each with a name of its own, share its state directory.
    """

    def __init__(self, folder: Path, script: Path = SCRIPT, *, name: str = "lines") -> None:
        self.folder = folder
        self.script = script
        self.name = name
        self.port = free_port()
        self.state_dir = folder / "var"
        self.state_dir.mkdir(exist_ok=True)
        self.file = folder / f"{name}.json"
        self.config = ServiceConfig(
            name=name,
            protocol="pop",
            hostname="mail.example.test",
            state_dir=os.fspath(self.state_dir),
            run_dir=os.fspath(control.run_dir(self.state_dir)),
            processes=2,
            user=None,
            listen=(Listener(host="127.0.0.1", port=self.port, tls="none"),),
            stop=Stop(),
            limits=Limits(),
            tls=None,
            settings=PopSettings(),
        )
        self.masters: list[subprocess.Popen[bytes]] = []
        self.generation = 0

    @property
    def run(self) -> Path:
        return Path(self.config.run_dir)

    @property
    def log(self) -> str:
        return (self.state_dir / "log" / f"{self.name}.log").read_text()

    def change(self, **changes: object) -> None:
        """Write the configuration, changed, as the next generation."""
        self.config = dataclasses.replace(self.config, **changes)  # type: ignore[arg-type]
        self.generation += 1
        content = {"schema_version": 1, "generation": self.generation, "digest": "", "service": base.dump(self.config)}
        aside = self.file.with_suffix(".tmp")
        aside.write_text(json.dumps(content))
        aside.replace(self.file)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start a master; it may not be ready yet."""
        master = subprocess.Popen(
            [sys.executable, self.script, "--config", self.file], stderr=subprocess.PIPE, start_new_session=True
        )
        self.masters.append(master)
        return master

    def start(self, **changes: object) -> subprocess.Popen[bytes]:
        self.change(**changes)
        master = self.launch()
        until(lambda: self.status().get("state") == "running", "workers ready")
        return master

    def ask(self, request: Message) -> Message:
        return control.ask(control.master_socket(self.run, self.name), request, timeout_s=PATIENCE_S)

    def status(self) -> Message:
        try:
            return self.ask({"verb": Verb.STATUS})
        except Transient:
            return {}

    def workers(self) -> list[int]:
        """Pids of those that serve."""
        rows = self.status().get("workers", [])
        assert isinstance(rows, list)
        return sorted(row["pid"] for row in rows if row["state"] == "ready")

    def records(self) -> list[control.WorkerRecord]:
        return list(control.read_records(self.run, self.name))

    def sessions(self) -> list[Message]:
        """Over all workers, drainers without a master included."""
        found: list[Message] = []
        for record in self.records():
            path = control.worker_socket(self.run, self.name, record.pid)
            try:
                answer = control.ask(path, {"verb": Verb.SESSIONS}, timeout_s=PATIENCE_S)
            except Transient:
                continue  # it has just ended
            rows = answer["sessions"]
            assert isinstance(rows, list)
            found += rows
        return found

    def client(self) -> Client:
        """A connection that has been greeted, or closed at once."""
        return Client(self.port)

    def is_refused(self, port: int | None = None, host: str = "127.0.0.1") -> bool:
        try:
            Client(port or self.port, host).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False  # it was in the backlog when the last copy of the socket was closed
        return False

    def clear(self) -> None:
        for master in self.masters:
            if master.poll() is None:
                master.send_signal(signal.SIGKILL)
            master.wait()
            if master.stderr is not None:
                master.stderr.close()
        for record in self.records():
            os.kill(record.pid, signal.SIGKILL)
        if not self.run.is_relative_to(self.folder):
            shutil.rmtree(control.service_dir(self.run, self.name), ignore_errors=True)
            with contextlib.suppress(OSError):  # another program of the folder is still in it
                (self.run / "services").rmdir()
                self.run.rmdir()
