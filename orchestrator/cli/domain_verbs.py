"""Verbs on domains and aliases: domain and alias add, set, remove, show, list."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.address import Address
from maillib.errors import AddressError
from maillib.settings.base import Json
from orchestrator.cli import suite

if TYPE_CHECKING:  # the verbs that need them import them: they cost more than the rest of the start
    from collections.abc import Sequence

    from maillib.ports.directory import Alias, Domain, Entries

SCHEMA_VERSION = 1

domain = typer.Typer(
    name="domain", help="Domains whose mail is delivered here.", no_args_is_help=True, rich_markup_mode=None
)
alias = typer.Typer(name="alias", help="Addresses that stand for others.", no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", parser=suite.domain)]
AddressArgument = Annotated[Address, typer.Argument(metavar="ADDRESS", parser=suite.address)]
Postmaster = Annotated[
    str | None, typer.Option("--postmaster", metavar="NAME", help="Account or alias that gets mail for postmaster.")
]
Enabled = Annotated[bool | None, typer.Option("--enabled/--disabled", help="Disabled: as if it were not there.")]


def register(app: typer.Typer) -> None:
    app.add_typer(domain)
    app.add_typer(alias)


# Domains


@domain.command("add")
def add_domain(context: typer.Context, name: DomainArgument) -> None:
    """Have mail for a domain delivered here."""
    from maillib.ports.directory import Domain
    from orchestrator.admin import accounts

    accounts.add_domain(suite.place(context).state_dir, Domain(name=name))
    suite.tell(f"added domain {name}")


@domain.command("set")
def set_domain(
    context: typer.Context, name: DomainArgument, postmaster: Postmaster = None, enabled: Enabled = None
) -> None:
    """Change a domain; what is not named stays."""
    from orchestrator.admin import accounts

    if postmaster is None and enabled is None:
        raise typer.BadParameter("say what to change: --postmaster, --enabled or --disabled")
    accounts.set_domain(suite.place(context).state_dir, name, postmaster=postmaster, enabled=enabled)
    suite.tell(f"changed domain {name}")


@domain.command("remove")
def remove_domain(context: typer.Context, name: DomainArgument) -> None:
    """Remove a domain without accounts and aliases."""
    from orchestrator.admin import accounts
    from orchestrator.admin.ownership import Named

    state_dir = suite.place(context).state_dir
    accounts.remove_domain(state_dir, name)
    suite.tell(f"removed domain {name}")
    suite.tell_if_declared(state_dir, Named("domain", name))


@domain.command("show")
def show_domain(context: typer.Context, name: DomainArgument, as_json: AsJson = False) -> None:
    """Show one domain."""
    from orchestrator.admin import accounts

    found = accounts.entries(suite.place(context).state_dir)
    [row] = _domain_rows(found, [accounts.domain_of(found, name)])
    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, "domain": row})
    else:
        suite.print_fields(row)


@domain.command("list")
def list_domains(context: typer.Context, as_json: AsJson = False) -> None:
    """List domains, oldest first."""
    from orchestrator.admin import accounts

    found = accounts.entries(suite.place(context).state_dir)
    rows = _domain_rows(found, found.domains)
    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, "domains": [*rows]})
    else:
        suite.print_rows(rows, ("domain", "enabled", "accounts", "aliases", "postmaster"))


def _domain_rows(found: "Entries", some: "Sequence[Domain]") -> list[dict[str, Json]]:
    from orchestrator.admin import accounts
    from orchestrator.admin.ownership import Named

    declared = accounts.declared_names(found)
    in_domain = Counter(account.address.domain for account in found.accounts)
    aliases_in_domain = Counter(one.address.domain for one in found.aliases)
    return [
        {
            "domain": one.name,
            "enabled": one.enabled,
            "postmaster": one.postmaster,
            "accounts": in_domain[one.name],
            "aliases": aliases_in_domain[one.name],
            "declared": Named("domain", one.name) in declared,
        }
        for one in some
    ]


# Aliases


@alias.command("add")
def add_alias(
    context: typer.Context,
    address: AddressArgument,
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="Addresses, or names of this domain.")],
) -> None:
    """Have mail for an address go to others."""
    from orchestrator.admin import accounts

    accounts.add_alias(suite.place(context).state_dir, address, _targets(address, targets))
    suite.tell(f"added alias {address}")


@alias.command("set")
def set_alias(
    context: typer.Context,
    address: AddressArgument,
    targets: Annotated[list[str] | None, typer.Argument(metavar="[TARGET...]", help="All that it leads to.")] = None,
    enabled: Enabled = None,
) -> None:
    """Change an alias: all of its targets, or whether it is there at all."""
    from orchestrator.admin import accounts

    if not targets and enabled is None:
        raise typer.BadParameter("say what to change: TARGET..., --enabled or --disabled")
    found = _targets(address, targets or [])
    accounts.set_alias(suite.place(context).state_dir, address, found, enabled=enabled)
    suite.tell(f"changed alias {address}")


@alias.command("remove")
def remove_alias(context: typer.Context, address: AddressArgument) -> None:
    """Remove an alias."""
    from orchestrator.admin import accounts
    from orchestrator.admin.ownership import Named

    state_dir = suite.place(context).state_dir
    accounts.remove_alias(state_dir, address)
    suite.tell(f"removed alias {address}")
    suite.tell_if_declared(state_dir, Named("alias", address.key))


@alias.command("show")
def show_alias(context: typer.Context, address: AddressArgument, as_json: AsJson = False) -> None:
    """Show one alias."""
    from orchestrator.admin import accounts

    found = accounts.entries(suite.place(context).state_dir)
    [row] = _alias_rows(found, [accounts.alias_of(found, address)])
    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, "alias": row})
    else:
        suite.print_fields(row)


@alias.command("list")
def list_aliases(context: typer.Context, as_json: AsJson = False) -> None:
    """List aliases, oldest first."""
    from orchestrator.admin import accounts

    found = accounts.entries(suite.place(context).state_dir)
    rows = _alias_rows(found, found.aliases)
    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, "aliases": [*rows]})
    else:
        suite.print_rows(rows, ("address", "enabled", "targets"))


def _alias_rows(found: "Entries", some: "Sequence[Alias]") -> list[dict[str, Json]]:
    from orchestrator.admin import accounts
    from orchestrator.admin.ownership import Named

    declared = accounts.declared_names(found)
    return [
        {
            "address": str(one.address),
            "enabled": one.enabled,
            "targets": [str(target) for target in one.targets],
            "declared": Named("alias", one.address.key) in declared,
        }
        for one in some
    ]


def _targets(address: Address, texts: list[str]) -> list[Address]:
    """Raises BadParameter."""
    try:
        return [Address.parse(text if "@" in text else f"{text}@{address.domain}") for text in texts]
    except AddressError as error:
        raise typer.BadParameter(str(error)) from None
