"""The real SMTP worker, alone on free ports, and clients that others wrote: smtplib, swaks, curl."""

import asyncio
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.queue import EmbeddedQueue
from maillib.ports.queue import QueueItem
from maillib.settings.service import Listener, TlsFiles
from maillib.settings.smtp import SmtpSettings
from orchestrator import certificates
from tests.support.program import Program, free_port, until

WORKER = Path(__file__).parents[2] / "workers" / "smtp.py"
USER = "alice@example.test"
PASSWORD = "sesame, open"


@dataclass(frozen=True)
class Smtp:
    program: Program
    mx: int
    submission: int
    implicit: int
    ca: Path

    @property
    def client_tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def queued(self) -> list[tuple[QueueItem, bytes]]:
        """Everything in the spool, with its octets, oldest first."""

        async def browse() -> list[QueueItem]:
            queue = EmbeddedQueue(self.program.state_dir)
            try:
                return [item async for item in queue.browse()]
            finally:
                await queue.close()

        items = sorted(asyncio.run(browse()), key=lambda item: item.id)
        return [(item, next(self.program.state_dir.rglob(f"{item.id}.eml")).read_bytes()) for item in items]


@pytest.fixture
def smtp(tmp_path: Path) -> Iterator[Smtp]:
    program = Program(tmp_path, WORKER)

    async def furnish() -> None:
        directory = EmbeddedDirectory(program.state_dir)
        await directory.add_domain("example.test")
        await directory.add_account(Address.parse(USER), PASSWORD)
        await directory.add_account(Address.parse("bob@example.test"))
        await directory.close()

    asyncio.run(furnish())
    certificates.ensure(program.state_dir, "mail.example.test")
    tls = certificates.folder(program.state_dir)
    mx, submission, implicit = (free_port() for _ in range(3))
    try:
        program.start(
            protocol="smtp",
            settings=SmtpSettings(),
            tls=TlsFiles(certificate=str(tls / "cert.pem"), private_key=str(tls / "key.pem")),
            listen=(
                Listener(host="127.0.0.1", port=mx, tls="starttls", role="mx"),
                Listener(host="127.0.0.1", port=submission, tls="starttls", role="submission"),
                Listener(host="127.0.0.1", port=implicit, tls="implicit", role="submission"),
            ),
        )
        yield Smtp(program, mx, submission, implicit, tls / "ca.pem")
    finally:
        program.clear()


def message() -> EmailMessage:
    made = EmailMessage()
    made["From"] = f"Alice Liddell <{USER}>"
    made["To"] = "bob@example.test"
    made["Subject"] = "Grüße"
    made.set_content("one\n.\n..two\n")
    return made


def test_smtplib_as_a_user(smtp: Smtp) -> None:
    """A user sends by STARTTLS and by implicit TLS, with either mechanism; the queue ID in the 250 is in the spool."""
    with smtplib.SMTP("localhost", smtp.submission) as client:
        client.starttls(context=smtp.client_tls)
        client.login(USER, PASSWORD)
        assert client.send_message(message()) == {}
    with smtplib.SMTP_SSL("localhost", smtp.implicit, context=smtp.client_tls) as client:
        client.ehlo()
        client.user, client.password = USER, PASSWORD
        client.auth("LOGIN", client.auth_login)
        client.mail(USER)
        client.rcpt("x@elsewhere.test")
        code, text = client.data(message().as_bytes(policy=policy.SMTP))
        assert code == 250
        queue_id = text.decode().rpartition(" ")[2]
    (first, octets), (second, _) = smtp.queued()
    assert second.id == queue_id
    assert first.envelope is not None and first.envelope.account is not None
    assert b"with ESMTPSA id " in octets
    assert octets.endswith(b"one\r\n.\r\n..two\r\n")


