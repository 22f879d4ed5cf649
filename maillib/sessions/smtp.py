"""What one SMTP connection may do. RFC 5321; RFC 6409 (submission); RFC 4954 (AUTH); RFC 3207 (STARTTLS); RFC 2034.

Guarantees: no relay without log-in; no log-in without TLS unless the listener allows it; an unknown user and a wrong
password are answered alike; 250 after the data means that the message is durable in the queue; a sender who has logged
in writes under own addresses only. Mail for a user who is not there, and mail for a list from somebody who may not
write to it, is refused at RCPT, so that no bounce is owed.
"""

from maillib import maillog
from maillib.address import Address
from maillib.dialog import Carrier, Next
from maillib.errors import NotFound, PeerError, TemporaryError
from maillib.ports.directory import Account, Directory
from maillib.ports.lists import MailingList
from maillib.ports.queue import Queue
from maillib.protocols import sasl, smtp
from maillib.protocols.smtp import Refused, Reply
from maillib.protocols.smtp_lines import CommandLines
from maillib.sessions.doorkeeper import Doorkeeper
from maillib.sessions.list_policy import WHO_MAY_POST, may_post
from maillib.sessions.smtp_login import LogIn
from maillib.sessions.smtp_message import IncomingMessage, reply_to
from maillib.sessions.smtp_patience import IDLE_COMMANDS, Patience
from maillib.sessions.smtp_transaction import Greeted, Terms, Transaction
from maillib.settings.smtp import SmtpSettings

SLOWEST_OCTETS = 1024
"""So much of a message has to come within the time that a command may take."""

COMMANDS = frozenset(
    ("EHLO", "HELO", "MAIL", "RCPT", "DATA", "AUTH", "STARTTLS", "RSET", "NOOP", "VRFY", "EXPN", "HELP", "QUIT")
)


