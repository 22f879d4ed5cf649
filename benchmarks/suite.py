"""A suite of our own for one measurement: SMTP, spool, IMAP and POP, driven by the command line.

Its users are `user@example.test` and as many numbered ones as wanted: `1user@example.test`, …
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import argon2

from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.index import EmbeddedIndex
from maillib.settings.base import Json

HOST = "127.0.0.1"
USER = "user@example.test"
PASSWORD = "benchmark"

LIMIT_S = 120.0
"""For anything that is waited for."""

ROOM: dict[str, Json] = {"connections": 1000, "connections_per_ip": 1000}
"""Limits that let one host connect as often as it likes."""


class Suite:
    """One that runs, in `folder`."""

    def __init__(self, folder: Path, processes: int, users: int, limits: dict[str, Json]) -> None:
        self.folder = folder
        self._users = users_named(users)
        self.smtp_port, self.starttls_port = free_ports(2)
        self.pop_port, self.pops_port, self.imap_port, self.imaps_port = free_ports(4)
        self._spec = folder / "services.yaml"
        self._spec.write_text(json.dumps(self._services(processes, limits)))

    def _services(self, processes: int, limits: dict[str, Json]) -> dict[str, Json]:
        smtp: list[Json] = [
            {"address": f"{HOST}:{self.smtp_port}", "role": "mx", "tls": "none"},
            {"address": f"{HOST}:{self.starttls_port}", "role": "mx"},
        ]
        pop: list[Json] = [
            {"address": f"{HOST}:{self.pop_port}", "tls": "none", "cleartext_login": True},
            {"address": f"{HOST}:{self.pops_port}", "tls": "implicit"},
        ]
        imap: list[Json] = [
            {"address": f"{HOST}:{self.imap_port}", "tls": "none", "cleartext_login": True},
            {"address": f"{HOST}:{self.imaps_port}", "tls": "implicit"},
        ]
        return {
            "version": 1,
            "hostname": "mail.example.test",
            "accounts": "accounts.yaml",
            "services": {
                "smtp": {
                    "protocol": "smtp",
                    "processes": processes,
                    "listen": smtp,
                    "limits": limits,
                    "settings": {"max_recipients": 10_000},
                },
                "spool": {"protocol": "spool", "processes": processes},
                "imap": {"protocol": "imap", "processes": processes, "listen": imap, "limits": limits},
                "pop": {"protocol": "pop", "processes": processes, "listen": pop, "limits": limits},
            },
        }

    def start(self) -> None:
        password: dict[str, Json] = {"password_hash": password_hash()}
        users: dict[str, Json] = {user.partition("@")[0]: password for user in self._users}
        domains: dict[str, Json] = {USER.partition("@")[2]: {"users": users}}
        (self.folder / "accounts.yaml").write_text(json.dumps({"version": 1, "domains": domains}))
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

    def delivered(self) -> int:
        """Messages in the mailboxes of all users, as the index counts them; their bodies are as many."""
        bodies = sum(1 for _ in (self.folder / "var/mail").glob("*/*/*.eml"))
        rows = asyncio.run(self._rows())
        if bodies != rows:
            sys.exit(f"the indexes name {rows} messages, there are {bodies} bodies")
        return rows

    async def _rows(self) -> int:
        state_dir = self.folder / "var"
        directory = EmbeddedDirectory(state_dir)
        index = EmbeddedIndex(state_dir, directory.account)
        try:
            entries = await directory.entries()
            return sum([(await index.usage(account.id)).messages for account in entries.accounts])
        finally:
            await index.close()
            await directory.close()


@contextlib.contextmanager
def running(processes: int = 1, users: int = 0, limits: dict[str, Json] = ROOM) -> Iterator[Suite]:
    """A suite that is up, with so many workers per service and numbered users; down and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as folder:
        suite = Suite(Path(folder), processes, users, limits)
        try:
            suite.start()
            yield suite
        finally:
            suite.down()


def password_hash() -> str:
    """Of the password, at the cost that ours has."""
    return argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash(PASSWORD)


def users_named(count: int) -> list[str]:
    """The one user, and so many numbered ones."""
    return [USER, *(f"{number}{USER}" for number in range(1, count + 1))]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [int(sock.getsockname()[1]) for sock in sockets]
