"""Verbs on stored mail: mailbox check, repair, rebuild."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.address import Address
from maillib.errors import MailError
from maillib.settings.base import Json
from orchestrator.cli import suite
from orchestrator.errors import Exit

if TYPE_CHECKING:  # the verbs that need them import them: they cost more than the rest of the start
    from collections.abc import Callable, Iterable, Sequence

    from maillib.ports.directory import Account
    from orchestrator.admin.mailboxes import Examined

mailbox = typer.Typer(name="mailbox", help="Stored mail.", no_args_is_help=True, rich_markup_mode=None)

Accounts = Annotated[
    list[Address] | None, typer.Argument(metavar="[ADDRESS...]", parser=suite.address, help="Of accounts.")
]
Everything = Annotated[bool, typer.Option("--all", help="Every account that has mail.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    app.add_typer(mailbox)


@mailbox.command()
def check(
    context: typer.Context, addresses: Accounts = None, everything: Everything = False, as_json: AsJson = False
) -> None:
    """Compare indexes with bodies and with themselves; change nothing. Exit 1: something is wrong."""
    from orchestrator.admin import mailboxes

    _examine(context, addresses, mailboxes.check, everything=everything, as_json=as_json)


@mailbox.command()
def repair(
    context: typer.Context, addresses: Accounts = None, everything: Everything = False, as_json: AsJson = False
) -> None:
    """Mend what can be mended without choosing between two truths. Exit 1: something is wrong still."""
    from orchestrator.admin import mailboxes

    _examine(context, addresses, mailboxes.repair, everything=everything, as_json=as_json)


@mailbox.command()
def rebuild(
    context: typer.Context, addresses: Accounts = None, everything: Everything = False, as_json: AsJson = False
) -> None:
    """Set indexes aside and make them anew from bodies and their names. Mail for the account waits meanwhile."""
    from orchestrator.admin import mailboxes

    state_dir = suite.place(context).state_dir
    chosen = _chosen(state_dir, addresses, everything=everything)

    def tell(account: "Account", messages: int) -> None:
        suite.tell_progress(f"{account.address}: {messages} messages")

    rows: list[Json] = []
    failed = False
    for number, made in enumerate(mailboxes.remake(state_dir, chosen, tell), 1):
        suite.tell_progress(f"{number} of {len(chosen)} accounts")
        rows.append(mailboxes.made_as_json(made))
        address, outcome = made.account.address, made.outcome
        if isinstance(outcome, MailError):
            failed = True
            lines = [f"{address}: not rebuilt: {outcome}"]
        else:
            aside = f"; the old index is {outcome.aside}" if outcome.aside else ""
            lines = [f"{address}: {outcome.messages} messages, {outcome.octets} octets{aside}"]
            lines += [f"{address}: {remark}" for remark in outcome.remarks]
        if not as_json:
            suite.tell_progress("")
            for line in lines:
                typer.echo(line)
    suite.tell_progress("")
    if as_json:
        suite.print_json({"schema_version": mailboxes.SCHEMA_VERSION, "accounts": rows})
    raise typer.Exit(Exit.FAILED if failed else Exit.DONE)


def _chosen(state_dir: Path, addresses: list[Address] | None, *, everything: bool) -> "list[Account]":
    from orchestrator.admin import mailboxes

    if bool(addresses) == everything:
        raise typer.BadParameter("name accounts, or say --all")
    return mailboxes.chosen(state_dir, addresses or [], everything=everything)


def _examine(
    context: typer.Context,
    addresses: list[Address] | None,
    look: "Callable[[Path, Sequence[Account]], Iterable[Examined]]",
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Look at the accounts that are meant, print what is found, and end."""
    from orchestrator.admin import mailboxes

    state_dir = suite.place(context).state_dir
    chosen = _chosen(state_dir, addresses, everything=everything)
    strays = mailboxes.strays(state_dir) if everything else []
    _report(look(state_dir, chosen), strays, len(chosen), as_json=as_json)


def _report(examined: "Iterable[Examined]", strays: list[str], count: int, *, as_json: bool) -> None:
    """Print what was found as it is found, and end."""
    from orchestrator.admin import mailboxes

    rows: list[Json] = []
    wrong = len(strays)
    for number, one in enumerate(examined, 1):
        suite.tell_progress(f"{number} of {count} accounts")
        rows.append(mailboxes.examined_as_json(one))
        wrong += len(one.findings)
        if not as_json:
            lines = [f"{one.account.address}: mended: {text}" for text in one.mended]
            lines += [f"{one.account.address}: {text}" for text in one.findings]
            if lines:
                suite.tell_progress("")
            for line in lines:
                typer.echo(line)
    suite.tell_progress("")
    if as_json:
        found: list[Json] = list(strays)
        suite.print_json({"schema_version": mailboxes.SCHEMA_VERSION, "accounts": rows, "strays": found})
    else:
        for text in strays:
            typer.echo(text)
        suite.tell(f"{count} accounts looked at, {wrong or 'nothing'} wrong")
    raise typer.Exit(Exit.FAILED if wrong else Exit.DONE)
