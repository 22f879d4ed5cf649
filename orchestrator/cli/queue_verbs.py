"""Verbs on queued mail: queue list, show, stats, check, retry, remove."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.settings.base import Json
from orchestrator.cli import suite
from orchestrator.errors import Exit

if TYPE_CHECKING:  # the verbs that need them import them: they cost more than the rest of the start
    from collections.abc import Mapping

    from maillib.errors import MailError
    from maillib.ports.queue import QueueItem

queue = typer.Typer(name="queue", help="Queued mail.", no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Queue IDs.")]

_LINE = "{:<16}  {:<8}  {:>9}  {:<20}  {}"
_RECIPIENT = "  {:<9}  {:>8}  {}"


def register(app: typer.Typer) -> None:
    app.add_typer(queue)


@queue.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List what is queued, oldest first."""
    from orchestrator.admin import mailqueue

    items = mailqueue.messages(_state_dir(context))
    if as_json:
        rows: list[Json] = [mailqueue.as_json(item) for item in items]
        suite.print_json({"schema_version": mailqueue.SCHEMA_VERSION, "messages": rows})
        return
    if not items:
        suite.tell("nothing is queued")
        return
    typer.echo(_LINE.format("id", "state", "octets", "queued", "sender"))
    typer.echo(_RECIPIENT.format("recipient", "attempts", "address"))
    for item in items:
        typer.echo(_summary(item))
        for line in _recipients(item):
            typer.echo(line)


@queue.command()
def show(
    context: typer.Context, queue_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False
) -> None:
    """Show one message: envelope, recipients and where its file is."""
    from orchestrator.admin import mailqueue

    state_dir = _state_dir(context)
    item = mailqueue.message(state_dir, queue_id)
    if as_json:
        suite.print_json({"schema_version": mailqueue.SCHEMA_VERSION, **mailqueue.as_json(item)})
        return
    typer.echo(_summary(item))
    if item.envelope is not None:
        typer.echo(f"  from {item.envelope.peer}; account {item.envelope.account or '-'}")
    for line in _recipients(item):
        typer.echo(line)
    typer.echo(f"  {state_dir / 'spool' / 'messages' / f'{item.id}.eml'}")


@queue.command()
def stats(context: typer.Context, as_json: AsJson = False) -> None:
    """Count what is queued by state."""
    from maillib.ports.queue import QueueState
    from orchestrator.admin import mailqueue

    found = mailqueue.stats(_state_dir(context))
    oldest = mailqueue.timestamp(found.oldest) if found.oldest else None
    next_attempt = mailqueue.timestamp(found.next_attempt) if found.next_attempt else None
    if as_json:
        states: dict[str, Json] = {state.value: found.messages[state] for state in QueueState}
        suite.print_json(
            {
                "schema_version": mailqueue.SCHEMA_VERSION,
                "messages": found.messages.total(),
                "size_octets": found.octets,
                "states": states,
                "oldest": oldest,
                "next_attempt": next_attempt,
            }
        )
        return
    for state in QueueState:
        typer.echo(f"{state.value:<9} {found.messages[state]:>8}")
    typer.echo(f"{'octets':<9} {found.octets:>8}")
    typer.echo(f"oldest    {oldest or '-'}")
    typer.echo(f"next      {next_attempt or '-'}")


@queue.command()
def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Look for damaged messages, and remove what crashes have left. Exit 1: something is damaged."""
    from orchestrator.admin import mailqueue

    found = mailqueue.check(_state_dir(context))
    if as_json:
        damaged: list[Json] = list(found.damaged)
        removed: list[Json] = list(found.removed)
        suite.print_json({"schema_version": mailqueue.SCHEMA_VERSION, "damaged": damaged, "removed": removed})
    else:
        for line in found.damaged:
            typer.echo(line)
        for path in found.removed:
            suite.tell(f"removed spool/{path}")
    raise typer.Exit(Exit.FAILED if found.damaged else Exit.DONE)


@queue.command()
def retry(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Queue IDs.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that is deferred.")] = False,
) -> None:
    """Try messages now: deferred ones, held ones, and those that were set aside and are whole again."""
    from orchestrator.admin import mailqueue

    if bool(ids) == everything:
        raise typer.BadParameter("name messages, or say --all")
    if everything:
        count = len(mailqueue.retry_all(_state_dir(context)))
        suite.tell("1 message is tried now" if count == 1 else f"{count} messages are tried now")
    else:
        _report(mailqueue.retry(_state_dir(context), ids or []), "is tried now")


@queue.command()
def remove(context: typer.Context, ids: Ids) -> None:
    """Delete messages that are not being delivered, without telling their senders."""
    from orchestrator.admin import mailqueue

    _report(mailqueue.remove(_state_dir(context), ids), "is removed")


def _state_dir(context: typer.Context) -> Path:
    return suite.place(context).state_dir


def _report(results: "Mapping[str, MailError | None]", done: str) -> None:
    for queue_id, error in results.items():
        suite.tell(f"{queue_id} {done}" if error is None else f"postroom: {error}")
    raise typer.Exit(Exit.FAILED if any(results.values()) else Exit.DONE)


def _summary(item: "QueueItem") -> str:
    sender = "cannot be read" if item.envelope is None else f"<{item.envelope.sender or ''}>"
    return _LINE.format(item.id, item.state.value, item.size_octets, f"{item.queued:%Y-%m-%d %H:%M:%SZ}", sender)


def _recipients(item: "QueueItem") -> list[str]:
    lines = []
    for one in item.envelope.recipients if item.envelope else ():
        lines.append(_RECIPIENT.format(one.state.value, one.attempts, f"<{one.address}>"))
        if one.last_reply and one.state.value != "delivered":
            lines.append(f"    {one.last_reply}")
    if item.next_attempt is not None:
        lines.append(f"  next attempt {item.next_attempt:%Y-%m-%d %H:%M:%SZ}")
    return lines
