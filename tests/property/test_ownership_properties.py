"""Plans of accounts, applied to a model of the directory."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.admin.ownership import (
    DEFAULTS,
    PASSWORD,
    AccountAction,
    Fields,
    Named,
    Objects,
    Value,
    Verb,
    plan_accounts,
)

NAMES = [
    Named("domain", "a.test"),
    Named("domain", "b.test"),
    Named("account", "x@a.test"),
    Named("account", "y@b.test"),
    Named("alias", "z@a.test"),
]

VALUES: Mapping[str, st.SearchStrategy[Value]] = {
    "postmaster": st.sampled_from([None, "x", "z"]),
    "name": st.sampled_from(["", "A", "B"]),
    "quota": st.sampled_from([None, 1, 2]),
    "protocols": st.sampled_from([None, ("pop",), ()]),
    "targets": st.sampled_from([("x@a.test",), ("x@a.test", "y@b.test")]),
    PASSWORD: st.sampled_from(["print1", "print2"]),
}


@st.composite
def declarations(draw: st.DrawFn) -> Objects:
    found: dict[Named, Fields] = {}
    for named in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        names = [name for name in DEFAULTS[named.kind] if name != "enabled"]
        names += [PASSWORD] if named.kind == "account" else []
        written = draw(st.lists(st.sampled_from(names), unique=True))
        found[named] = {**{name: draw(VALUES[name]) for name in written}, "enabled": True}
    return found


@st.composite
def directories(draw: st.DrawFn) -> Objects:
    return {
        named: {name: draw(VALUES.get(name, st.booleans())) for name in DEFAULTS[named.kind]}
        for named in draw(st.lists(st.sampled_from(NAMES), unique=True))
    }


def apply(actions: tuple[AccountAction, ...], live: Objects) -> Objects:
    """What a directory is after `actions`; passwords are not kept in the model."""
    result = dict(live)
    for action in actions:
        if action.verb is not Verb.KEEP:
            changes = {change.field: change.after for change in action.changes if change.field != PASSWORD}
            before = {} if action.verb is Verb.ADD else live[action.object]
            result[action.object] = {**DEFAULTS[action.object.kind], **before, **changes}
    return result


@given(declared=declarations(), applied=declarations(), live=directories())
def test_once_is_enough(declared: Objects, applied: Objects, live: Objects) -> None:
    """After a plan was applied there is nothing left to do."""
    after = apply(plan_accounts(declared, applied, live), live)
    assert plan_accounts(declared, declared, after) == ()


@given(declared=declarations(), applied=declarations(), live=directories())
def test_empty_plan(declared: Objects, applied: Objects, live: Objects) -> None:
    """An empty plan means that what is declared is what was applied last: there is nothing to record."""
    if not plan_accounts(declared, applied, live):
        assert declared == applied


@given(declared=declarations(), applied=declarations(), live=directories())
def test_new_declarations_hold(declared: Objects, applied: Objects, live: Objects) -> None:
    """What is declared otherwise than before, or is not there, is as declared afterwards."""
    after = apply(plan_accounts(declared, applied, live), live)
    for named, fields in declared.items():
        for name, value in fields.items():
            changed = named not in live or name not in applied.get(named, {}) or applied[named][name] != value
            if changed and name != PASSWORD:
                assert after[named][name] == value


@given(declared=declarations(), live=directories())
def test_what_people_do_stays(declared: Objects, live: Objects) -> None:
    """While the declaration stays the same, everything that is there stays as a person has made it."""
    after = apply(plan_accounts(declared, declared, live), live)
    assert {named: after[named] for named in live} == live


@given(declared=declarations(), applied=declarations(), live=directories())
def test_nothing_is_removed(declared: Objects, applied: Objects, live: Objects) -> None:
    """No plan removes anything, and what was never declared stays as it is."""
    after = apply(plan_accounts(declared, applied, live), live)
    assert live.keys() <= after.keys()
    for named in live.keys() - declared.keys() - applied.keys():
        assert after[named] == live[named]
