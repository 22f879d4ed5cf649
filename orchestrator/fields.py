"""Types of the values a person writes: addresses, host names, paths, references to secrets.

Each refuses with what is wrong and what is allowed.
"""

import ipaddress
import os.path
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from maillib.address import MAX_DOMAIN_OCTETS, normalize_domain
from maillib.errors import AddressError
from maillib.secret import SecretRef
from maillib.settings.base import Range
from orchestrator.problems import shown
from orchestrator.settingsmodel import within
from orchestrator.validation import Model, refuse
from orchestrator.yamltext import kind_of

_PORT = re.compile(r"[1-9][0-9]{0,4}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,254}")

Processes = Annotated[
    int, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 64}), within(Range(1, 64), unit="")
]
"""More than any host of today has use for; each is a Python process of some 30 MB."""

WILDCARDS = ("", "::", "0.0.0.0")  # noqa: S104 - compared, not bound
"""Hosts that stand for many addresses."""


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where a listener listens."""

    host: str
    """An IP address in its shortest form, without brackets; empty: every address of both families."""
    port: int

    @classmethod
    def parse(cls, text: str) -> "SocketAddress":
        """`1.2.3.4:25`, `[::1]:25` or `:25`. Raises ValueError that says what is wrong; what is allowed."""
        host, colon, port = text.rpartition(":")
        if not colon or not _PORT.fullmatch(port) or int(port) > 65_535:
            raise ValueError(f"{shown(text)} has no port; allowed: ADDRESS:PORT with a port of 1 to 65535")
        if not host:
            return cls("", int(port))
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            address = None
        if address is None or bracketed != (address.version == 6) or "%" in host:
            raise ValueError(f"{shown(text)} has no IP address; allowed: 127.0.0.1:PORT, [::1]:PORT or :PORT")
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            raise ValueError(f"{shown(text)} is an IPv4 address in IPv6 form; allowed: {address.ipv4_mapped}:{port}")
        return cls(str(address), int(port))

    def clashes_with(self, other: "SocketAddress") -> bool:
        """Whether both cannot be listened on.

        `[::]` clashes with IPv4 addresses too: whether it takes them along differs from host to host, and `:PORT`
        says that both are meant.
        """
        if self.port != other.port:
            return False
        hosts = {self.host, other.host}
        if hosts & {"", "::"}:
            return True
        if "0.0.0.0" in hosts:  # noqa: S104 - compared, not bound
            return not any(":" in host for host in hosts)
        return len(hosts) == 1

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(text: str) -> str:
    try:
        return str(SocketAddress.parse(text))
    except ValueError as error:
        raise refuse("address", str(error)) from None


def _network(text: str) -> str:
    allowed = "allowed: 10.0.0.0/8, 2001:db8::/32 or an address"
    address, _, _ = text.partition("/")
    try:
        network = ipaddress.ip_network(text if "%" not in text else "", strict=False)
    except ValueError:
        raise refuse("network", f"{shown(text)} is no network; {allowed}") from None
    if ipaddress.ip_address(address) != network.network_address:
        raise refuse("network", f"{shown(text)} is an address within a network; {allowed}", f"write {network}?")
    if network.prefixlen == 0:
        raise refuse("network", f"{shown(text)} is everybody, who could then forge any address; {allowed}")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise refuse("network", f"{shown(text)} is IPv4 in IPv6 form; {allowed}")
    return str(network)


def _hostname(text: str) -> str:
    try:
        name = normalize_domain(text) if len(text) <= MAX_DOMAIN_OCTETS else ""
    except AddressError:
        name = ""
    if not name or name.rpartition(".")[2].isdigit():
        allowed = "labels of letters, digits and inner hyphens, as in mail.example.test"
        raise refuse("hostname", f"{shown(text)} is no host name; allowed: {allowed}")
    return name


def _user(text: str) -> str:
    if not _USER.fullmatch(text):
        raise refuse("user", f"{shown(text)} is no user name; allowed: {_USER.pattern}")
    return text


def _path(text: str) -> str:
    if not text or not text.isprintable():
        raise refuse("path", f"{shown(text)} is no path; allowed: text without control characters, not empty")
    return text


Hostname = Annotated[str, AfterValidator(_hostname)]
AddressText = Annotated[str, AfterValidator(_address)]
NetworkText = Annotated[str, AfterValidator(_network)]
UserName = Annotated[str, AfterValidator(_user)]
PathText = Annotated[str, AfterValidator(_path)]


def _reference(value: object) -> object:
    """Before anything that could show the value in a message."""
    if not isinstance(value, dict):
        what = f"{kind_of(value)} stands here" if value is None or isinstance(value, list) else "a literal secret"
        raise refuse("literal-secret", f"{what}; allowed: a reference to it", "write {file: PATH}")
    return value


class SecretReference(Model):
    """Where a secret is read: exactly one of the keys."""

    env: str | None = Field(default=None, pattern=f"^{_VARIABLE.pattern}$")
    """Name of an environment variable."""
    file: PathText | None = None
    """Path of a file; relative to the file that names it. One trailing line end is dropped."""
    credential: str | None = Field(default=None, pattern=f"^{_CREDENTIAL.pattern}$")
    """Name of a file in the service manager's $CREDENTIALS_DIRECTORY."""

    @model_validator(mode="after")
    def _one(self) -> "SecretReference":
        if len(self.model_fields_set) != 1 or None in (getattr(self, name) for name in self.model_fields_set):
            raise refuse("secret", "a reference has one key; allowed: env, file or credential")
        return self

    def ref(self, folder: Path) -> SecretRef:
        """With a relative path starting at `folder`."""
        if self.file is not None:
            return SecretRef("file", absolute(folder, self.file))
        return SecretRef("env", self.env) if self.env is not None else SecretRef("credential", self.credential or "")


class FileReference(Model):
    """Where a private key is."""

    file: PathText
    """Path of a PEM file; relative to the file that names it."""


Secret = Annotated[SecretReference, BeforeValidator(_reference)]
KeyFile = Annotated[FileReference, BeforeValidator(_reference)]


def absolute(folder: Path, text: str) -> str:
    """The path `text`, starting at `folder` when relative; symbolic links are left as they are."""
    return os.path.normpath(Path.cwd() / folder / text)
