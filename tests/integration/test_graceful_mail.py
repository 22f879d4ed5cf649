"""Stop, start and restart while mail flows: the promises of the product, with smtplib and poplib as clients."""

import smtplib
import threading
import time

import pytest

from tests.support.mail_suite import ALICE, BOB, PASSWORD, MailSuite
from tests.support.real_suite import LIMIT_S, eventually, is_refused

pytestmark = pytest.mark.real


def test_a_stop_in_the_middle_of_retr_cuts_nobody(mail_suite: MailSuite) -> None:
    """With two processes: stop returns within a second, new connections are refused, the RETR ends whole, start serves
    another user while the old session goes on."""
    mail_suite.start(processes=2)
    body = b"0123456789" * 7 + b"\r\n"
    with smtplib.SMTP("127.0.0.1", mail_suite.mx, timeout=LIMIT_S) as client:
        client.sendmail("s@elsewhere.test", [ALICE], b"Subject: big\r\n\r\n" + body * 100_000)
    eventually(lambda: mail_suite.count() == 1, "delivery")
    with mail_suite.raw(mail_suite.pop) as sock, sock.makefile("rwb") as file:
        for command in (b"", b"USER " + ALICE.encode(), b"PASS " + PASSWORD.encode(), b"RETR 1"):
            if command:
                file.write(command + b"\r\n")
                file.flush()
            assert file.readline().startswith(b"+OK")
        began = time.monotonic()
        mail_suite.supervisorctl("stop", "pop")
        took = time.monotonic() - began
        assert took < 10, "supervisorctl itself takes most of it"
        assert is_refused(mail_suite.pop) and is_refused(mail_suite.pops)
        assert mail_suite.status()["pop"]["finishing"] == 1
        mail_suite.supervisorctl("start", "pop")
        eventually(lambda: not is_refused(mail_suite.pop), "serving again")
        assert mail_suite.messages(BOB) == []
        lines = 0
        while (line := file.readline()) != b".\r\n":
            lines += line == body
        assert lines == 100_000
        file.write(b"DELE 1\r\nQUIT\r\n")
        file.flush()
        assert file.readline().startswith(b"+OK") and file.readline().startswith(b"+OK")
    eventually(lambda: mail_suite.status()["pop"]["finishing"] == 0, "end of the drainer")
    assert mail_suite.messages() == []


def test_a_stop_in_the_middle_of_data_keeps_the_message(mail_suite: MailSuite) -> None:
    """The client whose DATA is open gets its 250, and the message is delivered."""
    mail_suite.start()
    with mail_suite.raw(mail_suite.mx) as sock, sock.makefile("rwb") as file:
        assert file.readline().startswith(b"220")
        commands = [b"HELO client.test", b"MAIL FROM:<s@elsewhere.test>", b"RCPT TO:<alice@example.test>", b"DATA"]
        for command in commands:
            file.write(command + b"\r\n")
            file.flush()
            assert file.readline()[:1] in b"23"
        file.write(b"Subject: kept\r\n\r\nfirst half\r\n")
        file.flush()
        mail_suite.supervisorctl("stop", "smtp")
        assert is_refused(mail_suite.mx) and is_refused(mail_suite.smtps)
        assert mail_suite.status()["smtp"]["state"] == "finishing"
        file.write(b"second half\r\n.\r\nQUIT\r\n")
        file.flush()
        assert file.readline().startswith(b"250")
        assert file.readline().startswith(b"221")
    mail_suite.wait_for("kept")


def test_mail_waits_in_a_readable_spool_while_it_is_stopped(mail_suite: MailSuite) -> None:
    """100 messages get their 250; the spool holds 100 readable pairs; started, it delivers each once."""
    mail_suite.start()
    mail_suite.supervisorctl("stop", "spool")
    subjects = [f"number {number}" for number in range(100)]
    for subject in subjects:
        mail_suite.send(subject)
    spool = mail_suite.place.state_dir / "spool"
    bodies = {path.stem: path.read_text() for path in spool.rglob("*.eml")}
    envelopes = {path.stem: path.read_text() for path in spool.rglob("*.json")}
    assert len(bodies) == 100 and bodies.keys() == envelopes.keys()
    assert all(text.startswith("Received: from ") for text in bodies.values())
    assert all('"alice@example.test"' in text for text in envelopes.values())
    assert len(mail_suite.run("queue", "list", "--json").json["messages"]) == 100
    mail_suite.supervisorctl("start", "spool")
    mail_suite.wait_for(*subjects)
    assert not list(spool.rglob("*.eml")) and mail_suite.run("queue", "list", "--json").json["messages"] == []


def test_restarts_under_mail_lose_nobody(mail_suite: MailSuite) -> None:
    """Ten restarts of smtp under clients in clear, in TLS and slow in DATA: every one of them gets its 250."""
    mail_suite.start(processes=2)
    sent: list[str] = []
    wrong: list[str] = []
    stop = threading.Event()

    def loop(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            subject = f"{number}-{count}"
            try:
                _send(mail_suite, subject, tls=number % 2 == 1, slow=number % 3 == 0)
            except (OSError, smtplib.SMTPException) as error:
                wrong.append(f"{subject}: {error!r}")
            else:
                sent.append(subject)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            mail_suite.ok("restart", "smtp")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert sent
    mail_suite.wait_for(*sent)


def _send(suite: MailSuite, subject: str, *, tls: bool, slow: bool) -> None:
    if tls:
        client: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", suite.smtps, timeout=LIMIT_S, context=suite.tls)
        client.login(ALICE, PASSWORD)
    else:
        client = smtplib.SMTP("127.0.0.1", suite.mx, timeout=LIMIT_S)
    with client:
        client.ehlo("client.test")
        client.mail(ALICE)
        client.rcpt(ALICE)
        assert client.docmd("DATA")[0] == 354
        client.send(f"From: {ALICE}\r\nSubject: {subject}\r\n\r\n".encode())
        if slow:
            time.sleep(0.2)  # a client that takes its time, so that restarts meet it in the middle
        client.send(b"body\r\n.\r\n")
        code, words = client.getreply()
        if code != 250:
            raise smtplib.SMTPDataError(code, words)


def test_a_queue_without_smtp_still_empties(mail_suite: MailSuite) -> None:
    """What was accepted before smtp was stopped goes out."""
    mail_suite.start()
    mail_suite.supervisorctl("stop", "spool")
    mail_suite.send("before")
    mail_suite.ok("stop", "smtp")
    mail_suite.supervisorctl("start", "spool")
    mail_suite.wait_for("before")


def test_a_new_account_and_a_new_password_are_known_at_once(mail_suite: MailSuite) -> None:
    """No service restarts, and the verb returns only when the services answer by the new data."""
    mail_suite.start()
    before = mail_suite.pids()
    secret = mail_suite.folder / "password"
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        mail_suite.send("too early", to="carol@example.test")
    mail_suite.ok("account", "add", "carol@example.test", "--password-file", str(secret))
    mail_suite.send("in time", to="carol@example.test")
    mail_suite.ok("alias", "add", "team@example.test", "carol@example.test", ALICE)
    mail_suite.send("for all", to="team@example.test")
    mail_suite.wait_for("in time", "for all", user="carol@example.test")
    mail_suite.wait_for("for all")
    assert mail_suite.pids() == before
