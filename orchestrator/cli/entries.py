"""What the verbs on objects of the directory share: one shape for add, set, remove, show and list of every kind.

Changes are in the audit trail, with the fields before and after. Cheap to import.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from maillib.address import Address
from maillib.errors import AddressError
from maillib.settings.base import Json
from orchestrator.cli import suite

if TYPE_CHECKING:  # the verbs that need them import them: they cost more than the rest of the start
    from orchestrator.admin.ownership import Fields, Kind, Named, Value

SCHEMA_VERSION = 1

AddressArgument = Annotated[Address, typer.Argument(metavar="ADDRESS", parser=suite.address)]
DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", parser=suite.domain)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Enabled = Annotated[bool | None, typer.Option("--enabled/--disabled", help="Disabled: as if it were not there.")]


def group(name: str, text: str) -> typer.Typer:
    return typer.Typer(name=name, help=text, no_args_is_help=True, rich_markup_mode=None)


def add(
    context: typer.Context, kind: "Kind", key: str, written: str, fields: "Fields", *, password: str | None = None
) -> None:
    """`fields`: those that are not as by default."""
    from orchestrator.admin import objects, rows

    named, place = _named(kind, key), suite.place(context)
    with suite.audited(place, f"{kind} add", [key]) as entry:
        after = objects.add(place.state_dir, named, written, fields, password=password)
        entry.after = rows.values(kind, after)
    suite.tell(f"added {kind} {written}")


def change(
    context: typer.Context,
    kind: "Kind",
    key: str,
    fields: "Fields",
    *,
    more: Callable[["Fields"], "Fields"] | None = None,
) -> None:
    """`fields`: what is new. `more`: what is new as well, given all fields there are."""
    from orchestrator.admin import objects, rows

    if not fields and more is None:
        raise typer.BadParameter("say what to change; --help names the options")
    named, place = _named(kind, key), suite.place(context)
    with suite.audited(place, f"{kind} set", [key]) as entry:
        before, after = objects.change(
            place.state_dir, named, lambda all_: {**fields, **(more(all_) if more is not None else {})}
        )
        entry.before, entry.after = rows.values(kind, before), rows.values(kind, after)
    suite.tell(f"changed {named}")


def put(context: typer.Context, kind: "Kind", key: str, written: str, fields: "Fields") -> None:
    """Of a command that is both `add` and `set`."""
    if context.info_name == "add":
        add(context, kind, key, written, fields)
    else:
        change(context, kind, key, fields)


def remove(context: typer.Context, kind: "Kind", key: str, *, note: str = "") -> None:
    """`note`: what else there is to say of it."""
    from orchestrator.admin import objects, rows

    named, place = _named(kind, key), suite.place(context)
    with suite.audited(place, f"{kind} remove", [key]) as entry:
        entry.before = rows.values(kind, objects.remove(place.state_dir, named))
    suite.tell(f"removed {named}{note}")
    tell_what_is_left(context, kind, key)


def tell_what_is_left(context: typer.Context, kind: "Kind", key: str) -> None:
    """Say of what was removed what still leads there, and whether the next apply makes it again."""
    from orchestrator.admin import accounts, objects

    named = _named(kind, key)
    found = accounts.entries(suite.place(context).state_dir)
    if leading := objects.leading_to(found, named):
        suite.tell(f"still leading there, to nobody: {', '.join(map(str, leading))}")
    if named in objects.declared_names(found):
        suite.tell(f"{named} is declared: the next apply makes it again, unless it leaves the declaration")


def show(
    context: typer.Context, kind: "Kind", key: str, *, as_json: bool, more: Callable[[], dict[str, Json]] = dict
) -> None:
    """`more`: what else there is to show."""
    from orchestrator.admin import accounts, objects, rows

    named = _named(kind, key)
    found = accounts.entries(suite.place(context).state_dir)
    objects.entry_of(found, named)
    row = {**dict(rows.rows(found, kind))[named], **more()}
    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, kind: row})
    else:
        suite.print_fields(row)


def list_(context: typer.Context, kind: "Kind", columns: Sequence[str], *, as_json: bool) -> None:
    """`columns`: those that people see."""
    from orchestrator.admin import accounts, rows

    found = accounts.entries(suite.place(context).state_dir)
    print_list(kind, [row for _, row in rows.rows(found, kind)], columns, as_json=as_json)


def print_list(kind: "Kind", found: list[dict[str, Json]], columns: Sequence[str], *, as_json: bool) -> None:
    from orchestrator.admin import rows

    if as_json:
        suite.print_json({"schema_version": SCHEMA_VERSION, rows.PLURALS[kind]: [*found]})
    else:
        suite.print_rows(found, columns)


def said(**fields: "Value") -> "dict[str, Value]":
    """Those that are named: not None."""
    return {name: value for name, value in fields.items() if value is not None}


def addresses(domain: str, texts: Sequence[str] | None) -> tuple[str, ...] | None:
    """Addresses, or names of `domain`, each once and as it is written first; None: none are named."""
    if not texts:
        return None
    try:
        found = [Address.parse(text if "@" in text else f"{text}@{domain}") for text in texts]
    except AddressError as error:
        raise typer.BadParameter(str(error)) from None
    unique: dict[str, str] = {}
    for address in found:
        unique.setdefault(address.key, str(address))
    return tuple(unique.values())


def _named(kind: "Kind", key: str) -> "Named":
    from orchestrator.admin.ownership import Named

    return Named(kind, key)