class SmtpSession:
    """One connection."""

    __slots__ = (
        "_client", "_directory", "_doorkeeper", "_is_in_doubt", "_lines", "_login", "_message", "_octets_came",
        "_patience", "_queue", "_settings", "_terms", "_tls", "_transaction", "_verb",
    )  # fmt: skip

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
        self._patience = Patience(settings, terms.hostname, delay_step_s)
        self._lines = CommandLines()
        self._tls = terms.tls
        self._client: Greeted | None = None
        self._login: LogIn | None = None
        """From the first AUTH on."""
        self._transaction: Transaction | None = None
        self._message: IncomingMessage | None = None
        """From the 354 to the end of the data."""
        self._octets_came = 0
        """Of a message, since time was given to the client."""
        self._is_in_doubt = False
        """What the client takes for text and what for commands: whoever relays through it may have written the rest."""
        self._verb = ""
        """The command being served; empty: none."""

    # What the carrier asks

    @property
    def user(self) -> str | None:
        return str(self._account.address) if self._account else None

    @property
    def doing(self) -> str:
        if self._message is not None:
            return f"DATA {self._message.size_octets} octets"
        return "AUTH" if self._is_logging_in else self._verb or "waiting"

    @property
    def timeout_s(self) -> float:
        return self._settings.command_timeout

    async def greet(self, output: Carrier) -> Next:
        await output.send(bytes(Reply(220, None, f"{self._terms.hostname} ESMTP Postroom")))
        return Next.NEED_DATA

    def receive(self, data: bytes) -> None:
        self._lines.receive(data)

    async def advance(self, output: Carrier) -> Next:
        if self._message is not None:
            return await self._take_octets(self._message, output)
        try:
            line = self._lines.line()
        except Refused as refused:
            maillog.bad_command(command="unknown", reply=str(refused))
            await output.send(bytes(refused.reply))
            raise PeerError("errors") from None
        if line is None:
            return Next.NEED_DATA
        reply = await (self._answer(line) if self._is_logging_in else self._command(line, output))
        return await self._say(reply, output)

    def tls_started(self) -> None:
        """Forget everything from before it. RFC 3207 §4.2."""
        self._tls = True
        self._lines = CommandLines()
        self._client = None
        self._login = None
        self._transaction = None

    def goodbye(self) -> bytes | None:
        if self._message is not None or self._is_logging_in:
            return None
        return bytes(Reply(421, "4.3.2", f"{self._terms.hostname} shutting down"))

    def timed_out(self) -> bytes:
        return bytes(Reply(421, "4.4.2", f"{self._terms.hostname} waited too long"))

    async def closed(self) -> None:
        if self._message is not None:
            await self._message.close()

    # One step

    async def _command(self, line: bytes, output: Carrier) -> Reply:
        try:
            self._verb, argument = smtp.split_command(line)
            if self._verb in IDLE_COMMANDS:
                self._patience.note_idle()
            reply = await self._serve(self._verb, argument, output)
        except Refused as refused:
            # never a word that we do not know: it may be a password that came out of turn
            maillog.bad_command(command=self._verb if self._verb in COMMANDS else "unknown", reply=str(refused))
            reply = refused.reply
        except TemporaryError as error:
            maillog.problem(what=self._verb, error=str(error))
            reply = reply_to(error)
        finally:
            self._verb = ""
        return self._patience.judge(reply)

    async def _answer(self, line: bytes) -> Reply:
        """To what followed a 334."""
        assert self._login is not None
        try:
            reply = await self._login.answer(line)
        except Refused as refused:
            maillog.bad_command(command="AUTH", reply=str(refused))
            reply = refused.reply
        return self._patience.judge(reply)

    async def _take_octets(self, message: IncomingMessage, output: Carrier) -> Next:
        octets = self._lines.take()
        if not octets:
            return Next.NEED_DATA
        rest = await message.receive(octets)
        if rest is not None:
            self._lines.receive(rest)
            self._octets_came = 0
            return await self._say(await self._message_received(message), output)
        self._octets_came += len(octets)
        if self._octets_came < SLOWEST_OCTETS:
            return Next.NEED_DATA
        self._octets_came = 0
        return Next.SERVED

    async def _message_received(self, message: IncomingMessage) -> Reply:
        transaction = self._transaction
        assert transaction is not None
        reply = await message.finish()
        self._message = self._transaction = None
        self._is_in_doubt |= message.is_ambiguous
        sender = str(transaction.mail.sender or "<>")
        if reply.code == 250:
            self._patience.note_mail()
            maillog.accepted(
                queue_id=reply.text.rpartition(" ")[2],
                sender=sender,
                recipients=len(transaction.recipients),
                size_octets=message.size_octets,
                user=self.user,
            )
        else:
            maillog.rejected(sender=sender, rcpt=None, reply=f"{reply.code} {reply.status} {reply.text}")
        return self._patience.judge(reply)

    async def _say(self, reply: Reply, output: Carrier) -> Next:
        if (delay_s := self._patience.delay_s) > 0:
            await output.pause(delay_s)
        await output.send(bytes(reply))
        match reply.code:
            case 220:
                return Next.START_TLS
            case 221:
                return Next.CLOSE
            case 421:
                raise PeerError("errors")
        return Next.SERVED if self._lines.is_empty else Next.AGAIN

    def _reject(self, code: int, status: str, text: str, *, rcpt: object = None) -> Reply:
        """A refusal that is no fault in the client's grammar."""
        sender = self._transaction.mail.sender if self._transaction else None
        maillog.rejected(sender=str(sender or "<>"), rcpt=str(rcpt) if rcpt else None, reply=f"{code} {status} {text}")
        return Reply(code, status, text)

    # Commands

    async def _serve(self, verb: str, argument: str, output: Carrier) -> Reply:
        match verb:
            case "EHLO" | "HELO":
                return self._hello(verb, argument)
            case "MAIL":
                return await self._mail(argument)
            case "RCPT":
                return await self._rcpt(argument)
            case "DATA":
                return self._data(argument, output.cipher)
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
        self._client = Greeted(smtp.client_name(verb, argument), extended=verb == "EHLO")
        self._transaction = None
        return Reply(250, None, "\n".join(self._extensions()) if self._client.extended else self._terms.hostname)

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
        if self._tls:
            raise Refused(503, "5.5.1", "TLS is on already")
        if not self._may_start_tls:
            raise Refused(502, "5.5.1", "There is no TLS here")
        return Reply(220, "2.0.0", "Ready to start TLS")

    @property
    def _may_start_tls(self) -> bool:
        return self._terms.starttls and not self._tls

    # Log-in

    @property
    def _may_log_in(self) -> bool:
        return self._terms.submission and (self._tls or self._terms.cleartext_login)

    @property
    def _account(self) -> Account | None:
        """Who has logged in."""
        return self._login.account if self._login else None

    @property
    def _is_logging_in(self) -> bool:
        """What comes next is an answer to a 334."""
        return self._login is not None and self._login.is_going_on

    async def _auth(self, argument: str) -> Reply:
        """RFC 4954 §4."""
        if not self._terms.submission:
            raise Refused(502, "5.5.1", "There is no log-in here")
        if self._client is None or not self._client.extended:
            raise Refused(503, "5.5.1", "Say EHLO first")
        if self._account is not None:
            raise Refused(503, "5.5.1", "You are logged in already")
        if self._transaction is not None:
            raise Refused(503, "5.5.1", "Not within a mail transaction")
        if not self._may_log_in:
            raise Refused(538, "5.7.11", "Log-in needs TLS")
        if self._login is None:
            self._login = LogIn(self._doorkeeper, self._terms.peer_host)
        return await self._login.begin(argument)

    # The mail transaction

    async def _mail(self, argument: str) -> Reply:
        if self._is_in_doubt:
            raise Refused(421, "4.7.0", "Where the last message ended is in doubt, connect anew")
        if self._client is None:
            raise Refused(503, "5.5.1", "Say EHLO first")
        account = self._account
        if self._terms.submission and account is None:
            if self._may_start_tls and not self._may_log_in:
                raise Refused(530, "5.7.0", "Must issue a STARTTLS command first")
            raise Refused(530, "5.7.0", "Authentication required")
        if self._transaction is not None:
            raise Refused(503, "5.5.1", "There is a sender already")
        mail = smtp.mail(argument, extended=self._client.extended)
        if mail.auth and not self._may_log_in:
            raise Refused(555, "5.5.4", "AUTH is not supported")
        if mail.size_octets > self._settings.max_message_size:
            return self._reject(552, "5.3.4", f"At most {self._settings.max_message_size} octets are accepted")
        if account is not None and mail.sender is not None and not await self._is_own(mail.sender):
            return self._reject(553, "5.7.1", "That sender address is not yours", rcpt=mail.sender)
        await self._queue.check_room(mail.size_octets)
        self._transaction = Transaction(mail, account)
        return Reply(250, "2.1.0", "Ok")

    async def _is_own(self, address: Address) -> bool:
        account = self._account
        return account is not None and await self._directory.may_send_as(account.id, address)

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
        key = path.key
        is_new = key not in transaction.recipients
        if is_new and len(transaction.recipients) >= self._settings.max_recipients:
            return Reply(452, "4.5.3", f"At most {self._settings.max_recipients} recipients at a time")
        try:
            resolution = await self._directory.resolve(path)
        except NotFound:
            return self._reject(550, "5.1.1", "No such user here", rcpt=path)
        is_elsewhere = resolution.remote == (path,) and not resolution.accounts
        if is_elsewhere and self._account is None:
            return self._reject(550, "5.7.1", "We do not relay", rcpt=path)
        for mailing_list in resolution.lists:
            if not await self._may_post(mailing_list):
                return self._reject(550, "5.7.1", WHO_MAY_POST[mailing_list.post], rcpt=path)
        if is_new:
            transaction.recipients[key] = path
        else:
            self._patience.note_idle()
        return Reply(250, "2.1.5", "Ok")

    async def _may_post(self, mailing_list: MailingList) -> bool:
        assert self._transaction is not None
        sender = self._transaction.mail.sender
        try:
            return await may_post(self._directory, mailing_list, account=self._account, sender=sender)
        except NotFound:  # the list has gone this moment
            return False

    def _data(self, argument: str, cipher: str | None) -> Reply:
        smtp.no_argument("DATA", argument)
        transaction = self._transaction
        if transaction is None:
            raise Refused(503, "5.5.1", "Say MAIL first")
        if not transaction.recipients:
            raise Refused(554, "5.5.1", "No valid recipients")
        assert self._client is not None
        self._message = transaction.message(
            self._queue.draft(),
            self._terms,
            self._client,
            self._settings,
            cipher=cipher,
            may_say_from=self._is_own if transaction.account else None,
        )
        return Reply(354, None, "End data with <CR><LF>.<CR><LF>")
