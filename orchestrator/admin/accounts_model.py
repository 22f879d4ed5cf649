"""What a person may write in accounts.yaml: one strict model per part.

The docstring below a field is its documentation, in the JSON Schema too. What concerns more than one entry (names that
are declared twice, targets, circles) is in `accounts_file`.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from maillib.address import Address
from maillib.errors import AddressError, PermanentError
from maillib.ports.credentials import check_password_hash
from maillib.ports.retrieval import Server, check_retrieval_name
from orchestrator.admin import limits
from orchestrator.admin.limits import LoginProtocol
from orchestrator.fields import PathText, Secret
from orchestrator.model import Version
from orchestrator.problems import shown
from orchestrator.units import UNITS, octets, seconds
from orchestrator.validation import Model, refuse

T = TypeVar("T")

_DAY_S = 86_400


def _checked(check: Callable[[T], object], code: str) -> AfterValidator:
    def validator(value: T) -> T:
        try:
            check(value)
        except PermanentError as error:
            raise refuse(code, str(error)) from None
        return value

    return AfterValidator(validator)


def _line(what: str, *, is_required: bool = False) -> AfterValidator:
    return _checked(partial(limits.check_line, what=what, is_required=is_required), "text")


def _address(text: str) -> str:
    try:
        return str(Address.parse(text))
    except AddressError as error:
        raise refuse("address", f"{error}; allowed: an address, LOCAL@DOMAIN") from None


def _names(value: object) -> object:
    """One name may stand for a list of one; nothing for none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _keep(value: object) -> bool | int:
    """Days where it is a duration."""
    if isinstance(value, bool):
        return value
    days, rest = divmod(seconds(value), _DAY_S)
    if rest:
        raise refuse("keep", f"{shown(value)} are no whole days; allowed: false, true, or days as in 14d")
    return int(days)


def _check_keep(value: bool | int) -> None:
    if not isinstance(value, bool):
        limits.check_keep_days(value)


def _interval(value: object) -> int:
    return int(seconds(value))


_DURATION = UNITS["seconds"].schema
_SIZE = UNITS["octets"].schema

AddressText = Annotated[str, AfterValidator(_address)]
Names = Annotated[
    list[str],
    BeforeValidator(_names),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}, {"type": "null"}]}),
]
Quota = Annotated[int, BeforeValidator(octets), _checked(limits.check_quota, "out-of-range"), WithJsonSchema({**_SIZE})]
MessageSize = Annotated[
    int, BeforeValidator(octets), _checked(limits.check_message_size, "out-of-range"), WithJsonSchema({**_SIZE})
]
Interval = Annotated[
    int, BeforeValidator(_interval), _checked(limits.check_interval, "out-of-range"), WithJsonSchema({**_DURATION})
]
Keep = Annotated[
    bool | int,
    BeforeValidator(_keep),
    _checked(_check_keep, "out-of-range"),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {**_DURATION}]}),
]


class User(Model):
    """One account."""

    name: Annotated[str, _checked(limits.check_name, "name")] = ""
    """Of the person, for people."""
    password: Secret | None = None
    """Where the password is read."""
    password_hash: Annotated[str, _checked(check_password_hash, "password-hash")] | None = None
    """The password's argon2id hash, instead of `password`."""
    quota: Quota | None = None
    """Limit of stored octets; `null`: no limit."""
    protocols: list[LoginProtocol] | None = None
    """Protocols to log in with; `null`: all."""
    enabled: bool = True
    """`false`: no mail comes in and nobody logs in; what is stored stays."""

    @model_validator(mode="after")
    def _one_password(self) -> "User":
        if self.password is not None and self.password_hash is not None:
            raise refuse("password", "both password and password_hash; allowed: one of them")
        return self


