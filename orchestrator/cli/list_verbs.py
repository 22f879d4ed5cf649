"""Verbs on mailing lists: list add, set, remove, show, list."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.address import Address
from orchestrator.cli import entries
from orchestrator.cli.entries import AddressArgument, AsJson, Enabled

if TYPE_CHECKING:
    from orchestrator.admin.ownership import Fields, Value

mailing_list = entries.group("list", "Mailing lists: mail for the address goes to all members.")


class Post(StrEnum):
    """As `maillib.ports.lists.Post`, which costs more to import."""

    MEMBERS = "members"
    ANYONE = "anyone"
    OWNER = "owner"


Name = Annotated[str | None, typer.Option("--name", help="Of the list, for people.")]
Members = Annotated[
    list[str] | None,
    typer.Option("--member", metavar="A", help="Address, or name of this domain. Repeated: all of them."),
]
PostOption = Annotated[Post | None, typer.Option("--post", help="Who may write to it; its owners always may.")]
Owners = Annotated[
    list[str] | None,
    typer.Option("--owner", metavar="A", help="Gets mail for LIST-owner; may be repeated. Else the postmaster does."),
]


def register(app: typer.Typer) -> None:
    app.add_typer(mailing_list)


@mailing_list.command()
def add(
    context: typer.Context,
    address: AddressArgument,
    members: Members = None,
    name: Name = None,
    post: PostOption = None,
    owners: Owners = None,
) -> None:
    """Make a list."""
    fields = _fields(address, members, name, post, owners)
    entries.add(context, "list", address.key, str(address), fields)


@mailing_list.command("set")
def set_(
    context: typer.Context,
    address: AddressArgument,
    members: Members = None,
    add_members: Annotated[
        list[str] | None, typer.Option("--add-member", metavar="A", help="One more. May be repeated.")
    ] = None,
    remove_members: Annotated[
        list[str] | None, typer.Option("--remove-member", metavar="A", help="One less. May be repeated.")
    ] = None,
    name: Name = None,
    post: PostOption = None,
    owners: Owners = None,
    enabled: Enabled = None,
) -> None:
    """Change a list; what is not named stays."""
    fields = _fields(address, members, name, post, owners) | entries.said(enabled=enabled)
    if not (add_members or remove_members):
        entries.change(context, "list", address.key, fields)
        return
    if members:
        raise typer.BadParameter("say all members with --member, or which are to change, not both")
    more = entries.addresses(address.domain, add_members) or ()
    less = {Address.parse(text).key for text in entries.addresses(address.domain, remove_members) or ()}

    def members_now(before: "Fields") -> "Fields":
        had = before["members"]
        assert isinstance(had, tuple)
        if unknown := less - {Address.parse(text).key for text in had}:
            raise typer.BadParameter(f"{', '.join(sorted(unknown))}: no member of the list")
        kept = [text for text in had if Address.parse(text).key not in less]
        return {"members": entries.addresses(address.domain, [*kept, *more]) or ()}

    entries.change(context, "list", address.key, fields, more=members_now)


@mailing_list.command()
def remove(context: typer.Context, address: AddressArgument) -> None:
    """Remove a list."""
    entries.remove(context, "list", address.key)


@mailing_list.command()
def show(context: typer.Context, address: AddressArgument, as_json: AsJson = False) -> None:
    """Show one list."""
    entries.show(context, "list", address.key, as_json=as_json)


@mailing_list.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the lists, oldest first."""
    entries.list_(context, "list", ("address", "enabled", "post", "members", "name"), as_json=as_json)


def _fields(
    address: Address, members: list[str] | None, name: str | None, post: Post | None, owners: list[str] | None
) -> "dict[str, Value]":
    return entries.said(
        name=name,
        members=entries.addresses(address.domain, members),
        post=None if post is None else post.value,
        owners=entries.addresses(address.domain, owners),
    )
