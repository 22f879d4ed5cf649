"""What a person may write in services.yaml: one strict model per part.

The docstring below a field is its documentation, in the JSON Schema and in docs/settings.md. What a change of it costs
is declared where its value ends up, in `maillib.settings.service`, and here for what no service is told. What concerns
more than one service (ports, dependencies, users) is in `crosscheck`; paths are made absolute in `spec`.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from maillib.settings.change import Change
from maillib.settings.imap import ImapSettings
from maillib.settings.pop import PopSettings
from maillib.settings.service import Limits, Stop
from maillib.settings.smtp import SmtpSettings
from maillib.settings.spool import SpoolSettings
from orchestrator.fields import AddressText, Hostname, KeyFile, NetworkText, PathText, Processes, UserName
from orchestrator.settingsmodel import Settings
from orchestrator.validation import Model, refuse

TlsMode = Literal["none", "starttls", "implicit"]


class Listener(Model):
    """One address a service listens on."""

    address: AddressText
    """`127.0.0.1:2525`, `[::1]:2525`, or `:2525` for every address of this host."""
    tls: TlsMode = "starttls"
    """`starttls`: offered; `implicit`: from the first octet; `none`: not offered. Where no other listener of the
    service has TLS, a change to or from `none` is a reload."""
    cleartext_login: bool = False
    """Accept log-in without TLS here. Passwords then pass the network in the clear."""
    proxy_from: list[NetworkText] = Field(default_factory=list)
    """Networks of your balancers: `10.0.0.0/8`, `2001:db8::/32`, or an address. A connection from there has to begin
    with a PROXY header, version 1 or 2, whose address then counts as the client's; from anywhere else such a header
    is just a bad command."""


class SmtpListener(Listener):
    """One address an SMTP service listens on."""

    role: Literal["mx", "submission"]
    """`mx`: mail for our domains, from anyone; `submission`: mail of our users, who log in. RFC 6409."""


class Service(Model):
    """What every service has, whatever its protocol."""

    protocol: Literal["smtp", "spool", "imap", "pop"]
    """What it speaks."""
    enabled: bool = True
    """`false`: drained, stopped and listed as off; its data stays."""
    processes: Processes = 1
    """Worker processes behind the same listeners."""
    user: UserName | None = None
    """The workers drop to this user after binding; `null`: they stay who started them."""
    depends_on: Annotated[list[str], Change.LIVE] = Field(default_factory=list)
    """Names of services; this one is started after they are ready and stopped before them."""
    stop: Annotated[Stop, Settings()] = Stop()
    """How it stops."""
    limits: Annotated[Limits, Settings()] = Limits()
    """What it may use."""


class SmtpService(Service):
    """Takes mail in. RFC 5321, RFC 6409."""

    protocol: Literal["smtp"]
    """What it speaks."""
    listen: Annotated[list[SmtpListener], Field(min_length=1)]
    """Where it listens."""
    settings: Annotated[SmtpSettings, Settings()] = SmtpSettings()
    """The protocol's own."""


class SpoolService(Service):
    """Delivers the mail that waits in the spool. It listens nowhere."""

    protocol: Literal["spool"]
    """What it speaks."""
    settings: Annotated[SpoolSettings, Settings()] = SpoolSettings()
    """The protocol's own."""


class ImapService(Service):
    """Lets users keep their mail here, and read it wherever they are. RFC 9051, RFC 3501."""

    protocol: Literal["imap"]
    """What it speaks."""
    listen: Annotated[list[Listener], Field(min_length=1)]
    """Where it listens."""
    settings: Annotated[ImapSettings, Settings()] = ImapSettings()
    """The protocol's own."""


class PopService(Service):
    """Lets users fetch their mail. RFC 1939."""

    protocol: Literal["pop"]
    """What it speaks."""
    listen: Annotated[list[Listener], Field(min_length=1)]
    """Where it listens."""
    settings: Annotated[PopSettings, Settings()] = PopSettings()
    """The protocol's own."""


class UnknownService(Service):
    """One whose `protocol` is missing or wrong: the rest is validated as far as it goes for any protocol."""

    listen: object = None
    settings: object = None


AnyService = SmtpService | SpoolService | ImapService | PopService

SERVICES: dict[str, type[AnyService]] = {
    "smtp": SmtpService,
    "spool": SpoolService,
    "imap": ImapService,
    "pop": PopService,
}
"""Protocol to the model of its services."""


class Tls(Model):
    """Where certificate and private key come from."""

    mode: Literal["self-signed", "files"] = "self-signed"
    """`self-signed`: made under `state_dir`/tls, with a private CA; `files`: the two named here."""
    certificate: PathText | None = None
    """PEM file with the certificate and its chain; for mode `files`."""
    private_key: KeyFile | None = None
    """PEM file with the private key; for mode `files`."""

    @model_validator(mode="after")
    def _files(self) -> "Tls":
        named = [name for name in ("certificate", "private_key") if getattr(self, name) is not None]
        if self.mode == "files" and len(named) < 2:
            raise refuse("tls", "mode files names no certificate or no private_key; both are needed")
        if self.mode == "self-signed" and named:
            raise refuse("tls", f"mode self-signed takes no {named[0]}", "write mode: files")
        return self


def _version(value: int) -> int:
    if value != 1:
        raise refuse("version", f"{value} is no version of this format; allowed: 1")
    return value


Version = Annotated[int, AfterValidator(_version), WithJsonSchema({"const": 1})]


class SpecFile(Model):
    """services.yaml: what runs, how many of it, with which settings."""

    version: Version
    """Version of this format."""
    hostname: Hostname
    """The name this host gives itself in greetings, Received, Message-ID and DSN. RFC 5321 §4.1.3."""
    state_dir: PathText = "./var"
    """Where mail, queue, logs, sockets and generations are; relative to this file."""
    accounts: Annotated[PathText | None, Change.LIVE] = None
    """File with declared accounts; relative to this file."""
    tls: Tls = Tls()
    """Certificate and private key of all listeners."""
    services: dict[str, object]
    """The services by name: `[a-z][a-z0-9-]{0,30}`, not `all`, `agent` or `manage`."""
