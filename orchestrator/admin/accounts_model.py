"""What a person may write in accounts.yaml: one strict model per part.

The docstring below a field is its documentation. What concerns more than one entry (addresses that are declared twice,
targets, circles) is in `accounts_file`.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from maillib.errors import PermanentError
from maillib.ports.credentials import check_password_hash
from orchestrator.admin.limits import LoginProtocol, check_name, check_quota
from orchestrator.fields import Secret
from orchestrator.model import Version
from orchestrator.units import octets
from orchestrator.validation import Model, refuse

T = TypeVar("T")


def _checked(check: Callable[[T], None], code: str) -> AfterValidator:
    def validator(value: T) -> T:
        try:
            check(value)
        except PermanentError as error:
            raise refuse(code, str(error)) from None
        return value

    return AfterValidator(validator)


class User(Model):
    """One account."""

    name: Annotated[str, _checked(check_name, "name")] = ""
    """Of the person, for people."""
    password: Secret | None = None
    """Where the password is read."""
    password_hash: Annotated[str, _checked(check_password_hash, "password-hash")] | None = None
    """The password's argon2id hash, instead of `password`."""
    quota: Annotated[int, BeforeValidator(octets), _checked(check_quota, "out-of-range")] | None = None
    """Limit of stored octets; `null`: no limit."""
    protocols: list[LoginProtocol] | None = None
    """Protocols to log in with; `null`: all."""

    @model_validator(mode="after")
    def _one_password(self) -> "User":
        if self.password is not None and self.password_hash is not None:
            raise refuse("password", "both password and password_hash; allowed: one of them")
        return self


class Domain(Model):
    """A domain whose mail is delivered here."""

    postmaster: str | None = None
    """User or alias that gets mail for postmaster; the default is the domain's first user."""
    users: dict[str, User | None] | None = None
    """By local part."""
    aliases: dict[str, Annotated[list[str], Field(min_length=1)]] | None = None
    """Local part to targets: users or aliases of this domain, or any address."""


class AccountsFile(Model):
    """accounts.yaml: domains, users and aliases."""

    version: Version
    """Version of this format."""
    domains: dict[str, Domain | None] | None = None
    """By name, in A- or U-labels."""
