"""Lists, catch-alls and what is disabled, in a running suite: what a verb has returned from holds at once."""

import smtplib
from email import message_from_bytes
from email.message import Message

import pytest

from tests.support.mail_suite import ALICE, BOB, PASSWORD, MailSuite
from tests.support.real_suite import LIMIT_S, eventually

pytestmark = pytest.mark.real

TEAM = "team@example.test"


def refusal(suite: MailSuite, sender: str, recipient: str) -> str | None:
    """What the MX says to a recipient; None: it takes the mail."""
    with smtplib.SMTP("127.0.0.1", suite.mx, timeout=LIMIT_S) as client:
        client.helo()
        client.mail(sender)
        code, reply = client.rcpt(recipient)
        return None if code == 250 else f"{code} {reply.decode()}"


def submit(suite: MailSuite, sender: str, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", suite.submission, timeout=LIMIT_S) as client:
        client.login(sender, PASSWORD)
        client.sendmail(sender, [recipient], f"From: {sender}\r\nTo: {recipient}\r\nSubject: news\r\n\r\ntext\r\n")


def stored(suite: MailSuite, user: str, count: int) -> list[Message]:
    """The messages of a user once there are `count`."""
    eventually(lambda: suite.count(user) == count, f"{count} messages of {user}")
    return [message_from_bytes(octets) for octets in suite.messages(user)]


def test_lists_in_a_running_suite(mail_suite: MailSuite) -> None:
    """Members get mail of the list and only they may write, a catch-all takes the rest, what is disabled is refused:
    each at once, and no process has been started anew."""
    suite = mail_suite
    suite.start()
    before = suite.pids()

    suite.ok("list", "add", TEAM, "--member", "alice", "--member", "bob", "--name", "The team", "--owner", "bob")
    assert (refusal(suite, "x@elsewhere.test", TEAM) or "").startswith("550 5.7.1 Only members")
    assert (refusal(suite, ALICE, TEAM) or "").startswith("550 5.7.1 Only members")
    submit(suite, ALICE, TEAM)
    for user in (ALICE, BOB):
        [message] = stored(suite, user, 1)
        assert message["Return-Path"] == "<team-owner@example.test>"
        assert message["List-Id"] == '"The team" <team.example.test>'
        assert message["Subject"] == "news"

    suite.ok("list", "set", TEAM, "--post", "anyone", "--remove-member", "alice")
    assert refusal(suite, "x@elsewhere.test", TEAM) is None
    suite.ok("list", "set", TEAM, "--disabled")
    assert (refusal(suite, "x@elsewhere.test", TEAM) or "").startswith("550 5.1.1")

    assert (refusal(suite, "x@elsewhere.test", "who@example.test") or "").startswith("550 5.1.1")
    suite.ok("domain", "set", "example.test", "--catch-all", "bob")
    suite.send("caught", "who@example.test")
    stored(suite, BOB, 2)
    assert (refusal(suite, "x@elsewhere.test", TEAM) or "").startswith("550 5.1.1")

    suite.ok("account", "set", ALICE, "--protocol", "pop")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submit(suite, ALICE, BOB)
    assert suite.count(ALICE) == 1
    suite.ok("domain", "set", "example.test", "--disabled")
    assert (refusal(suite, "x@elsewhere.test", BOB) or "").startswith("550 5.1.1")

    assert suite.pids() == before
