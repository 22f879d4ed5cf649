"""What one SMTP connection may do. RFC 5321; RFC 6409 (submission); RFC 4954 (AUTH); RFC 3207 (STARTTLS); RFC 2034.

The carrier (`maillib.runtime.smtp`) hands in lines and octets and sends the replies; the code of a reply says what the
client sends next: after 354 a message, after 334 an answer, after 220 a TLS handshake, after 221 and 421 nothing.

Guarantees: no relay without log-in; no log-in without TLS unless the listener allows it; an unknown user and a wrong
password are answered alike; 250 after the data means that the message is durable in the queue; a sender who has logged
in writes under own addresses only. Mail for a user who is not there is refused at RCPT, so that no bounce is owed.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from maillib import maillog
from maillib.address import Address
from maillib.errors import LocalError, NotFound, TemporaryError
from maillib.message.received import Hop
from maillib.ports.directory import Directory
from maillib.ports.queue import Envelope, Queue, Recipient
from maillib.protocols import sasl, smtp
from maillib.protocols.smtp import Refused, Reply
from maillib.sessions.doorkeeper import Doorkeeper
from maillib.sessions.smtp_login import LogIn
from maillib.sessions.smtp_message import IncomingMessage, Rules, reply_to
from maillib.settings.smtp import SmtpSettings

LONGEST_DELAY_S = 5.0
"""Of a reply to a session that makes many errors: a dozen wrong passwords are still told within a minute."""

IDLE_COMMANDS = frozenset(("EHLO", "HELO", "RSET", "NOOP", "VRFY", "HELP"))
"""Always answered, and worth nothing to who has mail to send."""

COMMANDS = frozenset(
    ("EHLO", "HELO", "MAIL", "RCPT", "DATA", "AUTH", "STARTTLS", "RSET", "NOOP", "VRFY", "EXPN", "HELP", "QUIT")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for a connection from its first moment."""

    hostname: str
    submission: bool
    """Role submission; else mx."""
    starttls: bool
    """TLS is to be had by STARTTLS."""
    cleartext_login: bool
    peer_host: str


@dataclass(slots=True)
class Transaction:
    """From MAIL to the end of DATA. RFC 5321 §3.3."""

    mail: smtp.Mail
    recipients: dict[str, Address] = field(default_factory=dict)
    """By `Address.key`: who is named twice gets one copy."""


