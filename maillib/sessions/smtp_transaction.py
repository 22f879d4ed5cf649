"""A mail transaction, from MAIL to the end of the data: who writes to whom, and the message that it becomes.

RFC 5321 §3.3. What is allowed when, and the replies, are for the session.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from maillib.address import Address
from maillib.message.received import Hop
from maillib.ports.directory import Account
from maillib.ports.queue import Draft, Envelope, Recipient
from maillib.protocols import smtp
from maillib.sessions.smtp_message import IncomingMessage, MaySayFrom
from maillib.settings.smtp import SmtpSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for a connection from its first moment."""

    hostname: str
    submission: bool
    """Role submission; else mx."""
    tls: bool
    starttls: bool
    """TLS is to be had by STARTTLS."""
    cleartext_login: bool
    peer_host: str


@dataclass(frozen=True, slots=True)
class Greeted:
    """HELO or EHLO, and what the client calls itself."""

    name: str
    extended: bool
    """It said EHLO."""


@dataclass(slots=True)
class Transaction:
    mail: smtp.Mail
    account: Account | None
    """Who has logged in."""
    recipients: dict[str, Address] = field(default_factory=dict)
    """By `Address.key`: who is named twice gets one copy."""

    def message(
        self,
        draft: Draft,
        terms: Terms,
        client: Greeted,
        settings: SmtpSettings,
        *,
        cipher: str | None,
        may_say_from: MaySayFrom | None,
    ) -> IncomingMessage:
        """What DATA begins. The last two are as in `Hop` and `IncomingMessage`."""
        now = datetime.now(UTC)
        mail, recipients = self.mail, tuple(self.recipients.values())
        hop = Hop(
            client_name=client.name,
            client_host=terms.peer_host,
            hostname=terms.hostname,
            queue_id=draft.id,
            sender=str(mail.sender or ""),
            extended=client.extended,
            cipher=cipher,
            authenticated=self.account is not None,
            smtputf8=mail.smtputf8,
            recipient=str(recipients[0]) if len(recipients) == 1 else None,
            when=now,
        )
        envelope = Envelope(
            sender=mail.sender,
            recipients=tuple([Recipient(address=address) for address in recipients]),
            queued=now,
            account=self.account.id if self.account else None,
            peer=terms.peer_host,
            body_8bit=mail.body_8bit,
            smtputf8=mail.smtputf8,
        )
        return IncomingMessage(draft, envelope, hop, settings, may_say_from)
