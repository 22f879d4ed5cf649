"""A whole suite (SMTP, spool, POP) with two accounts, and strangers' clients for it: smtplib and poplib."""

import poplib
import smtplib
import socket
import ssl
from pathlib import Path

from maillib.settings.base import Json
from tests.support.real_suite import LIMIT_S, RealSuite, eventually, free_ports

PASSWORD = "correct horse"
ALICE = "alice@example.test"
BOB = "bob@example.test"


class MailSuite(RealSuite):
    """Ports are chosen when it is made; `start` applies."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.mx, self.submission, self.smtps, self.pop, self.pops = free_ports(5)

    def spec(self, *, processes: int = 1) -> dict[str, Json]:
        def at(port: int, **more: Json) -> dict[str, Json]:
            return {"address": f"127.0.0.1:{port}", **more}

        submission = at(self.submission, role="submission", cleartext_login=True)
        listen: list[Json] = [
            at(self.mx, role="mx"),
            submission,
            at(self.smtps, role="submission", tls="implicit"),
        ]
        limits: dict[str, Json] = {"connections": 1000, "connections_per_ip": 1000}
        return {
            "services": {
                "smtp": {"protocol": "smtp", "processes": processes, "listen": listen, "limits": limits},
                "spool": {"protocol": "spool"},
                "pop": {
                    "protocol": "pop",
                    "processes": processes,
                    "listen": [at(self.pop, cleartext_login=True), at(self.pops, tls="implicit")],
                    "limits": limits,
                },
            }
        }

    def start(self, *, processes: int = 1) -> None:
        self.write(self.spec(processes=processes))
        secret = self.folder / "password"
        secret.write_text(PASSWORD + "\n")
        self.ok("domain", "add", "example.test")
        for address in (ALICE, BOB):
            self.ok("account", "add", address, "--password-file", str(secret))
        self.ok("apply")

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts the private CA, and nobody else."""
        return ssl.create_default_context(cafile=self.place.state_dir / "tls" / "ca.pem")

    def send(self, subject: str, to: str = ALICE) -> None:
        """One message through the MX listener."""
        with smtplib.SMTP("127.0.0.1", self.mx, timeout=LIMIT_S) as client:
            client.sendmail("sender@elsewhere.test", [to], f"Subject: {subject}\r\n\r\nbody of {subject}\r\n")

    def login(self, user: str = ALICE) -> poplib.POP3:
        """A session of `user`; the caller ends it."""
        client = poplib.POP3("127.0.0.1", self.pop, timeout=LIMIT_S)
        client.user(user)
        client.pass_(PASSWORD)
        return client

    def count(self, user: str = ALICE) -> int:
        """How many messages are in the maildrop."""
        client = self.login(user)
        count, _ = client.stat()
        client.quit()
        return count

    def messages(self, user: str = ALICE) -> list[bytes]:
        """Every message of the maildrop, octets as they come."""
        client = self.login(user)
        count, _ = client.stat()
        found = [b"\r\n".join(client.retr(number + 1)[1]) + b"\r\n" for number in range(count)]
        client.quit()
        return found

    def subjects(self, user: str = ALICE) -> list[str]:
        lines = [line for message in self.messages(user) for line in message.split(b"\r\n")]
        return [line.decode().removeprefix("Subject: ") for line in lines if line.startswith(b"Subject: ")]

    def wait_for(self, *subjects: str, user: str = ALICE) -> None:
        eventually(lambda: sorted(self.subjects(user)) == sorted(subjects), f"{len(subjects)} messages of {user}")

    def raw(self, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
