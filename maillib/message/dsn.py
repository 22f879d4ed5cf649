"""The delivery status notification for recipients who will not get a message. RFC 3464, RFC 6522, RFC 6533.

Guarantees: a well-formed message whatever the addresses, replies and the original's header hold; the same arguments
give the same octets. Of the original only the header is returned.

Leaves to others: whether a notification is due, and to whom (`maillib.sessions.delivery`).
"""

from dataclasses import dataclass
from datetime import datetime

from maillib.address import Address
from maillib.message.header import field, one_line
from maillib.message.received import date, received_from_here

_MAX_REPLY = 230
"""Characters: a line stays below the 998 octets of RFC 5322 §2.1.1 though each of them may be four octets long."""

_TYPES = ("message/delivery-status", "text/rfc822-headers")
_GLOBAL_TYPES = ("message/global-delivery-status", "message/global-headers")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRecipient:
    address: Address
    original: Address | None
    """What the sender wrote, when an alias led to `address`."""
    status: str
    """RFC 3463: `5.1.1`."""
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A message that some recipients will not get."""

    hostname: str
    """Ours."""
    dsn_id: str
    """Names the notification; letters and digits."""
    when: datetime
    to: tuple[Address, ...]
    sender: Address
    """Of the original."""
    queue_id: str
    """Of the original."""
    arrived: datetime
    smtputf8: bool
    """The original was sent with SMTPUTF8, so that its header may be UTF-8."""
    header: bytes
    """Of the original, without the empty line behind it; or the beginning of it."""
    failed: tuple[FailedRecipient, ...]

    @property
    def is_global(self) -> bool:
        """The notification has to be sent with SMTPUTF8. RFC 6533 §3."""
        addresses = [self.sender, *self.to]
        for recipient in self.failed:
            addresses += [recipient.address, *([recipient.original] if recipient.original else [])]
        return self.smtputf8 or not all(address.is_ascii for address in addresses)


def notification(failure: Failure) -> bytes:
    """The whole message, for the sender; for somebody else (a postmaster) when `sender` is not in `to`."""
    boundary = f"=_{failure.dsn_id}"
    while boundary.encode() in failure.header:
        boundary += "="
    explanation = _explanation(failure)
    charset = "us-ascii" if explanation.isascii() else "utf-8"
    kinds = _GLOBAL_TYPES if failure.is_global else _TYPES
    parts = (
        _part(f"text/plain; charset={charset}", explanation),
        _part(kinds[0], _delivery_status(failure)),
        _part(kinds[1], failure.header),
    )
    delimiter = f"\r\n--{boundary}".encode()
    return (
        _header(failure, boundary)
        + b"\r\nThis is a delivery status notification in MIME format.\r\n"
        + b"".join(delimiter + b"\r\n" + part for part in parts)
        + delimiter
        + b"--\r\n"
    )


def _header(failure: Failure, boundary: str) -> bytes:
    is_for_sender = failure.sender in failure.to
    subject = "Undelivered mail returned to its sender" if is_for_sender else "Undelivered mail from elsewhere"
    return b"".join(
        (
            received_from_here(hostname=failure.hostname, queue_id=failure.dsn_id, when=failure.when),
            field("From", f"Mail delivery <MAILER-DAEMON@{failure.hostname}>"),
            field("To", *(f"<{address}>," for address in failure.to[:-1]), f"<{failure.to[-1]}>"),
            field("Subject", subject),
            field("Date", date(failure.when)),
            field("Message-ID", f"<{failure.dsn_id}@{failure.hostname}>"),
            field("Auto-Submitted", "auto-replied"),  # RFC 3834 §5
            field("MIME-Version", "1.0"),
            field("Content-Type", "multipart/report; report-type=delivery-status;", f'boundary="{boundary}"'),
        )
    )


def _part(kind: str, body: bytes) -> bytes:
    encoding = "7bit" if body.isascii() else "8bit"
    return field("Content-Type", kind) + field("Content-Transfer-Encoding", encoding) + b"\r\n" + body


def _explanation(failure: Failure) -> bytes:
    if failure.sender in failure.to:
        opening = "Your message could not be delivered to these recipients. It is not tried again."
    else:
        opening = (
            f"A message from <{failure.sender}> could not be delivered to these recipients. It is not tried\r\n"
            "again. Its sender did not log in here and is not told, since the address may be forged."
        )
    lines = [f"This is the mail service at {failure.hostname}.", "", opening, ""]
    for recipient in failure.failed:
        lines += [f"  {_named(recipient)}", f"    {_reply(recipient)}", ""]
    lines += [f"The header of the message follows. Here it had the queue ID {failure.queue_id}.", ""]
    return "\r\n".join(lines).encode()


def _named(recipient: FailedRecipient) -> str:
    if recipient.original is None:
        return f"<{recipient.address}>"
    return f"<{recipient.address}>, by way of <{recipient.original}>"


def _reply(recipient: FailedRecipient) -> str:
    return one_line(recipient.reply, most=_MAX_REPLY)


def _delivery_status(failure: Failure) -> bytes:
    """RFC 3464 §2.2, §2.3."""
    groups = [field("Reporting-MTA", f"dns; {failure.hostname}") + field("Arrival-Date", date(failure.arrived))]
    for recipient in failure.failed:
        original = recipient.original
        groups.append(
            (b"" if original is None else field("Original-Recipient", _typed(original)))
            + field("Final-Recipient", _typed(recipient.address))
            + field("Action", "failed")
            + field("Status", recipient.status)
            + field("Diagnostic-Code", f"X-Postroom; {_diagnosis(failure, recipient)}")
        )
    return b"\r\n".join(groups)


def _diagnosis(failure: Failure, recipient: FailedRecipient) -> str:
    """Only message/global-delivery-status may hold UTF-8. RFC 6533 §3."""
    reply = _reply(recipient)
    return reply if failure.is_global else reply.encode("ascii", "replace").decode()


def _typed(address: Address) -> str:
    """RFC 3464 §2.1.2, RFC 6533 §3."""
    return f"rfc822; {address}" if address.is_ascii else f"utf-8; {address}"
