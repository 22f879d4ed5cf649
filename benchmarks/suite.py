"""A suite of our own for one measurement: SMTP, spool and POP, one account, driven by the command line."""

import contextlib
import json
import os
import poplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from maillib.settings.base import Json

HOST = "127.0.0.1"
USER = "user@example.test"
PASSWORD = "benchmark"

LIMIT_S = 120.0
"""For anything that is waited for."""


class Suite:
    """One that runs, in `folder`."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.smtp_port, self.pop_port = free_ports(2)
        self._spec = folder / "services.yaml"
        self._spec.write_text(json.dumps(self._services(processes)))

    def _services(self, processes: int) -> dict[str, Json]:
        limits: dict[str, Json] = {"connections": 1000, "connections_per_ip": 1000}
        smtp: list[Json] = [{"address": f"{HOST}:{self.smtp_port}", "role": "mx", "tls": "none"}]
        pop: list[Json] = [{"address": f"{HOST}:{self.pop_port}", "tls": "none", "cleartext_login": True}]
        return {
            "version": 1,
            "hostname": "mail.example.test",
            "services": {
                "smtp": {"protocol": "smtp", "processes": processes, "listen": smtp, "limits": limits},
                "spool": {"protocol": "spool", "processes": processes},
                "pop": {"protocol": "pop", "processes": processes, "listen": pop, "limits": limits},
            },
        }

    def start(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD + "\n")
        self.verb("domain", "add", USER.partition("@")[2])
        self.verb("account", "add", USER, "--password-file", str(secret))
        self.verb("apply")

    def down(self) -> None:
        self.verb("down", "--drain", "0s")

    def verb(self, *arguments: str) -> str:
        """One verb of `postroom`, to its end; what it printed. It has to succeed."""
        command = [str(Path(sys.executable).with_name("postroom")), "-f", str(self._spec), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr}")
        return done.stdout

    def pids(self) -> dict[str, int]:
        """The master of each service."""
        services = json.loads(self.verb("status", "--json"))["services"]
        return {name: service["pid"] for name, service in services.items()}

    def wait_until_delivered(self) -> None:
        """Until nothing is in the spool any more."""
        messages = self.folder / "var/spool/messages"
        deadline = time.monotonic() + LIMIT_S
        while True:
            with os.scandir(messages) as entries:
                if next(entries, None) is None:
                    return
            if time.monotonic() > deadline:
                sys.exit(f"after {LIMIT_S:.0f} s {sum(1 for _ in messages.iterdir())} messages are still in the spool")
            time.sleep(0.01)

    def login(self) -> poplib.POP3:
        """A session of the user; the caller ends it."""
        client = poplib.POP3(HOST, self.pop_port, timeout=LIMIT_S)
        client.user(USER)
        client.pass_(PASSWORD)
        return client


@contextlib.contextmanager
def running(processes: int = 1) -> Iterator[Suite]:
    """A suite that is up, with so many workers per service; down and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as folder:
        suite = Suite(Path(folder), processes)
        try:
            suite.start()
            yield suite
        finally:
            suite.down()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [int(sock.getsockname()[1]) for sock in sockets]
