"""Delivery status notifications, read back by the standard library's parser."""

from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage

from hypothesis import given
from hypothesis import strategies as st

from maillib.address import Address
from maillib.message.dsn import FailedRecipient, Failure, notification
from tests.support.spool_world import parsed

WHEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALICE = Address.parse("alice@example.test")
BOB = FailedRecipient(address=Address.parse("bob@x.test"), original=None, status="5.1.1", reply="5.1.1 nobody")
FAILURE = Failure(
    hostname="mail.example.test",
    dsn_id="0123B1",
    when=WHEN,
    to=(ALICE,),
    sender=ALICE,
    queue_id="0123",
    arrived=WHEN,
    smtputf8=False,
    header=b"Subject: x\r\nFrom: a@x.test\r\n",
    failed=(BOB,),
)


def parts(octets: bytes) -> list[EmailMessage]:
    found = list(parsed(octets).iter_parts())
    assert all(isinstance(part, EmailMessage) for part in found)
    return found  # type: ignore[return-value]


def test_plain_notification() -> None:
    """RFC 3464 in ASCII: from a daemon, to the sender, marked as automatic, three parts."""
    octets = notification(FAILURE)
    report = parsed(octets)
    assert octets.isascii()
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert (report["To"], report["Auto-Submitted"]) == ("alice@example.test", "auto-replied")
    assert report["Date"] == "Sun, 01 Mar 2026 12:00:00 +0000"
    types = [part.get_content_type() for part in parts(octets)]
    assert types == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    assert {part["Content-Transfer-Encoding"] for part in parts(octets)} == {"7bit"}


def test_internationalized_notification() -> None:
    """With UTF-8 addresses the parts have the types and address type of RFC 6533, and nothing is lost."""
    jürgen = replace(BOB, address=Address.parse("jürgen@x.test"), reply="5.1.1 jürgen is not here")
    failure = replace(FAILURE, failed=(jürgen, BOB))
    octets = notification(failure)
    assert failure.is_global
    _, status, header = parts(octets)
    assert status.get_content_type() == "message/global-delivery-status"
    assert header.get_content_type() == "message/global-headers"
    assert "\r\nFinal-Recipient: utf-8; jürgen@x.test\r\n".encode() in octets
    assert b"\r\nFinal-Recipient: rfc822; bob@x.test\r\n" in octets


def test_delivery_status_stays_ascii() -> None:
    """A reply that is not ASCII goes into the explanation, not into a message/delivery-status."""
    octets = notification(replace(FAILURE, failed=(replace(BOB, reply="5.1.1 größer"),)))
    explanation, status, _ = parts(octets)
    assert "größer" in explanation.get_content()
    assert status["Content-Transfer-Encoding"] == "7bit"
    assert b"Diagnostic-Code: X-Postroom; 5.1.1 gr??er\r\n" in octets


def test_header_of_the_original_is_returned_octet_for_octet() -> None:
    """The third part is the header as it was, 8-bit octets and lines that look like our boundary included."""
    header = b"Subject: gr\xfc\xdfe\r\nX-Odd: y\r\n\t--=_0123B1\r\n--=_0123B1--\r\n"
    octets = notification(replace(FAILURE, header=header))
    _, _, returned = parts(octets)
    assert returned.get_payload(decode=True) == header
    assert returned["Content-Transfer-Encoding"] == "8bit"


def test_notice_for_a_postmaster() -> None:
    """Somebody who did not send it is told who did."""
    failure = replace(FAILURE, to=(Address.parse("postmaster@x.test"), Address.parse("postmaster@y.test")))
    octets = notification(failure)
    assert parsed(octets)["To"] == "postmaster@x.test, postmaster@y.test"
    assert "<alice@example.test>" in parts(octets)[0].get_content()


@given(reply=st.text(max_size=400), header=st.binary(max_size=400))
def test_any_reply_and_header(reply: str, header: bytes) -> None:
    """Whatever reply and header hold, there are three parts, and no line of ours is longer than 998 octets."""
    octets = notification(replace(FAILURE, failed=(replace(BOB, reply=reply),), header=header))
    explanation, status = octets.split(b"\r\n--=_0123B1")[1:3]
    assert max(len(line) for line in (explanation + status).split(b"\r\n")) <= 998
    assert octets.count(b"\r\nFinal-Recipient: ") == 1 + header.count(b"\r\nFinal-Recipient: ")
    assert octets.endswith(b"--\r\n")
