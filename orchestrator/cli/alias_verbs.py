"""Verbs on aliases: alias add, set, remove, show, list."""

from typing import Annotated

import typer

from orchestrator.cli import entries
from orchestrator.cli.entries import AddressArgument, AsJson, Enabled

alias = entries.group("alias", "Addresses that stand for others.")


def register(app: typer.Typer) -> None:
    app.add_typer(alias)


@alias.command()
def add(
    context: typer.Context,
    address: AddressArgument,
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="Addresses, or names of this domain.")],
) -> None:
    """Have mail for an address go to others."""
    fields = entries.said(targets=entries.addresses(address.domain, targets))
    entries.add(context, "alias", address.key, str(address), fields)


@alias.command("set")
def set_(
    context: typer.Context,
    address: AddressArgument,
    targets: Annotated[list[str] | None, typer.Argument(metavar="[TARGET...]", help="All that it leads to.")] = None,
    enabled: Enabled = None,
) -> None:
    """Change an alias: all of its targets, or whether it is there at all."""
    fields = entries.said(targets=entries.addresses(address.domain, targets), enabled=enabled)
    entries.change(context, "alias", address.key, fields)


@alias.command()
def remove(context: typer.Context, address: AddressArgument) -> None:
    """Remove an alias."""
    entries.remove(context, "alias", address.key)


@alias.command()
def show(context: typer.Context, address: AddressArgument, as_json: AsJson = False) -> None:
    """Show one alias."""
    entries.show(context, "alias", address.key, as_json=as_json)


@alias.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List aliases, oldest first."""
    entries.list_(context, "alias", ("address", "enabled", "targets"), as_json=as_json)
