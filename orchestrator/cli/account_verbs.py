"""Verbs on accounts: account add, set, password, remove, show, list."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.address import Address
from maillib.settings.base import Json
from orchestrator.cli import suite

if TYPE_CHECKING:  # the verbs that need them import them: they cost more than the rest of the start
    from collections.abc import Sequence

    from maillib.ports.directory import Account, Entries
    from orchestrator.admin.accounts import AccountChange

SCHEMA_VERSION = 1

NO_LIMIT = "none"
ALL = "all"
"""What a person writes for a quota and for protocols without a limit."""

account = typer.Typer(name="account", help="Accounts.", no_args_is_help=True, rich_markup_mode=None)

AddressArgument = Annotated[Address, typer.Argument(metavar="ADDRESS", parser=suite.address)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Name = Annotated[str | None, typer.Option("--name", help="Of the person.")]
Quota = Annotated[str | None, typer.Option("--quota", metavar="1GiB", help=f"Stored octets; `{NO_LIMIT}`: no limit.")]
Protocols = Annotated[
    str | None, typer.Option("--protocols", metavar="smtp,pop", help=f"To log in with; `{ALL}`: every one.")
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", metavar="F", help="Read the password from F.")]


def register(app: typer.Typer) -> None:
    app.add_typer(account)


@account.command()
def add(
    context: typer.Context,
    address: AddressArgument,
    name: Name = None,
    quota: Quota = None,
    protocols: Protocols = None,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
) -> None:
    """Make an account. Without a password it gets mail, but nobody can log in."""
    from orchestrator.admin import accounts

    state_dir = suite.place(context).state_dir
    password = _password(stdin=password_stdin, file=password_file)
    made = accounts.add_account(state_dir, address, _change(name, quota, protocols), password)
    earlier = accounts.usage(state_dir, made.id)
    suite.tell(f"added account {made.address}" + ("" if password else "; it has no password yet"))
    if earlier.messages:
        suite.tell(
            f"it has the mail of the account removed before: {earlier.messages} messages, {earlier.octets} octets"
        )


@account.command("set")
def set_(
    context: typer.Context,
    address: AddressArgument,
    name: Name = None,
    quota: Quota = None,
    protocols: Protocols = None,
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Disabled: no log-in, no new mail; its mail stays.")
    ] = None,
) -> None:
    """Change an account; what is not named stays."""
    from orchestrator.admin import accounts

    if (name, quota, protocols, enabled) == (None, None, None, None):
        raise typer.BadParameter("say what to change: --name, --quota, --protocols, --enabled or --disabled")
    accounts.set_account(suite.place(context).state_dir, address, _change(name, quota, protocols, enabled=enabled))
    suite.tell(f"changed account {address}")


@account.command()
def password(
    context: typer.Context,
    address: AddressArgument,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
) -> None:
    """Give an account another password; asks for it on a terminal."""
    from orchestrator.admin import accounts

    state_dir = suite.place(context).state_dir
    given = _password(stdin=password_stdin, file=password_file)
    if given is None:
        if not sys.stdin.isatty():
            raise typer.BadParameter("say --password-stdin or --password-file F")
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    accounts.set_password(state_dir, address, given)
    suite.tell(f"changed the password of {address}")


@account.command()
def remove(
    context: typer.Context,
    address: AddressArgument,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its mail, too, for good.")] = False,
) -> None:
    """Remove an account. Its mail is kept, for an account that gets this address later."""
    from orchestrator.admin import accounts
    from orchestrator.admin.ownership import Named

    state_dir = suite.place(context).state_dir
    if purge:
        gone = accounts.purge_account(state_dir, address)
        what = "its index was damaged" if gone is None else f"{gone.messages} messages, {gone.octets} octets"
        suite.tell(f"removed account {address} and its mail: {what}")
    else:
        accounts.remove_account(state_dir, address)
        suite.tell(f"removed account {address}; its mail is kept")
    suite.tell_if_declared(state_dir, Named("account", address.key))


@account.command()
def show(context: typer.Context, address: AddressArgument, as_json: AsJson = False) -> None:
    """Show one account, and how much mail it has."""
    from orchestrator.admin import accounts

    state_dir = suite.place(context).state_dir
    found = accounts.entries(state_dir)
    one = accounts.account_of(found, address)
    stored = accounts.usage(state_dir, one.id)
    [row] = _rows(found, [one])
    row = {**row, "messages": stored.messages, "octets": stored.octets}
    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, "account": row})
    else:
        suite.print_fields(row)


@account.command("list")
def list_(
    context: typer.Context,
    as_json: AsJson = False,
    removed: Annotated[bool, typer.Option("--removed", help="Those that are removed and whose mail is kept.")] = False,
) -> None:
    """List accounts, oldest first."""
    from orchestrator.admin import accounts

    found = accounts.entries(suite.place(context).state_dir)
    rows = _rows(found, found.removed if removed else found.accounts)
    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, "accounts": [*rows]})
    else:
        suite.print_rows(rows, ("address", "enabled", "protocols", "quota_octets", "name"))


def _rows(found: "Entries", some: "Sequence[Account]") -> list[dict[str, Json]]:
    from orchestrator.admin import accounts
    from orchestrator.admin.ownership import Named

    declared = accounts.declared_names(found)
    return [
        {
            "address": str(one.address),
            "name": one.name,
            "enabled": one.enabled,
            "protocols": None if one.protocols is None else [*sorted(one.protocols)],
            "quota_octets": one.quota_octets,
            "password": one.id in found.with_password,
            "declared": Named("account", one.address.key) in declared,
        }
        for one in some
    ]


def _change(
    name: str | None, quota: str | None, protocols: str | None, *, enabled: bool | None = None
) -> "AccountChange":
    from orchestrator.admin.accounts import AccountChange

    return AccountChange(
        name=name,
        enabled=enabled,
        no_quota=quota == NO_LIMIT,
        quota_octets=None if quota in (None, NO_LIMIT) else suite.size(quota),
        all_protocols=protocols == ALL,
        protocols=None if protocols in (None, ALL) else _protocols(protocols),
    )


def _protocols(text: str) -> frozenset[str]:
    """Raises BadParameter."""
    from orchestrator.admin.limits import LOGIN_PROTOCOLS

    names = frozenset(name.strip() for name in text.split(","))
    if unknown := sorted(names - {*LOGIN_PROTOCOLS}):
        raise typer.BadParameter(f"{', '.join(unknown)}: no protocol to log in with; there are {LOGIN_PROTOCOLS}")
    return names


def _password(*, stdin: bool, file: Path | None) -> str | None:
    """What is given; None: nothing is."""
    from maillib.secret import SecretRef, read_secret

    if stdin and file is not None:
        raise typer.BadParameter("say --password-stdin or --password-file, not both")
    if stdin:
        return read_secret(sys.stdin.buffer, "the password")
    return None if file is None else SecretRef("file", str(file)).read()
