"""Objects of the directory as `show` and `list` give them: one JSON object each, without secrets. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping

from maillib.ports.directory import Entries
from maillib.secret import SecretRef
from maillib.settings.base import Json
from orchestrator.admin.entries import Entry, named_entries
from orchestrator.admin.ownership import DEFAULTS, Fields, Kind, Named
from orchestrator.admin.record import Record
from orchestrator.units import seconds

PLURALS: Mapping[Kind, str] = {
    "domain": "domains",
    "account": "accounts",
    "alias": "aliases",
    "list": "lists",
    "contact": "contacts",
    "retrieval": "retrievals",
}
"""What a list of them is called."""

_COUNTED: tuple[Kind, ...] = ("account", "alias", "list", "contact")
"""What is in a domain."""


def rows(found: Entries, kind: Kind) -> Iterator[tuple[Named, dict[str, Json]]]:
    """All objects of a kind, oldest first."""
    declared = Record.parse(found.declared).applied.objects
    entries = named_entries(found, {})
    in_domain = Counter((named.kind, named.domain) for named in entries)
    with_password = {account.address.key for account in found.accounts if account.id in found.with_password}
    for named, entry in entries.items():
        if named.kind != kind:
            continue
        row = {**_names(named, entry), **values(kind, entry.fields)}
        if kind == "domain":
            row |= {PLURALS[counted]: in_domain[counted, named.key] for counted in _COUNTED}
        elif kind == "account":
            row["password"] = named.key in with_password
        yield named, {**row, "declared": named in declared}


def removed_accounts(found: Entries) -> Iterator[dict[str, Json]]:
    """Accounts that are removed and whose mail is kept, oldest first."""
    declared = Record.parse(found.declared).applied.objects
    for account in found.removed:
        named = Named("account", account.address.key)
        fields = {**DEFAULTS["account"], "enabled": False}
        row = {"address": str(account.address), **values("account", fields)}
        yield {**row, "password": False, "declared": named in declared}


def values(kind: Kind, fields: Fields) -> dict[str, Json]:
    """The fields of an object by the names that JSON has for them: with units."""
    row: dict[str, Json] = {"enabled": fields["enabled"] is True}
    row |= {name: [*value] if isinstance(value, tuple) else value for name, value in fields.items()}
    if kind == "account":
        row["quota_octets"] = row.pop("quota", None)
    if kind == "retrieval":
        secret = SecretRef.parse(str(row.pop("secret")))
        interval = row.pop("interval")
        row["password"] = {secret.source: secret.name}
        row["interval_s"] = None if interval is None else int(seconds(interval))
        row["max_message_size_octets"] = row.pop("max_message_size")
    return row


def _names(named: Named, entry: Entry) -> dict[str, Json]:
    """What tells the object from others of its kind."""
    match named.kind:
        case "domain":
            return {"domain": entry.written}
        case "contact":
            name, _, domain = entry.written.rpartition("@")
            return {"domain": domain, "name": name}
        case "retrieval":
            return {"name": entry.written}
        case _:
            return {"address": entry.written}
