"""Verbs on accounts: account add, set, password, remove, show, list."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.address import Address
from maillib.settings.base import Json
from orchestrator.cli import entries, suite
from orchestrator.cli.entries import AddressArgument, AsJson

if TYPE_CHECKING:
    from orchestrator.admin.ownership import Value

NO_LIMIT = "none"
ALL = "all"
"""What a person writes for a quota and for protocols without a limit."""

account = entries.group("account", "Accounts.")

Name = Annotated[str | None, typer.Option("--name", help="Of the person.")]
Quota = Annotated[str | None, typer.Option("--quota", metavar="1GiB", help=f"Stored octets; `{NO_LIMIT}`: no limit.")]
Protocols = Annotated[
    list[str] | None,
    typer.Option(
        "--protocol", "--protocols", metavar="smtp,pop", help=f"To log in with; repeated, too; `{ALL}`: every one."
    ),
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
    password = _password(stdin=password_stdin, file=password_file)
    fields = _fields(name, quota, protocols)
    entries.add(context, "account", address.key, str(address), fields, password=password)
    if password is None:
        suite.tell("it has no password yet")
    earlier = _usage(context, address)
    if earlier["messages"]:
        suite.tell(
            f"it has the mail of the account removed before: {earlier['messages']} messages, {earlier['octets']} octets"
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
    fields = _fields(name, quota, protocols) | entries.said(enabled=enabled)
    entries.change(context, "account", address.key, fields)


@account.command()
def password(
    context: typer.Context,
    address: AddressArgument,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
) -> None:
    """Give an account another password; asks for it on a terminal."""
    from orchestrator.admin import objects
    from orchestrator.admin.ownership import Named

    place = suite.place(context)
    given = _password(stdin=password_stdin, file=password_file)
    if given is None:
        if not sys.stdin.isatty():
            raise typer.BadParameter("say --password-stdin or --password-file F")
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    with suite.audited(place, "account password", [address.key]):
        objects.set_password(place.state_dir, Named("account", address.key), given)
    suite.tell(f"changed the password of {address}")


@account.command()
def remove(
    context: typer.Context,
    address: AddressArgument,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its mail, too, for good.")] = False,
) -> None:
    """Remove an account. Its mail is kept, for an account that gets this address later."""
    from orchestrator.admin import accounts

    if not purge:
        entries.remove(context, "account", address.key, note="; its mail is kept")
        return
    place = suite.place(context)
    with suite.audited(place, "account remove --purge", [address.key]) as entry:
        gone = accounts.purge_account(place.state_dir, address)
        entry.before = None if gone is None else {"messages": gone.messages, "octets": gone.octets}
    what = "its index was damaged" if gone is None else f"{gone.messages} messages, {gone.octets} octets"
    suite.tell(f"removed account {address} and its mail: {what}")
    entries.tell_what_is_left(context, "account", address.key)


@account.command()
def show(context: typer.Context, address: AddressArgument, as_json: AsJson = False) -> None:
    """Show one account, and how much mail it has."""
    entries.show(context, "account", address.key, as_json=as_json, more=lambda: _usage(context, address))


@account.command("list")
def list_(
    context: typer.Context,
    as_json: AsJson = False,
    removed: Annotated[bool, typer.Option("--removed", help="Those that are removed and whose mail is kept.")] = False,
) -> None:
    """List accounts, oldest first."""
    columns = ("address", "enabled", "protocols", "quota_octets", "name")
    if not removed:
        entries.list_(context, "account", columns, as_json=as_json)
        return
    from orchestrator.admin import accounts, rows

    found = accounts.entries(suite.place(context).state_dir)
    entries.print_list("account", [*rows.removed_accounts(found)], columns, as_json=as_json)


def _usage(context: typer.Context, address: Address) -> dict[str, Json]:
    from orchestrator.admin import accounts

    state_dir = suite.place(context).state_dir
    stored = accounts.usage(state_dir, accounts.account_of(accounts.entries(state_dir), address).id)
    return {"messages": stored.messages, "octets": stored.octets}


def _fields(name: str | None, quota: str | None, protocols: list[str] | None) -> "dict[str, Value]":
    fields = entries.said(
        name=name,
        quota=None if quota in (None, NO_LIMIT) else suite.size(quota),
        protocols=None if not protocols or protocols == [ALL] else _protocols(protocols),
    )
    if quota == NO_LIMIT:
        fields["quota"] = None
    if protocols == [ALL]:
        fields["protocols"] = None
    return fields


def _protocols(texts: list[str]) -> tuple[str, ...]:
    """Raises BadParameter."""
    from orchestrator.admin.limits import LOGIN_PROTOCOLS

    names = {name.strip() for text in texts for name in text.split(",")}
    if unknown := sorted(names - {*LOGIN_PROTOCOLS}):
        raise typer.BadParameter(f"{', '.join(unknown)}: no protocol to log in with; there are {LOGIN_PROTOCOLS}")
    return tuple(sorted(names))


def _password(*, stdin: bool, file: Path | None) -> str | None:
    """What is given; None: nothing is."""
    from maillib.secret import SecretRef, read_secret

    if stdin and file is not None:
        raise typer.BadParameter("say --password-stdin or --password-file, not both")
    if stdin:
        return read_secret(sys.stdin.buffer, "the password")
    return None if file is None else SecretRef("file", str(file)).read()