def test_smtplib_beyond_ascii(smtp: Smtp) -> None:
    """An address beyond ASCII is sent with SMTPUTF8 and kept as it was."""
    with smtplib.SMTP("localhost", smtp.mx) as client:
        client.ehlo()
        client.mail("jürgen@bücher.test", ["SMTPUTF8", "BODY=8BITMIME"])
        assert client.rcpt("bob@example.test")[0] == 250
        assert client.data("Subject: Grüße\r\n\r\nä".encode())[0] == 250
    ((item, octets),) = smtp.queued()
    assert item.envelope is not None
    assert str(item.envelope.sender) == "jürgen@xn--bcher-kva.test"
    assert octets.endswith("Subject: Grüße\r\n\r\nä\r\n".encode())


def test_smtplib_is_refused(smtp: Smtp) -> None:
    """Wrong passwords, foreign senders, relaying and unknown users raise what a client expects."""
    with smtplib.SMTP("localhost", smtp.submission) as client:
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.login(USER, PASSWORD)  # nothing is offered in clear
        client.starttls(context=smtp.client_tls)
        for user in (USER, "nobody@example.test"):
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                client.login(user, "wrong")
            assert (refused.value.smtp_code, refused.value.smtp_error) == (535, b"5.7.8 User name or password is wrong")
        client.login(USER, PASSWORD)
        with pytest.raises(smtplib.SMTPSenderRefused) as sender:
            client.sendmail("bob@example.test", ["x@elsewhere.test"], "x")
        assert sender.value.smtp_code == 553
    with smtplib.SMTP("localhost", smtp.mx) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as recipients:
            client.sendmail("c@elsewhere.test", ["x@elsewhere.test", "nobody@example.test"], "x")
        assert [code for code, _ in recipients.value.recipients.values()] == [550, 550]
    assert smtp.queued() == []


def test_swaks(smtp: Smtp) -> None:
    """swaks sends by STARTTLS with AUTH PLAIN, and with pipelining."""
    if shutil.which("swaks") is None:
        pytest.skip("swaks is not installed")
    arguments = ["--server", f"localhost:{smtp.submission}", "--from", USER, "--to", "x@elsewhere.test"]
    login = ["--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD]
    done = subprocess.run(["swaks", *arguments, *login, "--pipeline"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ok: queued as" in done.stdout
    assert len(smtp.queued()) == 1


def test_curl(smtp: Smtp, tmp_path: Path) -> None:
    """curl sends over implicit TLS, trusting the private CA; a wrong password is its exit status 67."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    text = tmp_path / "message"
    text.write_bytes(b"From: alice@example.test\r\nSubject: x\r\n\r\n.dot\r\n")
    command = [
        "curl",
        "-sS",
        "--cacert",
        str(smtp.ca),
        f"smtps://localhost:{smtp.implicit}",
        "--upload-file",
        str(text),
    ]
    envelope = ["--mail-from", USER, "--mail-rcpt", "bob@example.test"]
    good, bad = (
        subprocess.run([*command, *envelope, "--user", f"{USER}:{word}"], capture_output=True, text=True, check=False)
        for word in (PASSWORD, "wrong")
    )
    assert (good.returncode, bad.returncode) == (0, 67), good.stderr + bad.stderr
    ((_, octets),) = smtp.queued()
    assert octets.endswith(b"Subject: x\r\n\r\n.dot\r\n")


def test_stop_in_the_middle_of_a_message(smtp: Smtp) -> None:
    """After SIGTERM new clients are refused at once, and the message that was on its way gets its 250."""
    with smtplib.SMTP("localhost", smtp.mx) as client:
        client.ehlo()
        client.mail("c@elsewhere.test")
        client.rcpt("bob@example.test")
        assert client.docmd("DATA")[0] == 354
        client.send(b"Subject: x\r\n\r\nfirst half,")
        smtp.program.masters[0].terminate()
        until(lambda: _refused(smtp.mx), "refused after the stop")
        client.send(b" second half\r\n.\r\n")
        assert client.getreply()[0] == 250
        client.mail("c@elsewhere.test")
        assert client.docmd("RSET")[0] == 250
    until(lambda: smtp.program.masters[0].poll() is not None or None, "end of the master")
    assert len(smtp.queued()) == 1


def _refused(port: int) -> bool:
    try:
        with smtplib.SMTP("localhost", port):
            return False
    except OSError:
        return True
