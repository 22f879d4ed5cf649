"""Verbs on contacts: contact add, set, remove, show, list."""

from typing import Annotated

import typer

from orchestrator.cli import entries, suite
from orchestrator.cli.entries import AsJson, DomainArgument, Enabled

contact = entries.group("contact", "Address books: people whom the users of a domain find.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the person is called.")]
Email = Annotated[str | None, typer.Option("--email", metavar="ADDRESS", help="Empty: none.")]
Phone = Annotated[str | None, typer.Option("--phone", help="At work.")]
Mobile = Annotated[str | None, typer.Option("--mobile")]
Organization = Annotated[str | None, typer.Option("--organization")]
Title = Annotated[str | None, typer.Option("--title")]
Note = Annotated[str | None, typer.Option("--note")]


def register(app: typer.Typer) -> None:
    app.add_typer(contact)


@contact.command("add", help="Put a person into the address book of a domain.")
@contact.command("set", help="Change a contact; what is not named stays, what is named empty goes.")
def put(
    context: typer.Context,
    domain: DomainArgument,
    name: NameArgument,
    email: Email = None,
    phone: Phone = None,
    mobile: Mobile = None,
    organization: Organization = None,
    title: Title = None,
    note: Note = None,
    enabled: Enabled = None,
) -> None:
    fields = entries.said(
        email=str(suite.address(email)) if email else None,
        phone=phone,
        mobile=mobile,
        organization=organization,
        title=title,
        note=note,
        enabled=enabled,
    )
    if email == "":
        fields["email"] = None
    entries.put(context, "contact", _key(domain, name), f"{name}@{domain}", fields)


@contact.command()
def remove(context: typer.Context, domain: DomainArgument, name: NameArgument) -> None:
    """Remove a contact."""
    entries.remove(context, "contact", _key(domain, name))


@contact.command()
def show(context: typer.Context, domain: DomainArgument, name: NameArgument, as_json: AsJson = False) -> None:
    """Show one contact."""
    entries.show(context, "contact", _key(domain, name), as_json=as_json)


@contact.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List contacts, oldest first."""
    entries.list_(context, "contact", ("domain", "name", "enabled", "email", "phone"), as_json=as_json)


def _key(domain: str, name: str) -> str:
    from maillib.ports.contacts import contact_key

    return f"{contact_key(name)}@{domain}"
