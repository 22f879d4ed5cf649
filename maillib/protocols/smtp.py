"""SMTP's grammar, server side, without I/O: lines into commands, replies into lines. RFC 5321 §4.1, RFC 6531 §3.

Guarantees: what is no command, path or parameter raises `Refused` with the reply that says so; an address comes out
only if nothing but parameters stands around it. Source routes are refused; percent and bang are characters like any.
Leaves to others: where a line ends (`smtp_lines`) and the data (`smtp_data`); what is allowed when (the session).
"""

import re
from dataclasses import dataclass

from maillib.address import Address, has_controls
from maillib.errors import AddressError, PeerError

MAX_COMMAND_OCTETS = 2048
"""Of a line: 512, and room for the parameters of all extensions. RFC 5321 §4.5.3.1.4."""
MAX_AUTH_OCTETS = 12_288
"""Of a line with AUTH, since no mechanism's first message may be too long for it. RFC 4954 §4."""

_CLIENT_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}|\[[A-Za-z0-9.:-]{1,64}\]")
_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.)*"|[^"<>\\ ])*)>(?: +(.*))?')
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u00a0-\U0010ffff]+))?")
_SIZE = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; more than one line when the text has several."""

    code: int
    status: str | None
    """Enhanced status code; None where RFC 2034 §3 wants none: the greeting, HELO, EHLO, and replies of class 3."""
    text: str

    def __bytes__(self) -> bytes:
        status = f"{self.status} " if self.status else ""
        if "\n" not in self.text:
            return f"{self.code} {status}{self.text}\r\n".encode()
        *first, last = self.text.split("\n")
        return "".join(
            [*(f"{self.code}-{status}{line}\r\n" for line in first), f"{self.code} {status}{last}\r\n"]
        ).encode()

    @property
    def is_refusal(self) -> bool:
        """The command will never work as given."""
        return self.code >= 500


class Refused(PeerError):
    """The client gets `reply` instead of what it wanted."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(f"{code} {status} {text}")
        self.reply = Reply(code, status, text)


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL in good order. RFC 5321 §4.1.1.2."""

    sender: Address | None
    """None: the null reverse-path."""
    size_octets: int = 0
    """What the client expects the message to have; 0: it did not say. RFC 1870 §6."""
    body_8bit: bool = False
    """RFC 6152 §2."""
    smtputf8: bool = False
    """RFC 6531 §3.4."""
    auth: bool = False
    """AUTH= was given; whom it names is nobody we trust in that. RFC 4954 §5."""


@dataclass(frozen=True, slots=True)
class Postmaster:
    """`<postmaster>` without a domain. RFC 5321 §4.5.1."""


def split_command(line: bytes) -> tuple[str, str]:
    """Verb in upper case and argument, of a line without its end. Spaces after it are tolerated. RFC 5321 §4.1.1."""
    if len(line) > MAX_COMMAND_OCTETS and not (len(line) <= MAX_AUTH_OCTETS and line[:5].upper() == b"AUTH "):
        raise Refused(500, "5.5.2", "Line too long")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refused(500, "5.5.2", "Commands are ASCII or UTF-8") from None
    if has_controls(text):
        raise Refused(500, "5.5.2", "Control characters are not allowed in commands")
    verb, _, argument = text.partition(" ")
    return verb.upper() if verb.isascii() else "", argument.strip(" ")


def no_argument(verb: str, argument: str) -> None:
    if argument:
        raise Refused(501, "5.5.4", f"{verb} takes no argument")


def client_name(verb: str, argument: str) -> str:
    """The argument of HELO and EHLO. RFC 5321 §4.1.1.1, and underscores: they are common in it."""
    if not _CLIENT_NAME.fullmatch(argument):
        raise Refused(501, "5.5.4", f"Syntax: {verb} hostname")
    return argument


def mail(argument: str, *, extended: bool) -> Mail:
    """The argument of MAIL. `extended`: the client said EHLO, so that parameters are allowed."""
    path, text = _path("MAIL FROM", argument)
    parameters = _parameters(text)
    if parameters and not extended:
        raise Refused(555, "5.5.4", "Parameters come after EHLO only")
    if unknown := parameters.keys() - _MAIL_PARAMETERS:
        raise Refused(555, "5.5.4", f"{min(unknown)} is not supported")
    smtputf8 = "SMTPUTF8" in parameters
    if parameters.get("SMTPUTF8"):
        raise Refused(501, "5.5.4", "SMTPUTF8 takes no value")
    if "AUTH" in parameters and not parameters["AUTH"]:
        raise Refused(501, "5.5.4", "AUTH needs a value")
    body = parameters.get("BODY", "7BIT").upper()
    if body not in ("7BIT", "8BITMIME"):
        raise Refused(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    size = parameters.get("SIZE", "0")
    if not _SIZE.fullmatch(size):
        raise Refused(501, "5.5.4", "SIZE is a number of octets")
    return Mail(
        sender=_address(path, "5.1.7", smtputf8=smtputf8) if path else None,
        size_octets=int(size),
        body_8bit=body == "8BITMIME",
        smtputf8=smtputf8,
        auth="AUTH" in parameters,
    )


def rcpt(argument: str, *, smtputf8: bool) -> Address | Postmaster:
    """The argument of RCPT. RFC 5321 §4.1.1.3."""
    path, text = _path("RCPT TO", argument)
    if parameters := _parameters(text):
        raise Refused(555, "5.5.4", f"{min(parameters)} is not supported")
    if path.lower() == "postmaster":
        return Postmaster()
    return _address(path, "5.1.3", smtputf8=smtputf8)


_MAIL_PARAMETERS = {"SIZE", "BODY", "SMTPUTF8", "AUTH"}


def _path(command: str, argument: str) -> tuple[str, str]:
    """What is between the brackets, and the text of the parameters. A space after the colon is tolerated."""
    keyword = command.partition(" ")[2] + ":"
    if argument[: len(keyword)].upper() == keyword:
        match = _PATH.fullmatch(argument[len(keyword) :].lstrip(" "))
        if match:
            return match[1], match[2] or ""
    raise Refused(501, "5.5.4", f"Syntax: {command}:<address>")


def _address(path: str, status: str, *, smtputf8: bool) -> Address:
    if not path.isascii() and not smtputf8:
        raise Refused(553, "5.6.7", "An address beyond ASCII needs SMTPUTF8")
    try:
        return Address.parse(path)
    except AddressError:
        raise Refused(501, status, "That is no mail address") from None


def _parameters(text: str) -> dict[str, str]:
    """Keywords in upper case; an empty value stands for none. RFC 5321 §4.1.2."""
    parameters: dict[str, str] = {}
    for word in text.split(" ") if text else ():
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if not match:
            raise Refused(501, "5.5.4", "Malformed parameter")
        keyword = match[1].upper()
        if keyword in parameters:
            raise Refused(501, "5.5.4", f"{keyword} is given twice")
        parameters[keyword] = match[2] or ""
    return parameters