class SmtpSession:
    """One connection."""

    def __init__(
        self,
        settings: SmtpSettings,
        directory: Directory,
        queue: Queue,
        doorkeeper: Doorkeeper,
        terms: Terms,
        *,
        delay_step_s: float = 1.0,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._queue = queue
        self._doorkeeper = doorkeeper
        self._terms = terms
        self._delay_step_s = delay_step_s
        self._cipher: str | None = None
        self._client_name: str | None = None
        """From HELO or EHLO."""
        self._extended = False
        self._login = LogIn(doorkeeper, terms.peer_host)
        self._transaction: Transaction | None = None
        self._message: IncomingMessage | None = None
        self._verb = ""
        """The command being served; empty: none."""
        self._errors = 0
        self._idle_commands = 0

    # What the carrier asks

    @property
    def user(self) -> str | None:
        return str(self._login.account.address) if self._login.account else None

    @property
    def doing(self) -> str:
        if self._message is not None:
            return f"DATA {self._message.size_octets} octets"
        return "AUTH" if self._login.is_going_on else self._verb or "waiting"

    @property
    def delay_s(self) -> float:
        """How long the next reply is to be held back. Many errors are made by guessing, seldom by a person."""
        too_many = self._errors - self._settings.max_errors // 2
        return min(max(0.0, too_many * self._delay_step_s), LONGEST_DELAY_S)

    @property
    def timeout_s(self) -> float:
        return self._settings.command_timeout

    def greeting(self) -> bytes:
        return bytes(Reply(220, None, f"{self._terms.hostname} ESMTP Postroom"))

    def goodbye(self) -> bytes:
        return bytes(Reply(421, "4.3.2", f"{self._terms.hostname} shutting down"))

    def timed_out(self) -> bytes:
        return bytes(Reply(421, "4.4.2", f"{self._terms.hostname} waited too long"))

    def endless_line(self) -> bytes:
        maillog.bad_command(command="unknown", reply="line too long")
        return bytes(Reply(500, "5.5.2", "Line too long"))

    def bare_line_end(self) -> bytes:
        maillog.bad_command(command="unknown", reply="bare LF")
        return bytes(Reply(500, "5.5.2", "Lines end with CRLF; an LF alone is not accepted"))

    def tls_started(self, version: str, cipher: str) -> None:
        """Forget everything from before it. RFC 3207 §4.2."""
        self._cipher = f"{version} {cipher}"
        self._client_name = None
        self._extended = False
        self._login = LogIn(self._doorkeeper, self._terms.peer_host)
        self._transaction = None

    async def command(self, line: bytes) -> bytes:
        """The reply to a line, given without its end."""
        try:
            self._verb, argument = smtp.split_command(line)
            self._idle_commands += self._verb in IDLE_COMMANDS
            reply = await self._serve(self._verb, argument)
        except Refused as refused:
            # never a word that we do not know: it may be a password that came out of turn
            maillog.bad_command(command=self._verb if self._verb in COMMANDS else "unknown", reply=str(refused))
            reply = refused.reply
        except TemporaryError as error:
            maillog.problem(what=self._verb, error=str(error))
            reply = reply_to(error)
        finally:
            self._verb = ""
        return self._counted(reply)

    async def answer(self, line: bytes) -> bytes:
        """The reply to what followed a 334."""
        try:
            reply = await self._login.answer(line)
        except Refused as refused:
            maillog.bad_command(command="AUTH", reply=str(refused))
            reply = refused.reply
        return self._counted(reply)

    async def receive(self, octets: bytes) -> bytes | None:
        """Octets of the message that a 354 invited; what follows its end, None: it has not come yet."""
        if self._message is None:
            raise LocalError("octets of a message that nobody invited")
        return await self._message.receive(octets)

    async def message_received(self) -> bytes:
        """The reply to a message whose end has come."""
        message, transaction = self._message, self._transaction
        if message is None or transaction is None:
            raise LocalError("the end of a message that nobody invited")
        reply = await message.finish()
        self._message = self._transaction = None
        sender = str(transaction.mail.sender or "<>")
        if reply.code == 250:
            self._errors = self._idle_commands = 0
            maillog.accepted(
                queue_id=reply.text.rpartition(" ")[2],
                sender=sender,
                recipients=len(transaction.recipients),
                size_octets=message.size_octets,
                user=self.user,
            )
        else:
            maillog.rejected(sender=sender, rcpt=None, reply=f"{reply.code} {reply.status} {reply.text}")
        return self._counted(reply)

    async def closed(self) -> None:
        if self._message is not None:
            await self._message.close()

    # Replies

    def _counted(self, reply: Reply) -> bytes:
        """`reply`, or the last one of a session that has made too many errors or has come to no end of idle commands.

        Only refusals count: who asks for more than we take at a time (452) may go on asking.
        """
        self._errors += reply.is_refusal
        if reply.is_refusal and self._errors >= self._settings.max_errors:
            reply = Reply(421, "4.7.0", f"{self._terms.hostname} too many errors")
        elif self._idle_commands > self._settings.max_idle_commands:
            maillog.bad_command(command="unknown", reply="too many commands that send no mail")
            reply = Reply(421, "4.7.0", f"{self._terms.hostname} too many commands that send no mail")
        return bytes(reply)

    def _reject(self, code: int, status: str, text: str, *, rcpt: object = None) -> Reply:
        """A refusal that is no fault in the client's grammar."""
        sender = self._transaction.mail.sender if self._transaction else None
        maillog.rejected(sender=str(sender or "<>"), rcpt=str(rcpt) if rcpt else None, reply=f"{code} {status} {text}")
        return Reply(code, status, text)

    # Commands

    async def _serve(self, verb: str, argument: str) -> Reply:
        match verb:
            case "EHLO" | "HELO":
                return self._hello(verb, argument)
            case "MAIL":
                return await self._mail(argument)
            case "RCPT":
                return await self._rcpt(argument)
            case "DATA":
                return self._data(argument)
            case "AUTH":
                return await self._auth(argument)
            case "STARTTLS":
                return self._starttls(argument)
            case "RSET":
                smtp.no_argument(verb, argument)
                self._transaction = None
                return Reply(250, "2.0.0", "Ok")
            case "NOOP":
                return Reply(250, "2.0.0", "Ok")
            case "VRFY":  # one answer to all: who has a mailbox is nobody's business. RFC 5321 §7.3
                return Reply(252, "2.5.2", "Send a message and see")
            case "HELP":
                return Reply(214, "2.0.0", "RFC 5321 says all")
            case "QUIT":
                smtp.no_argument(verb, argument)
                return Reply(221, "2.0.0", f"{self._terms.hostname} closing")
            case "EXPN":
                raise Refused(502, "5.5.1", "EXPN is not offered")
        raise Refused(500, "5.5.1", "Unknown command")

    def _hello(self, verb: str, argument: str) -> Reply:
        self._client_name = smtp.client_name(verb, argument)
        self._extended = verb == "EHLO"
        self._transaction = None
        return Reply(250, None, "\n".join(self._extensions() if self._extended else [self._terms.hostname]))

    def _extensions(self) -> list[str]:
        return [
            self._terms.hostname,
            "PIPELINING",
            f"SIZE {self._settings.max_message_size}",
            *(["STARTTLS"] if self._may_start_tls else []),
            *(["AUTH " + " ".join(sasl.MECHANISMS)] if self._may_log_in else []),
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "SMTPUTF8",
        ]

    def _starttls(self, argument: str) -> Reply:
        smtp.no_argument("STARTTLS", argument)
        if self._cipher is not None:
            raise Refused(503, "5.5.1", "TLS is on already")
        if not self._may_start_tls:
            raise Refused(502, "5.5.1", "There is no TLS here")
        return Reply(220, "2.0.0", "Ready to start TLS")

    @property
    def _may_start_tls(self) -> bool:
        return self._terms.starttls and self._cipher is None

    # Log-in

    @property
    def _may_log_in(self) -> bool:
        return self._terms.submission and (self._cipher is not None or self._terms.cleartext_login)

    async def _auth(self, argument: str) -> Reply:
        """RFC 4954 §4."""
        if not self._terms.submission:
            raise Refused(502, "5.5.1", "There is no log-in here")
        if not self._extended:
            raise Refused(503, "5.5.1", "Say EHLO first")
        if self._login.account is not None:
            raise Refused(503, "5.5.1", "You are logged in already")
        if self._transaction is not None:
            raise Refused(503, "5.5.1", "Not within a mail transaction")
        if not self._may_log_in:
            raise Refused(538, "5.7.11", "Log-in needs TLS")
        return await self._login.begin(argument)

    # The mail transaction

    async def _mail(self, argument: str) -> Reply:
        if self._client_name is None:
            raise Refused(503, "5.5.1", "Say EHLO first")
        if self._terms.submission and self._login.account is None:
            if self._may_start_tls and not self._may_log_in:
                raise Refused(530, "5.7.0", "Must issue a STARTTLS command first")
            raise Refused(530, "5.7.0", "Authentication required")
        if self._transaction is not None:
            raise Refused(503, "5.5.1", "There is a sender already")
        mail = smtp.mail(argument, extended=self._extended)
        if mail.auth and not self._may_log_in:
            raise Refused(555, "5.5.4", "AUTH is not supported")
        if mail.size_octets > self._settings.max_message_size:
            return self._reject(552, "5.3.4", f"At most {self._settings.max_message_size} octets are accepted")
        if self._login.account is not None and mail.sender is not None and not await self._is_own(mail.sender):
            return self._reject(553, "5.7.1", "That sender address is not yours", rcpt=mail.sender)
        self._transaction = Transaction(mail)
        return Reply(250, "2.1.0", "Ok")

    async def _is_own(self, address: Address) -> bool:
        return self._login.account is not None and await self._directory.may_send_as(self._login.account.id, address)

    async def _rcpt(self, argument: str) -> Reply:
        transaction = self._transaction
        if transaction is None:
            raise Refused(503, "5.5.1", "Say MAIL first")
        path = smtp.rcpt(argument, smtputf8=transaction.mail.smtputf8)
        if isinstance(path, smtp.Postmaster):
            domain = await self._directory.default_domain()
            if domain is None:
                return self._reject(550, "5.1.1", "No such user here", rcpt="postmaster")
            path = Address("postmaster", domain)
        is_new = path.key not in transaction.recipients
        if is_new and len(transaction.recipients) >= self._settings.max_recipients:
            return Reply(452, "4.5.3", f"At most {self._settings.max_recipients} recipients at a time")
        if await self._directory.is_local(path.domain):
            try:
                await self._directory.resolve(path)
            except NotFound:
                return self._reject(550, "5.1.1", "No such user here", rcpt=path)
        elif self._login.account is None:
            return self._reject(550, "5.7.1", "We do not relay", rcpt=path)
        if is_new:
            transaction.recipients[path.key] = path
        else:
            self._idle_commands += 1
        return Reply(250, "2.1.5", "Ok")

    def _data(self, argument: str) -> Reply:
        smtp.no_argument("DATA", argument)
        transaction = self._transaction
        if transaction is None:
            raise Refused(503, "5.5.1", "Say MAIL first")
        if not transaction.recipients:
            raise Refused(554, "5.5.1", "No valid recipients")
        self._message = self._incoming(transaction)
        return Reply(354, None, "End data with <CR><LF>.<CR><LF>")

    def _incoming(self, transaction: Transaction) -> IncomingMessage:
        now = datetime.now(UTC)
        recipients = tuple(transaction.recipients.values())
        draft = self._queue.draft()
        hop = Hop(
            client_name=self._client_name or "unknown",
            client_host=self._terms.peer_host,
            hostname=self._terms.hostname,
            queue_id=draft.id,
            sender=str(transaction.mail.sender or ""),
            extended=self._extended,
            cipher=self._cipher,
            authenticated=self._login.account is not None,
            smtputf8=transaction.mail.smtputf8,
            recipient=str(recipients[0]) if len(recipients) == 1 else None,
            when=now,
        )
        envelope = Envelope(
            sender=transaction.mail.sender,
            recipients=tuple(Recipient(address=address) for address in recipients),
            queued=now,
            account=self._login.account.id if self._login.account else None,
            peer=self._terms.peer_host,
            body_8bit=transaction.mail.body_8bit,
            smtputf8=transaction.mail.smtputf8,
        )
        rules = Rules(
            max_octets=self._settings.max_message_size,
            max_received=self._settings.max_received,
            may_say_from=self._is_own if self._login.account else None,
        )
        return IncomingMessage(draft, envelope, hop, rules)
