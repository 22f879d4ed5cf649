"""A suite in a scratch folder, driven by the command line as a person would, and its clients."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maillib.settings.base import Json
from orchestrator import processes
from orchestrator.place import Place

LIMIT_S = 60.0
"""For anything that a test waits for."""


@dataclass(frozen=True)
class Done:
    """What a verb said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class RealSuite:
    """Everything lives in `folder`; `workers` replaces the worker scripts of the project."""

    def __init__(self, folder: Path, workers: Path | None = None) -> None:
        self.folder = folder
        self.spec_path = folder / "services.yaml"
        self.place = Place(folder / "var")
        script = [str(Path(__file__).with_name("with_workers.py")), str(workers)]
        self.command = [sys.executable, *script] if workers else [str(Path(sys.executable).with_name("postroom"))]

    @classmethod
    def of_lines(cls, folder: Path) -> "RealSuite":
        """One whose `pop` services speak lines only: for tests of the control plane alone."""
        workers = folder / "workers"
        workers.mkdir()
        (workers / "pop.py").symlink_to(Path(__file__).with_name("line_service.py"))
        return cls(folder, workers)

    def write(self, spec: Mapping[str, Json]) -> None:
        """The spec; JSON is YAML."""
        self.spec_path.write_text(json.dumps({"version": 1, "hostname": "mail.example.test", **spec}))

    def apply_lines(self, **depends: list[str]) -> dict[str, int]:
        """Apply a spec of line services, each name with what it depends on. The port of each."""
        ports = dict(zip(depends, free_ports(len(depends)), strict=True))
        services: dict[str, Json] = {
            name: {"protocol": "pop", "listen": [{"address": f"127.0.0.1:{ports[name]}"}], "depends_on": [*others]}
            for name, others in depends.items()
        }
        self.write({"services": services})
        self.ok("apply")
        return ports

    def run(self, *arguments: str) -> Done:
        """One verb, to its end."""
        command = [*self.command, "-f", str(self.spec_path), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def begin(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """One verb, to be killed half-way."""
        command = [*self.command, "-f", str(self.spec_path), *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ok(self, *arguments: str) -> Done:
        """A verb that has to end with 0."""
        done = self.run(*arguments)
        assert done.code == 0, f"{arguments}: {done}"
        return done

    def supervisorctl(self, *arguments: str) -> Done:
        command = [
            sys.executable,
            "-m",
            "supervisor.supervisorctl",
            "-c",
            str(self.folder / "var/run/supervisord.conf"),
        ]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def status(self) -> Any:
        """`services` of `status --json`."""
        return self.run("status", "--json").json["services"]

    def pids(self) -> dict[str, int]:
        return {name: row["pid"] for name, row in self.status().items()}

    def processes(self) -> set[int]:
        return {process.pid for process in processes.of_suite(self.place)}

    def generation(self) -> int | None:
        found: int | None = self.run("status", "--json").json["generation"]
        return found

    def take_down(self) -> None:
        self.run("down", "--drain", "0s")
        assert not self.processes()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def eventually(condition: Callable[[], object], what: str) -> None:
    """Look again and again until `condition` holds."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


class LineClient:
    """A connection to a line service: lines out, lines back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self._file = self._socket.makefile("rb")
        self.greeting = self._file.readline()

    def say(self, line: str) -> bytes:
        self._socket.sendall(line.encode() + b"\r\n")
        return self._file.readline()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> "LineClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_refused(port: int) -> bool:
    """Whether a new connection is refused."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it was in the backlog at the moment of the stop
    return False
