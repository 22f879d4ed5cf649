"""Verbs on domains: domain add, set, remove, show, list."""

from typing import Annotated

import typer

from orchestrator.cli import entries
from orchestrator.cli.entries import AsJson, DomainArgument, Enabled

domain = entries.group("domain", "Domains whose mail is delivered here.")

Postmaster = Annotated[
    str | None, typer.Option("--postmaster", metavar="NAME", help="Account, alias or list: gets mail for postmaster.")
]
CatchAll = Annotated[
    list[str] | None,
    typer.Option("--catch-all", metavar="TARGET", help="Gets mail for what nobody has. May be repeated."),
]


def register(app: typer.Typer) -> None:
    app.add_typer(domain)


@domain.command()
def add(context: typer.Context, name: DomainArgument, catch_all: CatchAll = None) -> None:
    """Have mail for a domain delivered here."""
    entries.add(context, "domain", name, name, entries.said(catch_all=entries.addresses(name, catch_all)))


@domain.command("set")
def set_(
    context: typer.Context,
    name: DomainArgument,
    postmaster: Postmaster = None,
    catch_all: CatchAll = None,
    no_catch_all: Annotated[bool, typer.Option("--no-catch-all", help="Refuse mail for what nobody has.")] = False,
    enabled: Enabled = None,
) -> None:
    """Change a domain; what is not named stays."""
    if catch_all and no_catch_all:
        raise typer.BadParameter("say --catch-all or --no-catch-all, not both")
    caught = () if no_catch_all else entries.addresses(name, catch_all)
    fields = entries.said(postmaster=postmaster, catch_all=caught, enabled=enabled)
    entries.change(context, "domain", name, fields)


@domain.command()
def remove(context: typer.Context, name: DomainArgument) -> None:
    """Remove a domain without accounts, aliases, lists and contacts."""
    entries.remove(context, "domain", name)


@domain.command()
def show(context: typer.Context, name: DomainArgument, as_json: AsJson = False) -> None:
    """Show one domain."""
    entries.show(context, "domain", name, as_json=as_json)


@domain.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List domains, oldest first."""
    entries.list_(
        context, "domain", ("domain", "enabled", "accounts", "aliases", "lists", "postmaster"), as_json=as_json
    )