class MailingList(Model):
    """An address whose mail goes to its members, as mail of the list."""

    name: Annotated[str, _checked(limits.check_name, "name")] = ""
    """Of the list, for people."""
    members: list[str] = Field(default_factory=list)
    """Users, aliases or lists of this domain, or any address."""
    post: Literal["members", "anyone", "owner"] = "members"
    """Who may write to it; its owners always may."""
    owners: list[str] = Field(default_factory=list)
    """Who gets mail for LIST-owner: users, aliases or lists of this domain, or any address. None: the postmaster."""
    enabled: bool = True
    """`false`: mail for it is refused."""


class Contact(Model):
    """One entry of the domain's address book."""

    name: Annotated[str, _line("the name", is_required=True)]
    """What the person is called; each name once."""
    email: AddressText | None = None
    """Address, anywhere."""
    phone: Annotated[str, _line("the number")] = ""
    """Number of the telephone."""
    mobile: Annotated[str, _line("the number")] = ""
    """Number of the one that is carried along."""
    organization: Annotated[str, _line("the organization")] = ""
    """Whom the person works for."""
    title: Annotated[str, _line("the title")] = ""
    """What as."""
    note: Annotated[str, _line("the note")] = ""
    """Whatever else."""
    enabled: bool = True
    """`false`: nobody finds it."""


class Domain(Model):
    """A domain whose mail is delivered here."""

    postmaster: str | None = None
    """User, alias or list that gets mail for postmaster; the default is the domain's first user."""
    users: dict[str, User | None] | None = None
    """By local part."""
    aliases: dict[str, Annotated[list[str], Field(min_length=1)]] | None = None
    """Local part to targets: users, aliases or lists of this domain, or any address."""
    lists: dict[str, MailingList | None] | None = None
    """By local part."""
    catch_all: Names = Field(default_factory=list)
    """Who gets mail for addresses that nobody has: users, aliases or lists of this domain, or any address; `null`: such
    mail is refused."""
    contacts: list[Contact] | None = None
    """The address book."""
    enabled: bool = True
    """`false`: it is none of ours; what is stored stays."""


class Retrieval(Model):
    """A mailbox elsewhere whose mail is fetched."""

    name: Annotated[str, _checked(check_retrieval_name, "name")]
    """Of the entry; each once, whatever the case."""
    account: AddressText
    """The account that gets the mail, declared or made by hand."""
    server: Annotated[str, _checked(Server.parse, "server")]
    """`pop.elsewhere.test:995`, `192.0.2.1:110` or `[2001:db8::1]:110`."""
    tls: Literal["none", "starttls", "implicit"] = "implicit"
    """`implicit`: from the first octet; `starttls`: before any password is sent; `none`: in the clear."""
    ca: PathText | None = None
    """PEM file with the certificates to trust; `null`: those of the system."""
    user: Annotated[str, _line("the user", is_required=True)]
    """Name to log in with there."""
    password: Secret
    """Where the password is read, each time that it is needed."""
    folder: Annotated[str, _checked(limits.check_folder, "folder")] = "INBOX"
    """Mailbox of the account that the mail goes to."""
    keep: Keep = False
    """Whether mail stays on the server: `true`, `false`, or how many days, as in `14d`."""
    apop: Literal["auto", "require", "never"] = "auto"
    """Whether the password is proved without being sent; `auto`: where the server offers it and there is no TLS."""
    interval: Interval | None = None
    """From one look to the next; `null`: as the service's settings say."""
    max_message_size: MessageSize | None = None
    """Larger messages are left where they are; `null`: as the service's settings say."""
    enabled: bool = True
    """`false`: nothing is fetched."""

    @model_validator(mode="after")
    def _used(self) -> "Retrieval":
        if self.ca is not None and self.tls == "none":
            raise refuse("ca", "tls none looks at no certificate; allowed: ca with tls starttls or implicit")
        return self


class AccountsFile(Model):
    """accounts.yaml: domains, users, aliases, lists, contacts, and mailboxes elsewhere."""

    version: Version
    """Version of this format."""
    domains: dict[str, Domain | None] | None = None
    """By name, in A- or U-labels."""
    retrieval: list[Retrieval] | None = None
    """Mailboxes elsewhere whose mail is fetched into accounts here."""
