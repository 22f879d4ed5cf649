"""Who owns which value: what `apply` has to change in the directory so that it is as declared, and why. Pure.

Three sides, field by field: what is declared, what was declared when it was applied last, and what is.
- A value is changed only when its declaration changed since: what a person has set meanwhile stays until then.
- An object that is declared and not there is made, be it new or removed by hand.
- Declaring an object that was made by hand takes over the fields that the declaration names.
- An object that is not declared any more is disabled. Its fields, like a field that is not declared any more and was
  changed by a person, belong to the command line from then on.
- Everything else that was made by hand is left alone.

When the plan is empty, what is declared is what was applied last.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Kind = Literal["domain", "account", "alias"]
Value = None | bool | int | str | tuple[str, ...]
Fields = Mapping[str, Value]

PASSWORD = "password"  # noqa: S105 - the name of a field
"""As declared: the fingerprint of a secret. As live: whether there is one. Only its changes count."""

DEFAULTS: Mapping[Kind, Fields] = {
    "domain": {"postmaster": None, "enabled": True},
    "account": {"name": "", "quota": None, "protocols": None, "enabled": True},
    "alias": {"targets": (), "enabled": True},
}
"""What a field is that nobody has said anything about. A password is kept."""


@dataclass(frozen=True, slots=True)
class Named:
    """One object of the directory."""

    kind: Kind
    key: str
    """Domain in A-labels, or `Address.key`."""

    @classmethod
    def parse(cls, text: str) -> "Named":
        """Reads what `str` makes of it."""
        kind, _, key = text.partition(" ")
        return cls(next(known for known in DEFAULTS if known == kind), key)

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


Objects = Mapping[Named, Fields]


class Verb(StrEnum):
    ADD = "add"
    SET = "set"
    DISABLE = "disable"
    KEEP = "keep"
    """Nothing changes but who owns it."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    field: str
    before: Value
    after: Value

    def __str__(self) -> str:
        if self.field == PASSWORD:
            return "password"
        return f"{self.field} {_text(self.before)} -> {_text(self.after)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountAction:
    """What is done to one object."""

    verb: Verb
    object: Named
    changes: tuple[FieldChange, ...] = ()
    """Never with a secret or a fingerprint in it: of a password, both values are None."""
    reason: str

    def __str__(self) -> str:
        changes = "" if self.verb is Verb.ADD else ", ".join(map(str, self.changes))
        return f"{self.verb} {self.object}{': ' if changes else ''}{changes} ({self.reason})"


def plan_accounts(declared: Objects, applied: Objects, live: Objects) -> tuple[AccountAction, ...]:
    """The actions that lead from `live` to `declared`: in the order of the declaration, then those about what left it.

    `applied`: what was declared when `apply` came through last.
    """
    return (*_declared(declared, applied, live), *_left(declared, applied, live))


def _declared(declared: Objects, applied: Objects, live: Objects) -> Iterator[AccountAction]:
    for named, fields in declared.items():
        before, is_ = applied.get(named), live.get(named)
        if is_ is None:
            changes = tuple(_change(name, None, value) for name, value in fields.items())
            reason = "new in the declaration" if before is None else "it is declared and was removed by hand"
            yield AccountAction(verb=Verb.ADD, object=named, changes=changes, reason=reason)
        elif before is None:
            yield _set(named, tuple(_differing(fields, {}, is_)), "the declaration takes it over")
        elif fields != before:
            changes = (*_differing(fields, before, is_), *_undeclared(named, fields, before, is_))
            yield _set(named, changes, "its declaration changed")


def _set(named: Named, changes: tuple[FieldChange, ...], reason: str) -> AccountAction:
    return AccountAction(verb=Verb.SET if changes else Verb.KEEP, object=named, changes=changes, reason=reason)


def _differing(fields: Fields, before: Fields, live: Fields) -> Iterator[FieldChange]:
    """Fields whose declaration changed, and that are not as declared already."""
    for name, value in fields.items():
        changed = name not in before or before[name] != value
        if changed and (name == PASSWORD or live.get(name) != value):
            yield _change(name, live.get(name), value)


def _undeclared(named: Named, fields: Fields, before: Fields, live: Fields) -> Iterator[FieldChange]:
    """Fields that are not declared any more and still are as they were declared: back to the default."""
    for name, value in DEFAULTS[named.kind].items():
        if name in before and name not in fields and live.get(name) == before[name] != value:
            yield _change(name, live.get(name), value)


def _change(name: str, before: Value, after: Value) -> FieldChange:
    return FieldChange(name, None, None) if name == PASSWORD else FieldChange(name, before, after)


def _left(declared: Objects, applied: Objects, live: Objects) -> Iterator[AccountAction]:
    left = [named for named in applied if named not in declared]
    in_use = {_domain(named) for named, fields in live.items() if fields["enabled"] and named not in left}
    for named in left:
        if named not in live:
            reason = "it left the declaration and is not there"
        elif not live[named]["enabled"]:
            reason = "it left the declaration and is disabled already"
        elif named.kind == "domain" and named.key in in_use:
            reason = "it left the declaration, but accounts or aliases made by hand are in it"
        else:
            change = FieldChange("enabled", True, False)
            reason = "it left the declaration"
            yield AccountAction(verb=Verb.DISABLE, object=named, changes=(change,), reason=reason)
            continue
        yield AccountAction(verb=Verb.KEEP, object=named, reason=reason)


def _domain(named: Named) -> str | None:
    """Of an account or alias."""
    return named.key.rpartition("@")[2] if named.kind != "domain" else None


def _text(value: Value) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return f"[{', '.join(value)}]"
        case _:
            return str(value) or '""'
