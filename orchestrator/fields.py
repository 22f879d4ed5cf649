"""Types of the values a person writes: durations, sizes, addresses, host names, paths, references to secrets.

Each refuses with what is wrong and what is allowed. The settings classes of `maillib.settings` stay plain: `Settings`
turns one of them into a strict model, reading `Unit` and `Range` where they stand beside a field.
"""

import dataclasses
import ipaddress
import os.path
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    Strict,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from maillib.address import normalize_domain
from maillib.errors import AddressError
from maillib.settings.base import Range, Unit
from orchestrator.problems import shown
from orchestrator.secret import SecretRef
from orchestrator.validation import Model, refuse
from orchestrator.yamltext import kind_of

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?")
_OCTETS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,254}")


# Numbers with a unit


def seconds(value: object) -> float:
    """`30s 5m 4h 5d` in seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(int(match[1]) * _SECONDS[match[2]])
    hint = f"write {value}s?" if isinstance(value, int) and not isinstance(value, bool) else None
    raise refuse("duration", f"{shown(value)} is no duration; allowed: a whole number and s, m, h or d", hint)


def octets(value: object) -> int:
    """A number of octets, or one in `KiB MiB GiB`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _OCTETS.get(match[2], 1)
    hint = None
    if isinstance(value, str) and (close := re.fullmatch(r"([0-9]+) ?([kmg])i?b?", value.lower())):
        hint = f"write {close[1]}{close[2].upper()}iB?"
    raise refuse("size", f"{shown(value)} is no size; allowed: octets, or a whole number and KiB, MiB or GiB", hint)


def duration_text(value: float) -> str:
    """`value` seconds as a person writes them; with a fraction, as plain seconds."""
    for unit, factor in reversed(_SECONDS.items()):
        if value and value % factor == 0:
            return f"{int(value) // factor}{unit}"
    return f"{value:g}s"


def size_text(value: int) -> str:
    for unit, factor in reversed(_OCTETS.items()):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


_UNITS: dict[str, tuple[Callable[[object], object], Callable[..., str], dict[str, object]]] = {
    "seconds": (seconds, duration_text, {"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
    "octets": (
        octets,
        size_text,
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]},
    ),
}
"""Name of a `Unit` to parser, text for messages, JSON Schema."""


def unit_text(unit: str, value: float) -> str:
    """A number of settings as a person writes it in that unit; empty `unit`: a plain number."""
    return _UNITS[unit][1](value) if unit else f"{value:.15g}"


def _within(limits: Range, *, unit: str) -> AfterValidator:
    def check(value: object) -> object:
        """Of a list, the number of items."""
        number = len(value) if isinstance(value, tuple) else value
        assert isinstance(number, int | float)
        if limits.least <= number <= limits.most:
            return value
        counted = f"{number} items are" if isinstance(value, tuple) else f"{unit_text(unit, number)} is"
        raise refuse("out-of-range", f"{counted} out of range; allowed: {_range_text(limits, unit)}")

    return AfterValidator(check)


Processes = Annotated[
    int, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 64}), _within(Range(1, 64), unit="")
]
"""More than any host of today has use for; each is a Python process of some 30 MB."""


def _range_text(limits: Range, unit: str) -> str:
    return f"{unit_text(unit, limits.least)} to {unit_text(unit, limits.most)}"


# Plain dataclasses as strict models


class Settings:
    """Marks a field whose type is a plain dataclass of `maillib.settings`; the value is an instance of that."""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        names = [field.name for field in dataclasses.fields(source)]

        def build(value: Model) -> object:
            return source(**{name: getattr(value, name) for name in names})

        return core_schema.no_info_after_validator_function(build, handler.generate_schema(model_of(source)))


@cache
def model_of(kind: type) -> type[Model]:
    """The strict model of a settings dataclass: the same fields and defaults, units read as a person writes them."""
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: (_annotation(hints[field.name]), _default(field)) for field in dataclasses.fields(kind)}
    made = create_model(kind.__name__, __base__=Model, __doc__=kind.__doc__, **fields)  # type: ignore[call-overload]
    return typing.cast(type[Model], made)


def written_default(kind: type, name: str) -> object:
    """The default of a settings field, numbers as a person writes them. Raises KeyError when it has none."""
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    if field.default is dataclasses.MISSING:
        raise KeyError(name)
    hint = typing.get_type_hints(kind, include_extras=True)[name]
    if isinstance(field.default, tuple):
        return [_written(_metadata(typing.get_args(_metadata(hint)[0])[0])[1], item) for item in field.default]
    return _written(_metadata(hint)[1], field.default)


def _written(metadata: tuple[object, ...], value: object) -> object:
    unit = next((entry.name for entry in metadata if isinstance(entry, Unit)), "")
    return unit_text(unit, value) if unit and isinstance(value, int | float) else value


def _metadata(hint: object) -> tuple[object, tuple[object, ...]]:
    """A type, and what is written beside it."""
    if typing.get_origin(hint) is Annotated:
        bare, *metadata = typing.get_args(hint)
        return bare, tuple(metadata)
    return hint, ()


def _default(field: "dataclasses.Field[object]") -> object:
    return ... if field.default is dataclasses.MISSING else field.default


def _annotation(hint: object) -> object:
    hint, metadata = _metadata(hint)
    if typing.get_origin(hint) is tuple:
        item = _annotation(typing.get_args(hint)[0])
        hint = Annotated[tuple[item, ...], Strict(False)]  # type: ignore[valid-type]  # YAML gives a list
    unit = next((entry.name for entry in metadata if isinstance(entry, Unit)), "")
    limits = next((entry for entry in metadata if isinstance(entry, Range)), None)
    added: list[object] = []
    if unit:
        parse, _, schema = _UNITS[unit]
        allowed = _range_text(limits, unit) if limits else unit
        added += [BeforeValidator(parse), WithJsonSchema({**schema, "x-allowed": allowed})]
    elif limits and hint is int:
        added.append(WithJsonSchema({"type": "integer", "minimum": limits.least, "maximum": limits.most}))
    if limits:
        added.append(_within(limits, unit=unit))
    return Annotated[(hint, *added)] if added else hint


# Names and addresses


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


def _hostname(text: str) -> str:
    try:
        name = normalize_domain(text)
    except AddressError:
        name = ""
    if not name or name.rpartition(".")[2].isdigit():
        allowed = "labels of letters, digits and inner hyphens, as in mail.example.test"
        raise refuse("hostname", f"{shown(text)} is no host name; allowed: {allowed}")
    return name


def is_user_name(value: object) -> bool:
    return isinstance(value, str) and _USER.fullmatch(value) is not None


def _user(text: str) -> str:
    if not is_user_name(text):
        raise refuse("user", f"{shown(text)} is no user name; allowed: {_USER.pattern}")
    return text


def _path(text: str) -> str:
    if not text or not text.isprintable():
        raise refuse("path", f"{shown(text)} is no path; allowed: text without control characters, not empty")
    return text


Hostname = Annotated[str, AfterValidator(_hostname)]
AddressText = Annotated[str, AfterValidator(_address)]
UserName = Annotated[str, AfterValidator(_user)]
PathText = Annotated[str, AfterValidator(_path)]


# Secrets


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
