"""A private Dovecot beside ours, for comparison: POP and IMAP, its own configuration, under a scratch folder.

Tuned as its manual advises for many short sessions: log-in processes that serve many connections, mail processes that
serve many sessions one after another, the authentication cache on and the password in clear, so that no log-in costs
a hash. Its master has to be started by root.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from benchmarks.suite import HOST, LIMIT_S, PASSWORD, USER, free_ports

DOVECOT = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin")

CONFIGURATION = """
protocols = pop3 imap
listen = {host}
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
ssl = no
disable_plaintext_auth = no
default_login_user = dovenull
default_internal_user = dovecot
default_client_limit = 5000
mail_max_userip_connections = 5000
first_valid_uid = 1
mail_location = {location}:{folder}/mail
mail_fsync = optimized
auth_mechanisms = plain
auth_cache_size = 10M
auth_cache_ttl = 1 hour
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail
}}
service pop3-login {{
  service_count = 0
  process_min_avail = 1
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service pop3 {{
  service_count = 1000
  process_min_avail = 1
}}
service imap-login {{
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service imap {{
  service_count = 1000
  process_min_avail = 4
  process_limit = 3000
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
"""


Location = Literal["maildir", "sdbox"]
"""How it keeps mail; only a Maildir can be filled with files."""


def missing() -> str | None:
    """Why there is no Dovecot to compare with."""
    if DOVECOT is None:
        return "no Dovecot is installed"
    return None if os.geteuid() == 0 else "Dovecot's master needs root"


class Dovecot:
    """One that runs, with one user."""

    def __init__(self, folder: Path, location: Location) -> None:
        self.folder = folder
        self.pop_port, self.imap_port = free_ports(2)
        self._owner = pwd.getpwnam("mail")
        self._new = folder / "mail/new"
        self._new.mkdir(parents=True)
        self._own(folder / "mail", self._new)
        (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        (folder / "dovecot.conf").write_text(
            CONFIGURATION.format(
                folder=folder,
                host=HOST,
                port=self.pop_port,
                imap_port=self.imap_port,
                location=location,
                uid=self._owner.pw_uid,
                gid=self._owner.pw_gid,
            )
        )

    def fill(self, messages: int, octets: bytes) -> None:
        """Put copies of a message into the Maildir."""
        for number in range(messages):
            path = self._new / f"{time.time():.6f}.{number}.benchmark"
            path.write_bytes(octets)
            self._own(path)

    def start(self) -> None:
        assert DOVECOT is not None
        subprocess.run([DOVECOT, "-c", str(self.folder / "dovecot.conf")], check=True, timeout=LIMIT_S)
        deadline = time.monotonic() + LIMIT_S
        while not self._answers():
            if time.monotonic() > deadline:
                sys.exit(f"Dovecot does not answer: {(self.folder / 'log').read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        assert DOVECOT is not None
        subprocess.run([DOVECOT, "-c", str(self.folder / "dovecot.conf"), "stop"], check=True, timeout=LIMIT_S)

    @property
    def master(self) -> int:
        """Its pid; every process of it descends from it."""
        return int((self.folder / "run/master.pid").read_text())

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.pop_port), timeout=LIMIT_S) as connection:
                return connection.recv(100).startswith(b"+OK")
        except ConnectionRefusedError:
            return False

    def _own(self, *paths: Path) -> None:
        for path in paths:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)


@contextlib.contextmanager
def running(messages: int = 0, octets: bytes = b"", *, location: Location = "maildir") -> Iterator[Dovecot]:
    """A Dovecot that is up, with so many copies of a message in the maildrop; stopped and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="dovecot-bench-") as folder:
        Path(folder).chmod(0o755)  # its processes are not root
        dovecot = Dovecot(Path(folder), location)
        dovecot.fill(messages, octets)
        dovecot.start()
        try:
            yield dovecot
        finally:
            dovecot.stop()
