"""Who owns which value: what `apply` has to change in the directory so that it is as declared, and why. Pure.

Three sides, field by field: what is declared, what was declared when it was applied last, and what is.
- A value is changed only when its declaration changed since: what a person has set meanwhile stays until then.
- An object that is declared and not there is made, be it new or removed by hand.
- Declaring an object that was made by hand takes over the fields that the declaration names.
- An object that is not declared any more is disabled, and what was declared of it last is remembered: it comes back as
  it was left, and pruning removes what is disabled still.
- Everything else that was made by hand is left alone.

When the plan is empty, what is declared is what was applied last.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from maillib.settings.base import Json

Kind = Literal["domain", "account", "alias", "list", "contact", "retrieval"]
Value = None | bool | int | str | tuple[str, ...]
Fields = Mapping[str, Value]

PASSWORD = "password"  # noqa: S105 - the name of a field
"""Of an account, a fingerprint: of the declared secret, of the hash that is kept. Where a clear password was declared
these two always differ: only its changes count."""

DEFAULTS: Mapping[Kind, Fields] = {
    "domain": {"postmaster": None, "catch_all": (), "enabled": True},
    "account": {"name": "", "quota": None, "protocols": None, "enabled": True},
    "alias": {"targets": (), "enabled": True},
    "list": {"name": "", "members": (), "post": "members", "owners": (), "enabled": True},
    "contact": {
        "email": None,
        "phone": "",
        "mobile": "",
        "organization": "",
        "title": "",
        "note": "",
        "enabled": True,
    },
    "retrieval": {
        "account": None,
        "server": None,
        "tls": "implicit",
        "ca": None,
        "user": None,
        "secret": None,
        "folder": "INBOX",
        "keep": False,
        "apop": "auto",
        "interval": None,
        "max_message_size": None,
        "enabled": True,
    },
}
"""What a field is that nobody has said anything about; the kinds in the order in which they are made. A password is
kept."""

KINDS: tuple[Kind, ...] = tuple(DEFAULTS)

_FINGERPRINT_CHARACTERS = 12
"""That are shown of a fingerprint: enough to see that it changed."""


@dataclass(frozen=True, slots=True)
class Named:
    """One object of the directory."""

    kind: Kind
    key: str
    """Domain in A-labels; `Address.key`; `contact_key(name)@DOMAIN`; name of a retrieval entry without case."""

    @classmethod
    def parse(cls, text: str) -> "Named":
        """Reads what `str` makes of it."""
        kind, _, key = text.partition(" ")
        return cls(next(known for known in KINDS if known == kind), key)

    @property
    def domain(self) -> str | None:
        """That it is in; None: it is a domain, or in none."""
        return None if self.kind in ("domain", "retrieval") else self.key.rpartition("@")[2]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


Objects = Mapping[Named, Fields]


class Verb(StrEnum):
    ADD = "add"
    SET = "set"
    DISABLE = "disable"
    REMOVE = "remove"
    """Of the entry; mail is kept."""
    KEEP = "keep"
    """Nothing changes but who owns it."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    field: str
    before: Value
    after: Value
    """Of a password, the beginning of a fingerprint, which tells nothing of it; None while there is no directory."""

    def __str__(self) -> str:
        if self.field == PASSWORD:
            return "password"
        without = "all" if self.field == "protocols" else "none"
        return f"{self.field} {_text(self.before, without)} -> {_text(self.after, without)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtStake:
    """Mail of who gets none any more, and cannot log in. It is kept."""

    messages: int = 0
    octets: int = 0
    uncounted: int = 0
    """Accounts whose index cannot tell now."""

    def __add__(self, other: "AtStake") -> "AtStake":
        return AtStake(
            messages=self.messages + other.messages,
            octets=self.octets + other.octets,
            uncounted=self.uncounted + other.uncounted,
        )

    def __str__(self) -> str:
        messages = "1 message" if self.messages == 1 else f"{self.messages} messages"
        indexes = "1 damaged index" if self.uncounted == 1 else f"{self.uncounted} damaged indexes"
        uncounted = f", and what {indexes} cannot count" if self.uncounted else ""
        return f"{messages}, {self.octets} octets{uncounted}"

    def as_json(self) -> dict[str, Json]:
        return {"messages": self.messages, "octets": self.octets, "uncounted": self.uncounted}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountAction:
    """What is done to one object."""

    verb: Verb
    object: Named
    changes: tuple[FieldChange, ...] = ()
    reason: str
    at_stake: AtStake | None = field(default=None, compare=False)
    """None: none of anybody's mail. It is no part of what is done: mail comes and goes meanwhile."""

    @property
    def is_change(self) -> bool:
        """Whether anybody but the record of what is declared notices."""
        return self.verb is not Verb.KEEP

    @property
    def takes_out_of_use(self) -> bool:
        """Whether the services do not know it any more, and did before."""
        return self.verb is Verb.REMOVE or FieldChange("enabled", True, False) in self.changes

    def __str__(self) -> str:
        changes = "" if self.verb is Verb.ADD else ", ".join(map(str, self.changes))
        mail = "" if self.at_stake is None else f"; its mail is kept: {self.at_stake}"
        return f"{self.verb} {self.object}{': ' if changes else ''}{changes} ({self.reason}{mail})"

    def as_json(self) -> dict[str, Json]:
        changes: list[Json] = [
            {"field": change.field, "before": _json(change.before), "after": _json(change.after)}
            for change in self.changes
        ]
        return {
            "verb": self.verb.value,
            "kind": self.object.kind,
            "name": self.object.key,
            "changes": changes,
            "reason": self.reason,
            "at_stake": None if self.at_stake is None else self.at_stake.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the directory remembers of declarations."""

    objects: Objects = field(default_factory=dict)
    """What was declared when `apply` came through last."""
    left: Objects = field(default_factory=dict)
    """What has left the declaration and is disabled since, as it was declared last."""


def plan_accounts(
    declared: Objects, applied: Applied, live: Objects, *, prune: bool = False
) -> tuple[AccountAction, ...]:
    """The actions that lead from `live` to `declared`: in the order of the declaration, then those about what left it.

    `prune`: what left it is removed.
    """
    return (
        *_declared(declared, applied, live),
        *(_pruned(declared, applied, live) if prune else _left(declared, applied.objects, live)),
    )


def perform(actions: tuple[AccountAction, ...], live: Objects) -> dict[Named, Fields]:
    """What a directory that is `live` is after `actions`."""
    result = dict(live)
    for action in actions:
        named = action.object
        if action.verb is Verb.REMOVE:
            del result[named]
        elif action.is_change:
            changes = {change.field: change.after for change in action.changes}
            result[named] = {**DEFAULTS[named.kind], **live.get(named, {}), **changes}
    return result


def left_after(declared: Objects, applied: Applied, after: Objects) -> Objects:
    """`Applied.left` once the directory is `after`. What a person has enabled or removed since is none of it."""
    return {
        named: {**fields, "enabled": False}
        for named, fields in {**applied.left, **applied.objects}.items()
        if named not in declared and named in after and not after[named]["enabled"]
    }


def _declared(declared: Objects, applied: Applied, live: Objects) -> Iterator[AccountAction]:
    for named, fields in declared.items():
        before, is_ = applied.objects.get(named), live.get(named)
        left = applied.left.get(named)
        if is_ is None:
            changes = tuple(_change(name, None, value) for name, value in fields.items())
            reason = "new in the declaration" if before is None else "it is declared and was removed by hand"
            yield AccountAction(verb=Verb.ADD, object=named, changes=changes, reason=reason)
        elif before is None and left is not None:
            yield _set(named, tuple(_differing(fields, left, is_)), "it is declared again")
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
        if changed and live.get(name) != value:
            yield _change(name, live.get(name), value)


def _undeclared(named: Named, fields: Fields, before: Fields, live: Fields) -> Iterator[FieldChange]:
    """Fields that are not declared any more and still are as they were declared: back to the default."""
    for name, value in DEFAULTS[named.kind].items():
        if name in before and name not in fields and live.get(name) == before[name] != value:
            yield _change(name, live.get(name), value)


def _change(name: str, before: Value, after: Value) -> FieldChange:
    if name == PASSWORD:
        return FieldChange(name, None, str(after)[:_FINGERPRINT_CHARACTERS] or None)
    return FieldChange(name, before, after)


def _left(declared: Objects, applied: Objects, live: Objects) -> Iterator[AccountAction]:
    left = applied.keys() - declared.keys()
    in_use = {named.domain for named, fields in live.items() if fields["enabled"] and named not in left}
    for named in _last_made_first(left):
        if named not in live:
            reason = "it left the declaration and is not there"
        elif not live[named]["enabled"]:
            reason = "it left the declaration and is disabled already"
        elif named.kind == "domain" and named.key in in_use:
            reason = "it left the declaration, but what was made by hand is in it"
        else:
            change = FieldChange("enabled", True, False)
            reason = "it left the declaration"
            yield AccountAction(verb=Verb.DISABLE, object=named, changes=(change,), reason=reason)
            continue
        yield AccountAction(verb=Verb.KEEP, object=named, reason=reason)


def _pruned(declared: Objects, applied: Applied, live: Objects) -> Iterator[AccountAction]:
    """What left just now, and what left before and is disabled still."""
    just = {named for named in applied.objects if named not in declared}
    gone = {named for named in just if named in live} | left_after(declared, applied, live).keys()
    in_use = {named.domain for named in (*live, *declared) if named not in gone}
    enabled = {named.domain for named, fields in live.items() if fields["enabled"] and named not in gone}
    for named in _last_made_first(just | gone):
        reason = "it left the declaration"
        if named not in live:
            yield AccountAction(verb=Verb.KEEP, object=named, reason="it left the declaration and is not there")
        elif named.kind != "domain" or named.key not in in_use:
            yield AccountAction(verb=Verb.REMOVE, object=named, reason=reason)
        elif named in just:
            reason += ", but what was made by hand is in it"
            if named.key in enabled or not live[named]["enabled"]:
                yield AccountAction(verb=Verb.KEEP, object=named, reason=reason)
            else:
                change = FieldChange("enabled", True, False)
                yield AccountAction(verb=Verb.DISABLE, object=named, changes=(change,), reason=reason)


def _last_made_first(objects: AbstractSet[Named]) -> list[Named]:
    """So that nothing in use is removed before what uses it."""
    return sorted(objects, key=lambda named: (-KINDS.index(named.kind), named.key))


def _json(value: Value) -> Json:
    return [*value] if isinstance(value, tuple) else value


def _text(value: Value, without: str) -> str:
    match value:
        case None:
            return without
        case bool():
            return "yes" if value else "no"
        case tuple():
            return f"[{', '.join(value)}]"
        case _:
            return str(value) or '""'
