"""Verbs on retrieval entries: retrieval add, set, remove, show, list."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.address import Address
from maillib.secret import SecretRef
from orchestrator.cli import entries, suite
from orchestrator.cli.entries import AsJson, Enabled

if TYPE_CHECKING:
    from orchestrator.admin.ownership import Value

NONE = "none"
"""What a person writes for a value that is the service's to say, or the system's."""

retrieval = entries.group("retrieval", "Mailboxes elsewhere whose mail is fetched into accounts here.")


class Tls(StrEnum):
    """As `maillib.ports.retrieval.Tls`, which costs more to import; and so below."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class Apop(StrEnum):
    AUTO = "auto"
    REQUIRE = "require"
    NEVER = "never"


NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
Account = Annotated[
    Address | None, typer.Option("--account", metavar="ADDRESS", parser=suite.address, help="That the mail is for.")
]
Server = Annotated[str | None, typer.Option("--server", metavar="HOST:PORT")]
TlsOption = Annotated[Tls | None, typer.Option("--tls", help="The default: implicit.")]
Ca = Annotated[str | None, typer.Option("--ca", metavar="PATH", help=f"Certificates to trust; `{NONE}`: the system's.")]
User = Annotated[str | None, typer.Option("--user", help="To log in as, there.")]
PasswordFile = Annotated[
    str | None, typer.Option("--password-file", metavar="F", help="Where the password is; it is read at each use.")
]
PasswordEnv = Annotated[str | None, typer.Option("--password-env", metavar="NAME", help="Variable that has it.")]
PasswordCredential = Annotated[
    str | None, typer.Option("--password-credential", metavar="NAME", help="Credential of the service manager.")
]
Folder = Annotated[str | None, typer.Option("--folder", help="Mailbox that the mail goes to; the default: INBOX.")]
Keep = Annotated[
    str | None, typer.Option("--keep", metavar="false|true|14d", help="Whether mail stays on the server, and how long.")
]
ApopOption = Annotated[Apop | None, typer.Option("--apop", help="Prove the password without sending it.")]
Interval = Annotated[
    str | None, typer.Option("--interval", metavar="10m", help=f"From one look to the next; `{NONE}`: the service's.")
]
Size = Annotated[
    str | None, typer.Option("--max-message-size", metavar="10MiB", help=f"Larger ones stay there; `{NONE}`: none do.")
]


def register(app: typer.Typer) -> None:
    app.add_typer(retrieval)


@retrieval.command("add", help="Have mail fetched from a mailbox elsewhere.")
@retrieval.command("set", help="Change a retrieval entry; what is not named stays.")
def put(
    context: typer.Context,
    name: NameArgument,
    account: Account = None,
    server: Server = None,
    tls: TlsOption = None,
    ca: Ca = None,
    user: User = None,
    password_file: PasswordFile = None,
    password_env: PasswordEnv = None,
    password_credential: PasswordCredential = None,
    folder: Folder = None,
    keep: Keep = None,
    apop: ApopOption = None,
    interval: Interval = None,
    max_message_size: Size = None,
    enabled: Enabled = None,
) -> None:
    fields = entries.said(
        account=None if account is None else str(account),
        server=None if server is None else _server(server),
        tls=None if tls is None else tls.value,
        ca=None if ca in (None, NONE) else _path(ca),
        user=user,
        secret=_secret(password_file, password_env, password_credential),
        folder=folder,
        keep=None if keep is None else _keep(keep),
        apop=None if apop is None else apop.value,
        interval=None if interval in (None, NONE) else _interval(interval),
        max_message_size=None if max_message_size in (None, NONE) else suite.size(max_message_size),
        enabled=enabled,
    )
    fields |= {
        field: None
        for field, text in (("ca", ca), ("interval", interval), ("max_message_size", max_message_size))
        if text == NONE
    }
    if context.info_name == "add":
        _check_new(name, fields)
    entries.put(context, "retrieval", name.lower(), name, fields)


@retrieval.command()
def remove(context: typer.Context, name: NameArgument) -> None:
    """Remove a retrieval entry."""
    entries.remove(context, "retrieval", name.lower())


@retrieval.command()
def show(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Show one retrieval entry."""
    entries.show(context, "retrieval", name.lower(), as_json=as_json)


@retrieval.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List retrieval entries, oldest first."""
    entries.list_(
        context, "retrieval", ("name", "enabled", "account", "server", "tls", "user", "keep"), as_json=as_json
    )


def _check_new(name: str, fields: "Mapping[str, Value]") -> None:
    """Raises BadParameter for a name that cannot be, and when something is missing that has no default."""
    from maillib.errors import PermanentError
    from maillib.ports.retrieval import check_retrieval_name

    try:
        check_retrieval_name(name)
    except PermanentError as error:
        raise typer.BadParameter(str(error)) from None
    needed = {"account": "--account", "server": "--server", "user": "--user", "secret": "--password-file"}
    if missing := [option for field, option in needed.items() if field not in fields]:
        raise typer.BadParameter(f"say {', '.join(missing)}, too")


def _server(text: str) -> str:
    """Raises BadParameter."""
    from maillib.errors import PermanentError
    from maillib.ports.retrieval import Server

    try:
        return str(Server.parse(text))
    except PermanentError as error:
        raise typer.BadParameter(str(error)) from None


def _secret(file: str | None, variable: str | None, credential: str | None) -> str | None:
    """The reference that is given; None: none is. Raises BadParameter, and what a file that is no secret raises."""
    from maillib.ports.credentials import check_password

    given = [
        *([SecretRef("file", _path(file))] if file else []),
        *([SecretRef("env", variable)] if variable else []),
        *([SecretRef("credential", credential)] if credential else []),
    ]
    if len(given) > 1:
        raise typer.BadParameter("say one of --password-file, --password-env and --password-credential")
    for reference in given:
        if reference.source == "file":  # the others are those of the service, not of this process
            check_password(reference.read())
        return str(reference)
    return None


def _path(text: str) -> str:
    from orchestrator.fields import absolute

    return absolute(Path(), text)


def _keep(text: str) -> bool | str:
    """Raises BadParameter."""
    if text in ("false", "true"):
        return text == "true"
    if re.fullmatch(r"[1-9][0-9]{0,4}d", text, re.ASCII):
        return text
    raise typer.BadParameter(f"{text!r}: allowed are false, true, and a number of days as in 14d")


def _interval(text: str) -> str:
    """Raises BadParameter."""
    from orchestrator.units import duration_text

    return duration_text(suite.duration(text))
