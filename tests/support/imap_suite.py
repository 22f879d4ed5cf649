"""A whole suite with IMAP, two workers of it, and what strangers' clients need to reach it."""

import imaplib
import os
import pty
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from maillib.settings.base import Json
from tests.support.mail_suite import ALICE, PASSWORD, MailSuite
from tests.support.real_suite import LIMIT_S, free_ports


class ImapSuite(MailSuite):
    """SMTP, spool, IMAP and POP."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.imap, self.imaps = free_ports(2)

    def spec(self, *, processes: int = 2) -> dict[str, Json]:
        spec = super().spec()
        services = spec["services"]
        assert isinstance(services, dict)
        services["imap"] = {
            "protocol": "imap",
            "processes": processes,
            "listen": [
                {"address": f"127.0.0.1:{self.imap}", "cleartext_login": True},
                {"address": f"127.0.0.1:{self.imaps}", "tls": "implicit"},
            ],
            "limits": {"connections": 1000, "connections_per_ip": 1000},
        }
        return spec

    def start(self, *, processes: int = 2) -> None:
        super().start(processes=processes)

    @property
    def authority(self) -> Path:
        return self.place.state_dir / "tls" / "ca.pem"

    def imap_client(self, box: str | None = None, user: str = ALICE) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.imap, timeout=LIMIT_S)
        client.login(user, PASSWORD)
        if box is not None:
            assert client.select(box)[0] == "OK"
        return client

    def state(self, user: str = ALICE) -> dict[str, str]:
        """Of each mailbox: UIDVALIDITY, UIDNEXT and HIGHESTMODSEQ, which any change changes."""
        client = self.imap_client(user=user)
        found = {}
        for line in client.list()[1]:
            assert isinstance(line, bytes)
            name = line.decode().rpartition(' "/" ')[2]
            (status,) = client.status(name, "(MESSAGES UIDVALIDITY UIDNEXT HIGHESTMODSEQ)")[1]
            assert isinstance(status, bytes)
            found[name.strip('"')] = status.decode().partition("(")[2]
        client.logout()
        return found


def on_a_terminal(command: Sequence[str], environment: Mapping[str, str], folder: Path, timeout_s: float = 30) -> int:
    """Run a program that wants to see one; nobody looks. Its exit status."""
    ours, terminal = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            env=environment,
            cwd=folder,
        )
        os.close(terminal)
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        try:
            while screen.read(65536):  # it draws as long as somebody looks
                pass
        except OSError:
            pass  # what Linux says when the last one has closed the other end
        finally:
            timer.cancel()
        return process.wait()
