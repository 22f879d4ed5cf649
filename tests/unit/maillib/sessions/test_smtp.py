"""What becomes of a message: octets, envelope, trace, and nothing of one that is refused."""

import asyncio

import pytest

from maillib.ports.queue import RecipientState
from tests.support.smtp_world import Queued, SmtpWorld

MX = b"EHLO client.test\r\nMAIL FROM:<carol@elsewhere.test>%s\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
LOGIN = b"EHLO client.test\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZXNhbWUsIG9wZW4=\r\n"
SUBMISSION = LOGIN + b"MAIL FROM:<alice@example.test>\r\nRCPT TO:<x@elsewhere.test>\r\nDATA\r\n"


def talk(opening: bytes, data: bytes, *, submission: bool = False) -> tuple[list[Queued], bytes]:
    """What is queued after one message, and the last reply but that to QUIT."""

    async def main() -> tuple[list[Queued], bytes]:
        world = SmtpWorld()
        async with (
            asyncio.timeout(30),
            world.serve("submission" if submission else "mx", cleartext_login=submission) as live,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
            writer.write(opening)
            await reader.readuntil(b"354 End data with <CR><LF>.<CR><LF>\r\n")
            writer.write(data + b".\r\nQUIT\r\n")
            reply = (await reader.read()).splitlines()[-2]
            writer.close()
            await writer.wait_closed()
        assert world.queue.open_drafts == 0
        return world.queue.messages, reply

    return asyncio.run(main())


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n\r\n",
        b"Subject: header only\r\n",
        b"no header at all\r\n",
        b"Subject: x\r\n\r\ntext\r\n\r\n\r\n",
        b"Subject: x\r\n\r\n" + b"y" * 998 + b"\r\n",
        b"Subject: x\r\n\r\n" + b"y" * 200_000 + b"\r\n",
        b"Subject: caf\xe9\r\n\r\n" + bytes(range(128, 256)) + b"\0\r\n",
        b"Subject: x\r\n\r\n" + b"line\r\n" * 100_000,
        b"X: " + b"y" * 70_000 + b"\r\n\r\nbody\r\n",
        b"one line\r\n" * 200_000,
        b"Subject:x\r\n \r\n\tfolded  \r\n\r\n trailing \t\r\n",
    ],
    ids=lambda message: f"{len(message)}",
)
def test_octets_are_kept(message: bytes) -> None:
    """Our trace stands in front; behind it the message is as it came, octet for octet."""
    (queued,), reply = talk(MX % b"", message)
    assert reply == b"250 2.0.0 Ok: queued as Q1"
    trace, rest = queued.body[: -len(message) or None], queued.body[len(queued.body) - len(message) :]
    assert rest == message
    first, *folded = trace.removesuffix(b"\r\n").split(b"\r\n")
    assert first == b"Received: from client.test ([127.0.0.1])"
    assert all(line.startswith(b"\t") for line in folded)


def test_dots_are_unstuffed() -> None:
    """The client's stuffed dots are gone, all others are there."""
    (queued,), _ = talk(MX % b"", b"\r\n..\r\n...x\r\na..b\r\n.y\r\n")
    assert queued.body.endswith(b"\r\n\r\n.\r\n..x\r\na..b\r\ny\r\n")


def test_envelope() -> None:
    """The envelope says who, to whom, in what form, and from where."""
    (queued,), _ = talk(MX % b" BODY=8BITMIME SMTPUTF8 SIZE=100", b"x\r\n")
    envelope = queued.envelope
    assert (str(envelope.sender), envelope.account, envelope.peer) == ("carol@elsewhere.test", None, "127.0.0.1")
    assert (envelope.body_8bit, envelope.smtputf8) == (True, True)
    (recipient,) = envelope.recipients
    assert (str(recipient.address), recipient.state) == ("alice@example.test", RecipientState.QUEUED)
    assert b"with UTF8SMTP id Q1\r\n\t(envelope-from <carol@elsewhere.test>)\r\n" in queued.body
    assert b"\r\n\tfor <alice@example.test>;" in queued.body


def test_a_recipient_twice_is_one() -> None:
    """The same mailbox, however it is written, gets one copy; several recipients are not told of one another."""
    opening = MX.replace(b"DATA", b"RCPT TO:<ALICE@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA") % b""
    (queued,), _ = talk(opening, b"x\r\n")
    assert [str(recipient.address) for recipient in queued.envelope.recipients] == [
        "alice@example.test",
        "bob@example.test",
    ]
    assert b"\tfor <" not in queued.body


def test_submission_gets_what_it_lacks() -> None:
    """Date and Message-ID are added in front when there are none. RFC 6409 §8."""
    (queued,), _ = talk(SUBMISSION, b"Subject: x\r\n\r\nDate: in the body\r\n", submission=True)
    assert queued.envelope.account is not None
    header, _, _ = queued.body.partition(b"Subject: x")
    assert b"with ESMTPA id Q1" in header
    assert header.count(b"\r\nDate: ") == 1
    assert b"\r\nMessage-ID: <Q1@mail.example.test>\r\n" in header


def test_submission_keeps_what_it_has() -> None:
    """Date and Message-ID of the client stay the only ones."""
    message = b"date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMESSAGE-ID: <x@y>\r\n\r\ntext\r\n"
    (queued,), _ = talk(SUBMISSION, message, submission=True)
    assert queued.body.lower().count(b"message-id:") == queued.body.lower().count(b"date:") == 1
    assert queued.body.endswith(message)


def test_mx_adds_nothing_but_the_trace() -> None:
    """A message from elsewhere that lacks Date or Message-ID goes on lacking them."""
    (queued,), _ = talk(MX % b"", b"Subject: x\r\n\r\ntext\r\n")
    assert b"Message-ID" not in queued.body
    assert b"Date:" not in queued.body


@pytest.mark.parametrize("submission", [False, True], ids=["mx", "submission"])
@pytest.mark.parametrize("space", [b" ", b"\t"], ids=["space", "tab"])
def test_a_first_line_continues_no_field_of_ours(submission: bool, space: bytes) -> None:
    """A message that begins with a continuation line has no header: an empty line ends ours before it."""
    message = space + b"by trusted.test id X\r\nFrom: bob@example.test\r\nMessage-ID: <x@y>\r\n\r\ntext\r\n"
    (queued,), _ = talk(SUBMISSION if submission else MX % b"", message, submission=submission)
    ours, _, rest = queued.body.partition(b"\r\n\r\n")
    assert ours.startswith(b"Received: ")
    assert (b"Message-ID: <Q1@" in ours) == submission
    assert rest == message


@pytest.mark.parametrize(
    ("submission", "data", "reply"),
    [
        (True, b"X: y\r\n" * 400_000 + b"\r\n", b"552 5.3.4 A header has at most 262144 octets"),
        (False, b"\r\n" + b"z" * 52_428_800 + b"\r\n", b"552 5.3.4 At most 52428800 octets are accepted"),
        (False, b"\r\n" + b"ok\r\n" * 50_000 + b"bad\n\r\n", b"550 5.6.0 A CR or LF that stands alone is not accepted"),
    ],
    ids=["header", "size", "bare LF late"],
)  # fmt: skip
def test_nothing_is_kept_of_a_refused_message(submission: bool, data: bytes, reply: bytes) -> None:
    """Whatever was written before the fault was seen is gone."""
    queued, said = talk(SUBMISSION if submission else MX % b"", data, submission=submission)
    assert queued == []
    assert said == reply
